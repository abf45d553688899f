"""The notebook docs/tour.ipynb runs; its committed outputs are small and name no machine."""

import json
import re
from pathlib import Path
from typing import Any

from tests import tour
from tests.doc_pages import copy_demo, mask


def printed(notebook: Any) -> list[str]:
    """Return the text that each cell prints, figures masked."""
    return [
        mask("".join(output["text"]))
        for cell in notebook["cells"]
        for output in cell.get("outputs", ())
        if output["output_type"] == "stream"
    ]


def test_notebook_runs_and_prints_what_is_committed(made_demo: Path, tmp_path: Path) -> None:
    executed = tour.execute(copy_demo(made_demo, tmp_path))
    committed = json.loads(tour.NOTEBOOK.read_text(encoding="utf-8"))
    assert printed(executed) == printed(committed), "run `make refresh-docs`"


def test_committed_notebook_is_small_and_names_no_machine() -> None:
    text = tour.NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 150_000
    assert re.findall(r"/(?:tmp|work|root|home|dev)/|https?://", text) == []
    cells = json.loads(text)["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", ()) for output in outputs) == 2
    assert [output for output in outputs if output["output_type"] == "error"] == []
