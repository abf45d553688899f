"""The package as a whole: who may import whom, what is public, what is documented."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import histo_index
from tests.cli_page import list_commands

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = ROOT / "histo_index"

# What a room may import: other rooms, and third-party packages. From DESIGN.md.
_LOW: Final = {
    "arrays", "errors", "files", "hardware", "lettering", "limits", "progress", "wording",
}  # fmt: skip
ROOMS: Final[dict[str, tuple[set[str], set[str]]]] = {
    "errors": (set(), set()),
    "wording": (set(), set()),
    "arrays": (set(), {"numpy"}),
    "files": (set(), set()),
    "hardware": (set(), {"torch"}),
    "lettering": ({"wording"}, {"PIL", "matplotlib"}),
    "limits": ({"wording"}, set()),
    "progress": (set(), set()),
    "slides": (_LOW, {"PIL", "cv2", "imagecodecs", "numpy", "openslide", "pyarrow", "tifffile"}),
    "encoder": (
        _LOW | {"slides"},
        {"torch", "torchvision", "PIL", "numpy", "safetensors", "openvino", "matplotlib"},
    ),
    "indexer": (
        _LOW | {"slides"},
        {"pyarrow", "numpy", "scipy", "xxhash", "faiss", "numkong", "threadpoolctl", "torch"},
    ),
    "cluster": (_LOW | {"indexer", "search"}, {"numpy", "ray"}),
    "features": (
        _LOW | {"indexer", "slides"},
        {"h5py", "numpy", "pyarrow", "torch", "zarr"},
    ),
    "search": (
        _LOW | {"indexer", "slides"},
        {"numpy", "pyarrow", "scipy", "sklearn", "duckdb", "openTSNE"},
    ),
    "report": (
        _LOW | {"encoder", "indexer", "search"},
        {"PIL", "jinja2", "markupsafe", "matplotlib", "numpy", "pyarrow", "scipy", "sklearn"},
    ),
    "api": (
        _LOW | {"cluster", "encoder", "features", "indexer", "report", "search", "slides"},
        {"numpy", "pyarrow", "PIL", "sklearn", "torch", "torchvision"},
    ),
    "serve": (
        _LOW | {"api", "cluster", "encoder", "indexer", "report", "search", "slides"},
        {
            "fastapi",
            "markupsafe",
            "numpy",
            "prometheus_client",
            "pyarrow",
            "pydantic",
            "starlette",
            "uvicorn",
        },
    ),
    "demo": (_LOW | {"encoder", "search", "histo_index"}, {"numpy", "PIL", "tifffile"}),
    "commands": (
        _LOW | {"api", "cluster", "encoder", "indexer", "search", "serve", "slides"},
        {"typer", "rich", "pyarrow"},
    ),
    "cli": (_LOW | {"api", "commands", "demo", "encoder"}, {"typer"}),
    "__init__": (_LOW | {"api", "encoder", "indexer", "search", "slides"}, set()),
    "__main__": ({"cli"}, set()),
}
# Rooms whose own name is part of the public API: `histo_index.slides.tile`.
FACADES: Final[dict[str, tuple[set[str], set[str]]]] = {
    "slides/__init__.py": ({"api", "slides"}, set())
}
MOST_MODULES: Final = 10

COMMANDS: Final = sorted((PACKAGE / "commands").rglob("*.py"))

# Heavy libraries with one home each: swapping one touches one file.
HOMES: Final = {
    "duckdb": {"search/neighbours/filters.py"},
    "faiss": {
        "indexer/nearest/faiss_index.py",
        "indexer/nearest/exact.py",
        "indexer/nearest/gpu.py",
    },
    "imagecodecs": {"slides/reading/jpeg_levels.py"},
    "h5py": {"features/containers/hdf5.py", "features/writing/h5ad.py"},
    "jinja2": {"report/html.py"},
    "ray": {"cluster/ray_session.py"},
    "numkong": {"indexer/nearest/kernel.py"},
    "openTSNE": {"search/maps/layout.py"},
    "openvino": {"encoder/runtime/openvino_import.py"},
    "openslide": {"slides/reading/openslide_reader.py"},
    "tifffile": {"demo/slide.py", "slides/reading/tiff_reader.py"},
    "safetensors": {"encoder/weights_file.py", "encoder/importing/tensors.py"},
    "torch": {
        *(path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "encoder").rglob("*.py")),
        "features/layouts/torch_file.py",
        "features/reading/child.py",
        "hardware.py",
        "indexer/nearest/torch_exact.py",
        "api/doctor.py",
    },
    "prometheus_client": {
        "serve/app.py",
        "serve/rest/operations.py",
        "serve/safety/edge.py",
    },
    "uvicorn": {"serve/start.py", "serve/safety/connection.py"},
    "xxhash": {"indexer/format/checksums.py", "indexer/format/vector_file.py"},
    "zarr": {"features/containers/zarr_tree.py"},
    "typer": {"cli.py", *(path.relative_to(PACKAGE).as_posix() for path in COMMANDS)},
    "rich": {"commands/progress.py"},
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
    module_path = path.relative_to(PACKAGE)
    room = module_path.parts[0].removesuffix(".py")
    inside, outside = FACADES.get(module_path.as_posix()) or ROOMS[room]
    for module in imports_of(path):
        parts = module.split(".")
        if parts[0] == "histo_index":
            other = parts[1] if len(parts) > 1 else parts[0]
            assert other in inside | {room}, f"{module_path} imports {module}"
        elif not is_standard(module):
            assert parts[0] in outside, f"{module_path} imports {module}"
            homes = HOMES.get(parts[0])
            assert homes is None or module_path.as_posix() in homes, (
                f"{module_path} imports {module}"
            )


def piece_of(module: str) -> str:
    """Name the piece that a module is in: a sub-folder, or a module beside the sub-folders."""
    return ".".join(module.split(".")[:3])


def arrows() -> dict[str, set[str]]:
    """Map each piece of the package to the pieces that it imports."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if own.endswith("__init__"):
            continue
        ours = {name for name in imported_names(path) if name.startswith("histo_index.")}
        others = {piece_of(name) for name in ours} - {piece_of(own)}
        found.setdefault(piece_of(own), set()).update(others)
    return found


def imported_names(path: Path) -> Iterator[str]:
    """Name every module of ours that a file imports, also from a package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_module = (ROOT / name.replace(".", "/")).with_suffix(".py").exists()
                yield name if is_module else node.module


def test_no_import_runs_in_a_circle_between_sub_folders() -> None:
    left = arrows()
    while free := {piece for piece, others in left.items() if not others & left.keys()}:
        left = {piece: others for piece, others in left.items() if piece not in free}
    assert left == {}


def test_a_folder_holds_at_most_ten_modules() -> None:
    counts = Counter(path.parent for path in PACKAGE.rglob("*.py") if path.stem != "__init__")
    assert {str(folder): n for folder, n in counts.items() if n > MOST_MODULES} == {}


def test_mypy_of_another_project_finds_an_editable_install(tmp_path: Path) -> None:
    script = (
        "import os; from mypy.modulefinder import FindModuleCache, SearchPaths, get_search_dirs\n"
        "import sys; paths, packages = get_search_dirs(sys.executable)\n"
        "paths = SearchPaths((), (), (*paths, *packages), ())\n"
        "print(FindModuleCache(paths, None, None).find_module('histo_index'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{PACKAGE / '__init__.py'}\n"


def test_files_can_be_read_in_five_minutes() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    # api/index.py is a list of small functions with long signatures and docstrings.
    limit = {"index.py": 405}
    assert [
        f"{path.name}: {lines}"
        for path, lines in lengths.items()
        if lines > limit.get(path.name, 300)
    ] == []


def test_slides_are_there_without_an_import_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(histo_index, "slides", raising=False)
    assert histo_index.slides.open.__module__ == "histo_index.api.slides.open"


def test_every_public_name_is_there_and_no_other() -> None:
    assert {name: getattr(histo_index, name).__name__ for name in histo_index.__all__} == {
        name: name for name in histo_index.__all__
    }
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = histo_index.nothing  # type: ignore[attr-defined]


COMMANDS_BY_NAME: Final = dict(list_commands())


@pytest.mark.parametrize("name", sorted(COMMANDS_BY_NAME))
def test_every_command_is_documented_with_an_example(name: str) -> None:
    assert f"histo-index {name}" in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert str(COMMANDS_BY_NAME[name].epilog).startswith(f"Example: histo-index {name}")


def test_command_bodies_are_wiring() -> None:
    """A command imports, calls and prints: at most 15 statements, itself not counted."""
    paths = [PACKAGE / "cli.py", *COMMANDS]
    nodes = [node for path in paths for node in ast.parse(path.read_text(encoding="utf-8")).body]
    for function in (node for node in nodes if isinstance(node, ast.FunctionDef)):
        statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
        docstring = 1
        assert len(statements) - 1 - docstring <= 15, function.name


def test_no_machine_path_or_host_is_committed() -> None:
    pattern = re.compile(
        r"/(?:work|root|home)/|https?://(?!www\.apache\.org|huggingface\.co/|127\.0\.0\.1|"
        r"github\.com/(?:lunit-io|mahmoodlab|kaiko-ai|Xiyue-Wang)/)"
    )
    texts = [*PACKAGE.rglob("*.py"), *ROOT.glob("*.*"), *(ROOT / "docs").rglob("*.*")]
    found = [
        f"{path.name}: {match.group()}"
        for path in texts
        if path.is_file()
        and path.suffix in {".css", ".ipynb", ".js", ".md", ".py", ".toml", ".txt", ".yml"}
        if (match := pattern.search(path.read_text(encoding="utf-8")))
    ]
    assert found == []
