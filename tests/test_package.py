"""The package as a whole: who may import whom, what is public, what is documented."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from typer.main import get_command

import histo_index
from histo_index.cli import app

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = ROOT / "histo_index"

# What a piece may import: other pieces of ours, and third-party packages. From DESIGN.md, with the
# modules that wire the pieces together.
PIECES: Final[dict[str, tuple[set[str], set[str]]]] = {
    "errors": (set(), set()),
    "cuda": (set(), {"torch"}),
    "encoder": (
        {"cuda", "errors", "encoder"},
        {"torch", "torchvision", "PIL", "numpy", "safetensors", "openvino", "matplotlib"},
    ),
    "indexer": (
        {"cuda", "errors", "indexer"},
        {"pyarrow", "numpy", "scipy", "xxhash", "faiss", "numkong", "torch"},
    ),
    "search": ({"errors", "indexer", "search"}, {"numpy", "pyarrow", "scipy", "sklearn", "duckdb"}),
    "report": (
        {"encoder", "errors", "indexer", "report", "search"},
        {"PIL", "jinja2", "markupsafe", "matplotlib", "numpy", "pyarrow", "scipy", "sklearn"},
    ),
    "reporting": ({"api", "encoder", "indexer", "report", "search"}, set()),
    "montage": ({"errors", "encoder", "search"}, {"PIL"}),
    "terminal": ({"errors", "indexer", "search"}, {"rich"}),
    "inspection": (
        {"cuda", "errors", "encoder", "indexer", "search"},
        {"pyarrow", "numpy", "torch", "torchvision"},
    ),
    "demo": ({"errors", "demo", "encoder", "search", "histo_index"}, {"numpy", "PIL"}),
    "training": ({"cuda", "encoder", "errors", "indexer", "search"}, {"numpy"}),
    "training_progress": ({"encoder", "errors"}, set()),
    "assessing": ({"encoder", "errors", "indexer", "search"}, {"numpy", "pyarrow"}),
    "judgements": ({"errors", "search"}, set()),
    "choosing": ({"errors", "encoder", "indexer"}, set()),
    "api": (
        {
            "assessing",
            "choosing",
            "errors",
            "encoder",
            "indexer",
            "search",
            "searching",
            "montage",
            "reporting",
        },
        {"numpy", "pyarrow", "PIL"},
    ),
    "building": ({"choosing", "encoder", "indexer"}, set()),
    "searching": ({"api", "errors", "search"}, {"numpy"}),
    "cli": ({"commands", "demo", "errors", "inspection", "terminal"}, {"typer"}),
    "commands": (
        {
            "api",
            "building",
            "commands",
            "encoder",
            "errors",
            "indexer",
            "inspection",
            "judgements",
            "search",
            "searching",
            "terminal",
            "training",
            "training_progress",
        },
        {"typer"},
    ),
    "__init__": ({"api", "building", "errors", "indexer", "search", "training"}, set()),
    "__main__": ({"cli"}, set()),
}

COMMANDS: Final = sorted(path.stem for path in (PACKAGE / "commands").glob("*.py"))

# Heavy libraries with one home each: swapping one touches one file.
HOMES: Final = {
    "duckdb": {"search/filtering.py"},
    "faiss": {"indexer/faiss_files.py", "indexer/faiss_search.py", "indexer/gpu_search.py"},
    "jinja2": {"report/page.py"},
    "numkong": {"indexer/kernel.py"},
    "openvino": {"encoder/quiet_openvino.py"},
    "safetensors": {"encoder/folder.py"},
    "torch": {
        *(path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "encoder").rglob("*.py")),
        "cuda.py",
        "indexer/torch_search.py",
        "inspection.py",
    },
    "xxhash": {"indexer/checksums.py", "indexer/derive.py"},
    "typer": {"cli.py", *(f"commands/{name}.py" for name in COMMANDS)},
    "rich": {"terminal.py"},
}


def imports_of(path: Path) -> Iterator[str]:
    """Name every module that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            if node.module == "histo_index":
                yield from (f"histo_index.{alias.name}" for alias in node.names)
            else:
                yield node.module


def is_standard(module: str) -> bool:
    import sys

    return module.split(".", maxsplit=1)[0] in sys.stdlib_module_names


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_follow_the_design(path: Path) -> None:
    place = path.relative_to(PACKAGE)
    piece = place.parts[0].removesuffix(".py")
    inside, outside = PIECES[piece]
    for module in imports_of(path):
        parts = module.split(".")
        if parts[0] == "histo_index":
            assert (parts[1] if len(parts) > 1 else parts[0]) in inside, f"{place} imports {module}"
        elif not is_standard(module):
            assert parts[0] in outside, f"{place} imports {module}"
            homes = HOMES.get(parts[0])
            assert homes is None or place.as_posix() in homes, f"{place} imports {module}"


def test_files_can_be_read_in_five_minutes() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    # api.py is a list of small functions with long signatures and docstrings.
    limit = {"api.py": 445}
    assert [
        f"{path.name}: {lines}"
        for path, lines in lengths.items()
        if lines > limit.get(path.name, 300)
    ] == []


def test_every_public_name_is_there_and_no_other() -> None:
    assert {name: getattr(histo_index, name).__name__ for name in histo_index.__all__} == {
        name: name for name in histo_index.__all__
    }
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = histo_index.nothing  # type: ignore[attr-defined]


def command_names() -> Iterator[str]:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            yield from (f"{name} {inner}" for inner in command.commands)
        else:
            yield name


@pytest.mark.parametrize("name", sorted(command_names()))
def test_every_command_is_documented_with_an_example(name: str) -> None:
    assert f"histo-index {name}" in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    command = get_command(app)
    for part in name.split():
        command = command.commands[part]  # type: ignore[attr-defined]
    assert str(command.epilog).startswith(f"Example: histo-index {name}")


def test_command_bodies_are_wiring() -> None:
    """A command imports, calls and prints: at most 15 statements, itself not counted."""
    paths = [PACKAGE / "cli.py", *(PACKAGE / "commands").glob("*.py")]
    nodes = [node for path in paths for node in ast.parse(path.read_text(encoding="utf-8")).body]
    for function in (node for node in nodes if isinstance(node, ast.FunctionDef)):
        statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
        docstring = 1
        assert len(statements) - 1 - docstring <= 15, function.name


def test_no_machine_path_or_host_is_committed() -> None:
    pattern = re.compile(r"/(?:work|root|home)/|https?://(?!www\.apache\.org)")
    texts = [*PACKAGE.rglob("*.py"), *ROOT.glob("*.*"), *(ROOT / "docs").rglob("*.*")]
    found = [
        f"{path.name}: {match.group()}"
        for path in texts
        if path.is_file()
        and path.suffix in {".css", ".ipynb", ".js", ".md", ".py", ".toml", ".txt", ".yml"}
        if (match := pattern.search(path.read_text(encoding="utf-8")))
    ]
    assert found == []
