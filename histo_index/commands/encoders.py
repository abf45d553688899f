"""Make encoder folders."""

from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.options import ArchOption, OverwriteOption
from histo_index.commands.outcome import print_result

encoders = typer.Typer(help="Make encoder folders.", no_args_is_help=True)


@encoders.command(
    "import",
    epilog="Example: histo-index encoder import byol.pth --arch resnext101_32x8d -o encoder",
)
def encoder_import(
    checkpoint: Annotated[Path, typer.Argument(help="A torchvision-style state dict (.pth).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The encoder folder.")],
    arch: ArchOption = "resnext50_32x4d",
    pooling: Annotated[
        str,
        typer.Option(
            "--pooling",
            help="mean of the last stage, as published, deviation, or covariance as bundled.",
        ),
    ] = "mean",
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Publish this threshold with it.")
    ] = None,
    mpp: Annotated[
        float | None, typer.Option("--mpp", help="Microns per pixel trained at.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Turn somebody's checkpoint into an encoder folder; none of its code is run."""
    from histo_index.encoder.making import import_encoder

    fingerprint = import_encoder(
        checkpoint,
        output,
        arch=arch,
        pooling=pooling,
        threshold=threshold,
        mpp=mpp,
        overwrite=overwrite,
    )
    print_result(f"{output}: {arch}, fingerprint {fingerprint}")


@encoders.command("init", epilog="Example: histo-index encoder init -o untrained --seed 1")
def encoder_init(
    output: Annotated[Path, typer.Option("--output", "-o", help="The encoder folder.")],
    arch: ArchOption = "resnext50_32x4d",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random weights.")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Make an untrained encoder: for tests and as a floor to compare with."""
    from histo_index.encoder.making import init_encoder

    fingerprint = init_encoder(output, arch=arch, seed=seed, overwrite=overwrite)
    print_result(f"{output}: {arch}, untrained, fingerprint {fingerprint}")
