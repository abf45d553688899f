"""The notebook docs/tour.ipynb: execute it, and write it without traces of this machine."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import nbformat
from nbclient import NotebookClient

NOTEBOOK: Final = Path(__file__).parent.parent / "docs" / "tour.ipynb"
# A busy machine may take long to start the kernel; cells have no time limit.
_START_TIMEOUT_S: Final = 600
# The kernel warns that its sockets on loopback are not encrypted.
_QUIET: Final = ("--log-level=ERROR",)


def execute(folder: Path) -> Any:
    """Execute the notebook in a folder that holds the demo, and return it with its outputs.

    Kernel, settings and connection files are all in the folder: nothing of the user's Jupyter is
    read or written.
    """
    kernels = folder / "jupyter" / "kernels" / "tour"
    kernels.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", *_QUIET]
    spec = {"argv": command, "display_name": "Python 3", "language": "python"}
    (kernels / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    with _jupyter_in(folder):
        client = NotebookClient(
            notebook,
            kernel_name="tour",
            timeout=None,
            coalesce_streams=True,  # a slow machine splits what one cell prints
            startup_timeout=_START_TIMEOUT_S,
            resources={"metadata": {"path": str(folder)}},
        )
        return client.execute()


@contextmanager
def _jupyter_in(folder: Path) -> Iterator[None]:
    private = {
        "JUPYTER_PATH": folder / "jupyter",
        "JUPYTER_CONFIG_DIR": folder / "jupyter" / "config",
        "JUPYTER_DATA_DIR": folder / "jupyter" / "data",
        "JUPYTER_RUNTIME_DIR": folder / "jupyter" / "runtime",
        "JUPYTER_PLATFORM_DIRS": "1",
        "IPYTHONDIR": folder / "jupyter" / "ipython",
    }
    before = {name: os.environ.get(name) for name in private}
    os.environ.update({name: str(value) for name, value in private.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def write(notebook: Any) -> None:
    """Write the notebook without times, kernels and versions of this machine."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {}
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, NOTEBOOK)  # type: ignore[no-untyped-call]
    print(f"{NOTEBOOK.name}: outputs written again")
