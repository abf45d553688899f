"""The command line: parse, call, print. Heavy imports happen inside the commands."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from inspect import getdoc
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command_name, get_group
from typer.models import CommandInfo

from histo_index.commands.options import JsonOption
from histo_index.commands.output import exit_if, facts_text, fail, print_result
from histo_index.commands.progress import showing_progress
from histo_index.limits import without_pandas

# The module of each command, below `histo_index.commands`, in the order of the help.
MODULES: Final = {
    "build": "index", "info": "index", "reindex": "index",
    "import": "features.imports", "export": "features.export",
    "slide": "slides.tile", "tile": "slides.tile",
    "remove": "remove", "restore": "remove", "compact": "remove",
    "pair": "query", "pairs": "query", "search": "query", "classify": "inspect",
    "duplicates": "inspect", "outliers": "inspect", "close-pairs": "inspect",
    "heatmap": "slides.heatmap", "map": "maps.map",
    "calibrate": "evaluate", "evaluate": "evaluate",
    "serve": "serve.serve", "marks": "serve.marks",
    "train": "encoders", "encoder": "encoders", "plan": "cluster.plan",
}  # fmt: skip


class CommandGroup(TyperGroup):
    """Commands whose modules are imported when they are asked for.

    A command then waits neither for the modules nor for the options of the others.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """List the names of all commands."""
        return list(dict.fromkeys([*self.commands, *MODULES]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None if there is none of this name."""
        if cmd_name in MODULES and cmd_name not in self.commands:
            self.commands[cmd_name] = _make_command(cmd_name)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of these arguments; a misspelt one needs the names of all."""
        if self.get_command(ctx, args[0]) is None:
            for name in MODULES:
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each command and what it does, without working out its options."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._describe(name)) for name in self.list_commands(ctx)])

    def _describe(self, name: str) -> str:
        """Return the first paragraph of the help of a command."""
        if name in self.commands:
            described = self.commands[name].help
        else:
            described = _descriptions(_import_app(name))[name]
        return " ".join((described or "").split("\n\n")[0].split())


def _import_app(name: str) -> typer.Typer:
    app: typer.Typer = import_module(f"histo_index.commands.{MODULES[name]}").app
    return app


def _make_command(name: str) -> Any:
    """Work out the options of one command, not of the others in its module."""
    module = _import_app(name)
    # Help is plain text in every part.
    alone = typer.Typer(rich_markup_mode=None)
    alone.registered_commands = [c for c in module.registered_commands if _name(c) == name]
    alone.registered_groups = [group for group in module.registered_groups if group.name == name]
    return get_group(alone).commands[name]


def _descriptions(app: typer.Typer) -> dict[str | None, str | None]:
    found = {_name(c): c.help or getdoc(c.callback) for c in app.registered_commands}
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    return found | {name: inner.info.help for name, inner in groups.items() if inner}


def _name(command: CommandInfo) -> str | None:
    """Name a command as Typer does."""
    if command.name or command.callback is None:
        return command.name
    return get_command_name(command.callback.__name__)


app = typer.Typer(
    name="histo-index",
    cls=CommandGroup,
    help="Are two histology tiles of the same tissue category, and what else looks like this one?",
    epilog="Exit codes: 0 ok; 1 failure; 2 usage; 3 finished, with rejected or unanswered rows; "
    "4 parts that do not belong together; `pair --exit-status`: 0 same, 10 different, 11 unsure.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
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
