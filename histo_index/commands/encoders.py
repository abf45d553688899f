"""Make encoder folders."""

from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.options import ArchOption, DeviceOption, JsonOption, OverwriteOption
from histo_index.commands.output import REJECTED_EXIT, exit_if, print_result

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
            help="mean of the last stage (torchvision), or covariance (bundled encoder).",
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
    from histo_index.encoder.create import import_encoder

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
    """Make an untrained encoder: for tests and as a baseline to compare with."""
    from histo_index.encoder.create import init_encoder

    fingerprint = init_encoder(output, arch=arch, seed=seed, overwrite=overwrite)
    print_result(f"{output}: {arch}, untrained, fingerprint {fingerprint}")


training = typer.Typer()


@training.command(epilog="Example: histo-index train tiles -o my-encoder --monitor labels.csv")
def train(
    tiles: Annotated[
        list[Path] | None, typer.Argument(help="Folders, image files, or one manifest.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The encoder folder to be.")
    ] = Path("encoder"),
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="CSV, TSV or Parquet with a path column.")
    ] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="histology or reference.")] = "histology",
    arch: ArchOption = "resnext50_32x4d",
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Else the recipe's.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=2, help="Tiles a step; else the recipe's.")
    ] = None,
    crop: Annotated[
        int | None, typer.Option("--crop", min=32, help="Side of a view in pixels; likewise.")
    ] = None,
    tile: Annotated[
        int | None, typer.Option("--tile", min=32, help="Side of a tile at inference; likewise.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="At its highest; likewise.")
    ] = None,
    momentum: Annotated[
        float | None, typer.Option("--momentum", help="Of the moving average; likewise.")
    ] = None,
    accumulate: Annotated[
        int, typer.Option("--accumulate", min=1, help="Cut each batch in parts to save memory.")
    ] = 1,
    init: Annotated[
        Path | None, typer.Option("--init", help="Encoder folder to start from.")
    ] = None,
    monitor: Annotated[
        Path | None, typer.Option("--monitor", help="Labelled tiles or pairs to watch by.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Of the tiles, for the model card.")
    ] = None,
    mpp: Annotated[
        float | None, typer.Option("--mpp", help="Microns per pixel, for the model card.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    device: DeviceOption = "auto",
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Processes that make views.")
    ] = None,
    compile_first: Annotated[
        bool, typer.Option("--compile", help="Compile the network first; pays on a GPU.")
    ] = False,
    precision: Annotated[
        str, typer.Option("--precision", help="auto, bfloat16 or float32.")
    ] = "auto",
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the interrupted run, if there is one."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train an encoder on unlabelled tiles by BYOL; labels, if given, only watch."""
    from histo_index.api.train import TrainOptions
    from histo_index.api.train import train as run
    from histo_index.commands.progress import TrainingLine, describe_training

    options = TrainOptions(
        recipe=recipe, architecture=arch, epochs=epochs, batch=batch, crop_px=crop, tile_px=tile,
        learning_rate=learning_rate, momentum=momentum, accumulate=accumulate, seed=seed,
        device=device, workers=workers, compile=compile_first,
        precision=precision, init=init, monitor=monitor,
        licence=licence, mpp=mpp,
    )  # fmt: skip
    progress = TrainingLine()
    try:
        report = run(
            list(tiles or []), output, manifest=manifest, options=options, resume=resume,
            progress=progress,
        )  # fmt: skip
    finally:
        progress.close()
    if report.is_first:
        print_result(vars(report) if as_json else describe_training(report))
    exit_if(report.rejected, REJECTED_EXIT)
