"""Start-up: `histo-index --help` and `pair` on indexed images, as multiples of bare imports.

Each is compared with a program that imports what it cannot do without, run in turn with it: their
quotient depends little on how fast this machine starts Python.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Final

import measuring

HEAVY: Final = (
    "torch",
    "torchvision",
    "faiss",
    "openvino",
    "PIL",
    "pandas",
    "sklearn",
    "rich",
    "pydantic",
)
TYPER: Final = "python -c 'import typer'"
ARRAYS: Final = "python -c 'import numpy, pyarrow'"
# What a command is compared with, and at most how many times its time it shall take.
TARGETS: Final = {"histo-index --help": (TYPER, 1.5), "histo-index pair": (ARRAYS, 2.0)}
# `import time:  self [us] | cumulative | imported package`
_IMPORT_LINE: Final = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|\s*(\S+)")

# Byte code is written once and used from then on, as it is after an ordinary installation.
ENVIRONMENT: Final = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--repeats", type=int, default=5, help="runs of each command")
    options.add_argument("--rows", type=int, default=100_000, help="tiles of the larger index")
    options.add_argument("--profile", action="store_true", help="list the slowest imports")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="histo-index-startup-") as folder:
        commands = make_commands(Path(folder), rows=given.rows)
        for command in commands.values():
            start(command)
        jobs = {name: _job(command) for name, command in commands.items()}
        rates = measuring.interleave(jobs, repeats=given.repeats)
        imports = {name: imported(command) for name, command in commands.items()}
    report(rates, imports)
    if given.profile:
        for name, modules in imports.items():
            print(f"\n{name}: slowest imports, milliseconds of their own and with what they import")
            for module, (own, total) in sorted(modules.items(), key=lambda m: -m[1][0])[:10]:
                print(f"{own / 1000:8.1f} {total / 1000:8.1f}  {module}")


def make_commands(folder: Path, *, rows: int) -> dict[str, list[str]]:
    """Build the indexes and write the commands to compare."""
    script = Path(sys.executable).with_name("histo-index")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "histo_index"]
    commands = {
        TYPER: [sys.executable, "-c", "import typer"],
        ARRAYS: [sys.executable, "-c", "import numpy, pyarrow"],
        "histo-index --help": [*program, "--help"],
    }
    for count in (100, rows):
        index = measuring.make_synthetic_index(folder / str(count), rows=count)
        pair = [str(index.parent / "tiles" / measuring.tile_name(row)) for row in (3, count - 3)]
        command = [*program, "pair", *pair, "-i", str(index)]
        commands[f"histo-index pair, {count:,} tiles"] = command
    return commands


def start(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)


def imported(command: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Tell what a command imports: module to microseconds, its own and with what it imports."""
    program = command if command[0] == sys.executable else [sys.executable, *command]
    run = subprocess.run(
        [program[0], "-X", "importtime", *program[1:]],
        check=True,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    found = _IMPORT_LINE.findall(run.stderr)
    return {module: (int(own), int(total)) for own, total, module in found}


def report(rates: dict[str, list[float]], imports: dict[str, dict[str, tuple[int, int]]]) -> None:
    rows = []
    for name, values in rates.items():
        milliseconds = [1000 / rate for rate in values]
        multiple = target = ""
        for command, (peer, most) in TARGETS.items():
            if name.startswith(command):
                ratio = median(milliseconds) / median(1000 / rate for rate in rates[peer])
                multiple, target = f"{ratio:.2f} × `{peer}`", f"≤ {most:g}"
        # A module that is not installed is listed too when somebody tried to import it.
        heavy = [module for module in HEAVY if module in imports[name] and find_spec(module)]
        cells = (f"`{name}`", measuring.spread(milliseconds), multiple, target)
        rows.append((*cells, ", ".join(heavy) or "none"))
    measuring.print_machine()
    header = ("command", "ms", "medians compared", "target", "heavy modules loaded")
    measuring.print_table(header, rows)


def _job(command: Sequence[str]) -> measuring.Job:
    def job() -> int:
        start(command)
        return 1

    return job


if __name__ == "__main__":
    main()
