"""Train encoders; the commands of `encoder` are in a folder of their own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histo_index.commands.encoder import imports, look
from histo_index.commands.features import verify
from histo_index.commands.options import ArchOption, DeviceOption, JsonOption
from histo_index.commands.output import REJECTED_EXIT, duration_text, exit_if, print_result
from histo_index.wording import counted

if TYPE_CHECKING:
    from histo_index.encoder.training.train import TrainReport

app = typer.Typer()
encoder_app = typer.Typer(help="Create, import and compare encoders.", no_args_is_help=True)
app.add_typer(encoder_app, name="encoder")
for module in (imports, look, verify):
    encoder_app.add_typer(module.app)


@app.command(epilog="Example: histo-index train tiles -o my-encoder --monitor labels.csv")
def train(
    tiles: Annotated[
        list[Path] | None, typer.Argument(help="Folders, image files, or one manifest.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new encoder folder.")] = Path(
        "encoder"
    ),
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="CSV, TSV or Parquet with a path column.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", help="histology, reference or distil (default: distil with --teacher)."
        ),
    ] = None,
    arch: ArchOption = "resnext50_32x4d",
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Passes over the tiles (default: by the recipe)."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=2, help="Tiles per step (default: by the recipe).")
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option("--crop", min=32, help="Side of a view in pixels (default: by the recipe)."),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile", min=32, help="Shorter side of a tile in pixels (default: by the recipe)."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", help="Peak learning rate (default: by the recipe)."),
    ] = None,
    momentum: Annotated[
        float | None,
        typer.Option("--momentum", help="Start of the moving average (default: by the recipe)."),
    ] = None,
    accumulate: Annotated[
        int, typer.Option("--accumulate", min=1, help="Parts of a batch, to save memory.")
    ] = 1,
    init: Annotated[
        Path | None, typer.Option("--init", help="Encoder folder to start from.")
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            "--teacher",
            help="Features of the tiles by another network: a Parquet table or an index.",
        ),
    ] = None,
    teacher_columns: Annotated[
        str | None,
        typer.Option(
            "--teacher-columns", help="Columns to learn, separated by commas (default: all)."
        ),
    ] = None,
    teacher_weight: Annotated[
        float | None,
        typer.Option(
            "--teacher-weight",
            min=0,
            max=1,
            help="Share of the teacher in the loss; the rest is BYOL's (default: by the recipe).",
        ),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option("--balance", help="Column of the manifest whose values are drawn evenly."),
    ] = None,
    neighbours: Annotated[
        float | None,
        typer.Option(
            "--neighbours",
            min=0,
            max=1,
            help="Share of tiles whose second view is of a tile that touches them, where places on "
            "slides are known (default: by the recipe).",
        ),
    ] = None,
    monitor: Annotated[
        Path | None, typer.Option("--monitor", help="Labelled tiles or pairs that measure the run.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Licence of the tiles, for the model card.")
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option("--mpp", help="Microns per pixel of the tiles, for the model card."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of weights, order and views.")
    ] = 0,
    device: DeviceOption = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=0, help="Processes that compute views (default: by the device)."
        ),
    ] = None,
    compile_first: Annotated[
        bool, typer.Option("--compile", help="Compile the network first; faster on a GPU.")
    ] = False,
    precision: Annotated[
        str, typer.Option("--precision", help="auto, bfloat16 or float32.")
    ] = "auto",
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue an interrupted run; start one if there is none."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train an encoder on unlabelled tiles, by BYOL or from a teacher; labels only monitor it."""
    from histo_index.api.train import TrainOptions
    from histo_index.api.train import train as train_encoder
    from histo_index.commands.progress import showing_training

    options = TrainOptions(
        recipe=recipe, architecture=arch, epochs=epochs, batch=batch, crop_px=crop, tile_px=tile,
        learning_rate=learning_rate, momentum=momentum, accumulate=accumulate, seed=seed,
        device=device, workers=workers, compile=compile_first,
        precision=precision, init=init, monitor=monitor,
        teacher=teacher, teacher_columns=(teacher_columns or "").split(","),
        teacher_weight=teacher_weight, balance=balance, neighbours=neighbours,
        licence=licence, mpp=mpp,
    )  # fmt: skip
    with showing_training() as progress:
        report = train_encoder(
            list(tiles or []), output, manifest=manifest, options=options, resume=resume,
            progress=progress,
        )  # fmt: skip
    if report.is_first:
        print_result(report if as_json else describe_training(report))
    exit_if(report.rejected, REJECTED_EXIT)


def describe_training(report: "TrainReport") -> str:
    """Format the result of a training run."""
    last = report.epochs[-1]
    share = 100 * report.monitoring_seconds / report.seconds
    lines = [
        f"{report.encoder}: {counted(len(report.epochs), 'epoch')} over "
        f"{counted(report.tiles, 'tile')} in "
        f"{duration_text(report.seconds)} ({share:.0f} % of it monitoring), "
        f"fingerprint {report.fingerprint}",
        f"  loss       {last['loss']:.4f}, effective rank {last['effective_rank']:.1f}",
        f"  rejected   {counted(len(report.rejected), 'tile')}",
    ]
    if "with_neighbours" in last:
        touching = f"{last['with_neighbours']:,} of {counted(report.tiles, 'tile')}"
        lines.append(f"  neighbours {touching} touch another of their slide")
    if report.best_epoch is not None:
        best = report.epochs[report.best_epoch - 1]
        lines.append(
            f"  monitor    best epoch {report.best_epoch}, pair ROC-AUC {best['pair_auc']:.3f}, "
            f"stored in {report.encoder / 'best'}"
        )
    return "\n".join(lines)
