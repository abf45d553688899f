"""The command line: parse, call, print. Heavy imports happen inside the commands."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from histo_index.commands.assessing import assessing
from histo_index.commands.encoders import encoders
from histo_index.commands.indexes import indexes
from histo_index.commands.interruptions import describe_interruption
from histo_index.commands.options import JsonOption
from histo_index.commands.outcome import exit_if, fail, print_result
from histo_index.commands.questions import questions
from histo_index.commands.removing import removing
from histo_index.commands.surveys import surveys
from histo_index.commands.training import training

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
app.add_typer(indexes)
app.add_typer(removing)
app.add_typer(questions)
app.add_typer(surveys)
app.add_typer(assessing)
app.add_typer(training)
app.add_typer(encoders, name="encoder")


def main() -> None:
    """Run the command line; what goes wrong is one line on stderr and an exit code."""
    signal.signal(signal.SIGINT, _interrupt)
    logging.basicConfig(format="histo-index: %(message)s", level=logging.WARNING)
    logging.getLogger("histo_index").setLevel(logging.INFO)
    try:
        app()
    except BrokenPipeError:
        # The reader of our output is gone; there is nobody left to tell.
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
) -> None:
    pass


@app.command(epilog="Example: histo-index doctor")
def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has, what will be used, and what is wrong."""
    from histo_index import inspection, terminal

    found = inspection.diagnose()
    print_result(vars(found) if as_json else terminal.facts_text(found.facts))
    for problem in found.problems:
        typer.echo(f"histo-index: {problem}", err=True)
    exit_if(found.problems, 1)


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


class _InterruptedError(BaseException):
    """Ctrl-C; typer would swallow a KeyboardInterrupt."""


def _interrupt(number: int, frame: object) -> None:
    raise _InterruptedError
