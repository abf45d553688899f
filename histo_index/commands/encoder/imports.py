"""Import encoders and create untrained ones."""

from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.options import ArchOption, OverwriteOption
from histo_index.commands.output import print_result

app = typer.Typer()


@app.command(
    "import",
    epilog="Example: histo-index encoder import onnx:network.onnx -o encoder --features features",
)
def encoder_import(
    source: Annotated[
        str,
        typer.Argument(
            help="timm:NAME, timm:DIR, hf:DIR, onnx:FILE, custom:FILE.py:FUNCTION, or a "
            "torchvision state dict (.pth)."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new encoder folder.")],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="File with the weights, for timm:NAME.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="A published encoder, such as uni2-h.")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option("--features", help="cls, mean, cls+mean, map:STAGE, or an output of ONNX."),
    ] = None,
    crop: Annotated[
        int | None, typer.Option("--crop", min=1, help="Side of the input in pixels.")
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option("--resize", min=1, help="Shorter side before the crop (default: the crop)."),
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option("--interpolation", help="bilinear, bicubic or lanczos.")
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option("--mean", help="Mean of each channel in 0…1, such as 0.485,0.456,0.406."),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            "--std", help="Standard deviation of each channel in 0…1, such as 0.229,0.224,0.225."
        ),
    ] = None,
    arguments: Annotated[
        str | None, typer.Option("--arguments", help="More arguments of the network, as JSON.")
    ] = None,
    mpp: Annotated[
        list[float] | None,
        typer.Option("--mpp", help="Microns per pixel of the training tiles; repeat for several."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Licence of the weights.")
    ] = None,
    gated: Annotated[
        bool | None,
        typer.Option(
            "--gated/--not-gated", help="The licence forbids copies: indexes refer to the weights."
        ),
    ] = None,
    arch: ArchOption = "resnext50_32x4d",
    pooling: Annotated[
        str,
        typer.Option(
            "--pooling",
            help="Of a torchvision checkpoint: mean or covariance (bundled encoder).",
        ),
    ] = "mean",
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Threshold stored with a torchvision checkpoint."),
    ] = None,
    allow_code: Annotated[
        bool,
        typer.Option("--allow-code", help="Run the code of custom:FILE.py:FUNCTION."),
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Import an encoder of another library; nothing is downloaded, no code runs unless allowed."""
    from histo_index.api.encoders import import_encoder
    from histo_index.encoder.importing.options import (
        ImportOptions,
        parse_arguments,
        parse_channels,
    )

    options = ImportOptions(
        weights=weights, recipe=recipe, features=features, crop_px=crop, resize_px=resize,
        interpolation=interpolation, mean=parse_channels(mean, "--mean"),
        std=parse_channels(std, "--std"), arguments=parse_arguments(arguments),
        mpps=tuple(mpp) if mpp else None, licence=licence, is_gated=gated, architecture=arch,
        pooling=pooling, threshold=threshold, allow_code=allow_code, overwrite=overwrite,
    )  # fmt: skip
    fingerprint = import_encoder(source, output, options)
    print_result(f"{output}: {source}, fingerprint {fingerprint}")


@app.command("init", epilog="Example: histo-index encoder init -o untrained --seed 1")
def encoder_init(
    output: Annotated[Path, typer.Option("--output", "-o", help="A new encoder folder.")],
    arch: ArchOption = "resnext50_32x4d",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random weights.")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Create an untrained encoder, for tests and as a baseline."""
    from histo_index.encoder.create import init_encoder

    fingerprint = init_encoder(output, arch=arch, seed=seed, overwrite=overwrite)
    print_result(f"{output}: {arch}, untrained, fingerprint {fingerprint}")
