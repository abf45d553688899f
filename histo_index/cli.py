"""The command line: parse, call, print. Heavy imports happen inside the commands."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from histo_index.commands import encoders, evaluate, index, inspect, query, remove
from histo_index.commands.cluster import plan
from histo_index.commands.features import export, imports
from histo_index.commands.maps import map as maps
from histo_index.commands.options import JsonOption
from histo_index.commands.output import exit_if, facts_text, fail, print_result
from histo_index.commands.progress import showing_progress
from histo_index.commands.serve import marks, serve
from histo_index.commands.slides import heatmap, tile
from histo_index.limits import without_pandas

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
MODULES: Final = (
    index, imports, export, tile, remove, query, heatmap, inspect, evaluate, maps, serve, marks,
    encoders, plan,
)  # fmt: skip
for module in MODULES:
    app.add_typer(module.app)

_WHOLE_INDEX: Final = "the index changed completely or not at all; repeat the command"

_AFTER_INTERRUPTION: Final = {
    "import": "the same command continues from the last finished shard",
    "build": "the next build continues from the last finished shard",
    "train": "the same command with --resume continues from the last saved step, or starts over",
    "calibrate": _WHOLE_INDEX,
    "compact": _WHOLE_INDEX,
    "reindex": _WHOLE_INDEX,
    "remove": _WHOLE_INDEX,
    "restore": _WHOLE_INDEX,
    "map": "no map was stored, or all of it; repeat the command",
    "encoder": "the encoder folder may be incomplete; repeat the command with --overwrite",
    "serve": "the server has stopped; requests in flight were finished",
    "demo": "the output folder is incomplete; delete it and repeat the command",
}

# Commands that only read an index write their output files whole or not at all.
_NOTHING_CHANGED: Final = "no index was changed and no output file is incomplete"


def main() -> None:
    """Run the command line; an error is one line on stderr and an exit code."""
    signal.signal(signal.SIGINT, _interrupt)
    logging.basicConfig(format="histo-index: %(message)s", level=logging.WARNING)
    logging.getLogger("histo_index").setLevel(logging.INFO)
    try:
        # Whatever takes long reports how far it has come; see `progress.track`.
        with showing_progress(), without_pandas():
            app()
    except BrokenPipeError:
        # The reader of our output has closed it: nothing more can be printed.
        os._exit(1)
    except _InterruptedError:
        fail(describe_interruption(sys.argv[1:]), 130)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}; check the path, its permissions and the disk", 1)
    except Exception as error:
        from histo_index.errors import HistoIndexError

        if not isinstance(error, HistoIndexError):
            raise
        fail(str(error), error.exit_code)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        print_result(version("histo-index"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run the code of encoders that bring some.")
    ] = False,
) -> None:
    if allow_code:
        from histo_index.encoder.foreign import ALLOW_CODE

        os.environ[ALLOW_CODE] = "1"


@app.command(epilog="Example: histo-index doctor")
def doctor(as_json: JsonOption = False) -> None:
    """Check this machine: hardware, libraries, encoder, and problems."""
    from histo_index.api.doctor import diagnose

    found = diagnose()
    print_result(found if as_json else facts_text(found.facts))
    for problem in found.problems:
        typer.echo(f"histo-index: {problem}", err=True)
    exit_if(found.problems, 1)


@app.command(epilog="Example: histo-index demo -o demo")
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")] = Path("demo"),
    tiles_per_category: Annotated[
        int, typer.Option("--tiles-per-category", min=8, help="Tiles of each of eight categories.")
    ] = 40,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the renderer.")] = 0,
) -> None:
    """Demonstrate the program on rendered tiles: build, calibrate, compare, search."""
    from histo_index.demo.show import show

    show(output, tiles_per_category=tiles_per_category, seed=seed, echo=typer.echo)


def describe_interruption(arguments: Sequence[str]) -> str:
    """Describe the state that an interrupted command leaves.

    Args:
        arguments: command line without the name of the program.
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    return f"interrupted; {_AFTER_INTERRUPTION.get(command, _NOTHING_CHANGED)}"


class _InterruptedError(BaseException):
    """Ctrl-C. A KeyboardInterrupt would be caught by typer."""


def _interrupt(number: int, frame: object) -> None:
    raise _InterruptedError
