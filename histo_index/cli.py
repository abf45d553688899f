"""The command line: parse, call, print. Heavy imports happen inside the commands."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="histo-index",
    help="Are two histology tiles of the same tissue category, and what else looks like this one?",
    epilog="Exit codes: 0 ok; 1 failure; 2 usage; 3 finished, with rejected or unanswered rows; "
    "4 parts that do not belong together; `pair --exit-status`: 0 same, 10 different, 11 unsure.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
encoder_app = typer.Typer(help="Make encoder folders.", no_args_is_help=True)
app.add_typer(encoder_app, name="encoder")

REJECTED_EXIT = 3
DIFFERENT_EXIT = 10
UNSURE_EXIT = 11

IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index", "-i", help="The index; else $HISTO_INDEX, else the only *.hx folder here."
    ),
]
EncoderOption = Annotated[Path | None, typer.Option("--encoder", help="Encoder folder.")]
ThresholdOption = Annotated[
    float | None, typer.Option("--threshold", help="Distance up to which a pair is the same.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="auto, float32, bfloat16 or int8.")
]
ArchOption = Annotated[
    str, typer.Option("--arch", help="resnext50_32x4d, resnext101_32x8d or resnet18.")
]
MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        "--max-pixels", min=1, help="Refuse larger images; else as before, or 64 million."
    ),
]


def main() -> None:
    """Run the command line; what goes wrong is one line on stderr and an exit code."""
    signal.signal(signal.SIGINT, _interrupt)
    logging.basicConfig(format="histo-index: %(message)s", level=logging.WARNING)
    try:
        app()
    except BrokenPipeError:
        # The reader of our output is gone; there is nobody left to tell.
        os._exit(1)
    except _InterruptedError:
        _fail("interrupted; a build goes on from its last finished shard", 130)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}; check the path, its permissions and the disk", 1)
    except Exception as error:
        from histo_index.errors import HistoIndexError

        if not isinstance(error, HistoIndexError):
            raise
        _fail(str(error), error.exit_code)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        _print(version("histo-index"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: histo-index build tiles -o tiles.hx --manifest labels.csv")
def build(
    tiles: Annotated[
        list[Path] | None, typer.Argument(help="Folders, image files, or one manifest.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The index folder.")] = Path(
        "tiles.hx"
    ),
    encoder: EncoderOption = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="CSV, TSV or Parquet with a path column.")
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    max_pixels: MaxPixelsOption = None,
    shard_rows: Annotated[
        int | None, typer.Option("--shard-rows", min=1, help="Tiles a shard; else as before.")
    ] = None,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Try again what could not be used before.")
    ] = False,
    allow_rejected: Annotated[
        bool, typer.Option("--allow-rejected", help="Exit 0 even if images were rejected.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build an index from tiles, or bring it up to date; only new and changed ones are encoded."""
    from histo_index import api, terminal

    progress = terminal.ProgressLine()
    try:
        report = api.build(
            tiles or [], output, encoder=encoder, manifest=manifest, device=device,
            precision=precision, max_pixels=max_pixels, shard_rows=shard_rows,
            retry_rejected=retry_rejected, progress=progress,
        )  # fmt: skip
    finally:
        progress.close()
    _print(vars(report) if as_json else terminal.describe_build(report))
    _exit_if(report.rejected and not allow_rejected, REJECTED_EXIT)


@app.command(epilog="Example: histo-index pair a.png b.png -i tiles.hx")
def pair(
    image_a: Annotated[str, typer.Argument(help="A file, or an image id or path in the index.")],
    image_b: Annotated[str, typer.Argument(help="Likewise.")],
    index: IndexOption = None,
    encoder: Annotated[
        Path | None, typer.Option("--encoder", help="Compare without an index, by this encoder.")
    ] = None,
    threshold: ThresholdOption = None,
    device: DeviceOption = "auto",
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit 0 same, 10 different, 11 unsure.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell whether two images are of the same tissue category. A file comes before its name."""
    from histo_index import api, terminal

    if encoder and index:
        _fail("--index and --encoder exclude each other: pass one of them", 2)
    folder = None if encoder else _find_index(index)
    if folder is None:
        answer = api.compare(image_a, image_b, encoder=encoder, threshold=threshold, device=device)
    else:
        answer = api.open(folder, device=device).pair(image_a, image_b, threshold=threshold)
    _print(answer.as_dict() if as_json else terminal.describe_pair(answer))
    codes = {"same": 0, "different": DIFFERENT_EXIT, "unsure": UNSURE_EXIT}
    _exit_if(exit_status, codes[answer.verdict.value])


@app.command(epilog="Example: histo-index pairs pairs.csv -o answers.csv -i tiles.hx")
def pairs(
    pair_list: Annotated[str, typer.Argument(metavar="LIST", help="CSV, TSV, Parquet, or -.")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="CSV, TSV, Parquet or JSON lines file, or -.")
    ] = "-",
    index: IndexOption = None,
    threshold: ThresholdOption = None,
    root: Annotated[
        Path, typer.Option("--root", help="Folder that names of unseen images start from.")
    ] = Path(),
    form: Annotated[
        str, typer.Option("--format", help="table, or query-prediction as the reference writes.")
    ] = "table",
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score a list of pairs; one row out per row in. Names in the index come before files."""
    from histo_index import api, terminal
    from histo_index.search import writing

    target = None if output == "-" else Path(output)
    writing.check_output(target, overwrite=overwrite)
    writing.check_form(form)
    scores = api.open(_require_index(index), device=device).pairs(
        pair_list, threshold=threshold, root=root
    )
    is_document = as_json and target is None
    if not is_document:
        writing.write_scores(scores, target, form=form)
    document = terminal.pairs_document(scores, with_rows=is_document)
    _print(
        document if as_json else terminal.describe_pairs(scores),
        to_stderr=target is None and not as_json,
    )
    _exit_if(scores.answered < scores.pairs, REJECTED_EXIT)


@app.command(epilog="Example: histo-index search a.png -k 5 --montage out.png -i tiles.hx")
def search(
    images: Annotated[list[str], typer.Argument(help="Files, or image ids or paths in the index.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbours.")] = 10,
    index: IndexOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write CSV, TSV, Parquet or JSON lines.")
    ] = None,
    montage: Annotated[
        Path | None, typer.Option("--montage", help="Draw queries and neighbours as a PNG.")
    ] = None,
    tiles: Annotated[
        Path | None, typer.Option("--tiles", help="Where the tiles lie now, for the montage.")
    ] = None,
    exclude_self: Annotated[
        bool, typer.Option("--exclude-self/--include-self", help="Leave out the query itself.")
    ] = True,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the tiles that look most like each image."""
    from histo_index import api, terminal
    from histo_index.search import writing

    writing.check_output(output, overwrite=overwrite)
    writing.check_output(montage, overwrite=overwrite, suffixes=(".png",))
    opened = api.open(_require_index(index), device=device)
    found = opened.search(images, k=k, exclude_self=exclude_self)
    rows = terminal.neighbour_rows(images, found)
    if montage is not None:
        opened.draw(images, found, montage, tiles=tiles)
    if output is not None:
        writing.write_rows(rows, output, columns=terminal.NEIGHBOUR_COLUMNS)
    _print(rows if as_json else terminal.table_text(rows))


@app.command(epilog="Example: histo-index info -i tiles.hx --verify")
def info(
    index: IndexOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and check its checksum.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what an index is, what made it, and whether every file is whole."""
    from histo_index import inspection, terminal

    facts = inspection.index_facts(_require_index(index), verify=verify)
    _print(facts if as_json else terminal.facts_text(facts))


@app.command(epilog="Example: histo-index reindex -i tiles.hx")
def reindex(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """Make the search files of an index anew from its shards."""
    from histo_index.indexer.commit import reindex as run

    folder = _require_index(index)
    manifest = run(folder)
    facts = {"index": folder, "generation": manifest.generation, "tiles": manifest.tiles}
    _print(facts if as_json else f"{folder}: {manifest.tiles:,} tiles, search files made anew")


@app.command(epilog="Example: histo-index doctor")
def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has, what will be used, and what is wrong."""
    from histo_index import inspection, terminal

    found = inspection.diagnose()
    _print(vars(found) if as_json else terminal.facts_text(found.facts))
    for problem in found.problems:
        typer.echo(f"histo-index: {problem}", err=True)
    _exit_if(found.problems, 1)


@app.command(epilog="Example: histo-index demo -o demo")
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")] = Path("demo"),
    tiles_per_category: Annotated[
        int, typer.Option("--tiles-per-category", min=8, help="Of eight categories.")
    ] = 40,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the renderer.")] = 0,
) -> None:
    """Show the main job on tiles that are rendered here and now."""
    from histo_index.demo.show import show

    show(output, tiles_per_category=tiles_per_category, seed=seed, tell=typer.echo)


@encoder_app.command(
    "import",
    epilog="Example: histo-index encoder import byol.pth --arch resnext101_32x8d -o encoder",
)
def encoder_import(
    checkpoint: Annotated[Path, typer.Argument(help="A torchvision-style state dict (.pth).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The encoder folder.")],
    arch: ArchOption = "resnext50_32x4d",
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
        checkpoint, output, arch=arch, threshold=threshold, mpp=mpp, overwrite=overwrite
    )
    _print(f"{output}: {arch}, fingerprint {fingerprint}")


@encoder_app.command("init", epilog="Example: histo-index encoder init -o untrained --seed 1")
def encoder_init(
    output: Annotated[Path, typer.Option("--output", "-o", help="The encoder folder.")],
    arch: ArchOption = "resnext50_32x4d",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random weights.")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Make an untrained encoder: for tests and as a floor to compare with."""
    from histo_index.encoder.making import init_encoder

    fingerprint = init_encoder(output, arch=arch, seed=seed, overwrite=overwrite)
    _print(f"{output}: {arch}, untrained, fingerprint {fingerprint}")


@encoder_app.command("quantize", epilog="Example: histo-index encoder quantize encoder tiles")
def encoder_quantize(
    folder: Annotated[Path, typer.Argument(help="The encoder folder.")],
    tiles: Annotated[list[Path], typer.Argument(help="Folders, image files, or one manifest.")],
) -> None:
    """Measure on some tiles what `--precision int8` needs, and keep it in the encoder folder."""
    from histo_index import api

    ranges = api.quantize(folder, tiles)
    _print(f"{folder}: int8 ranges from {ranges.tiles} tiles, fingerprint {ranges.digest}")


class _InterruptedError(BaseException):
    """Ctrl-C; typer would swallow a KeyboardInterrupt."""


def _interrupt(number: int, frame: object) -> None:
    raise _InterruptedError


def _find_index(given: Path | None) -> Path | None:
    """Take the index given, else $HISTO_INDEX, else the only *.hx folder here, else none."""
    if given is not None:
        return given
    if named := os.environ.get("HISTO_INDEX"):
        return Path(named)
    found = sorted(path for path in Path().glob("*.hx") if path.is_dir())
    if len(found) > 1:
        names = ", ".join(str(path) for path in found[:4])
        _fail(f"several indexes here ({names}); pass one with --index", 2)
    return found[0] if found else None


def _require_index(given: Path | None) -> Path:
    found = _find_index(given)
    if found is None:
        _fail("no index: pass --index DIR, set HISTO_INDEX, or run where one *.hx folder is", 2)
    assert found is not None
    return found


def _print(result: Any, *, to_stderr: bool = False) -> None:
    """Print a result: text as it is, anything else as JSON."""
    from histo_index.search.jsontext import to_json

    typer.echo(result if isinstance(result, str) else to_json(result), err=to_stderr)


def _exit_if(condition: object, code: int) -> None:
    if condition:
        raise typer.Exit(code)


def _fail(message: str, code: int) -> None:
    print(f"histo-index: error: {message}", file=sys.stderr)
    sys.exit(code)
