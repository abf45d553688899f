"""A real browser shows the report, without a network, and the figures can be read from it."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from histo_index.report.evaluation_page import evaluation_page
from histo_index.report.pictures import Pictures
from tests.report.conftest import KINDS, Judged
from tests.report.reading import Page

BROWSER: Final = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# No sandbox: CI runs as root. The rest keeps the browser from talking to anybody.
FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
def test_a_browser_shows_the_figures_and_runs_nothing(judged: Judged, tmp_path: Path) -> None:
    assert BROWSER is not None
    html = evaluation_page(judged.index, judged.found, Pictures(judged.tiles), names=True)
    (tmp_path / "report.html").write_text(html)
    done = subprocess.run(
        [
            BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
            (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    page = Page(done.stdout)
    found = judged.found
    assert page.figures["headline"] == [found.headline]
    for name, figure in found.index.pairs.items():
        assert set(page.values[f"index.pairs.{name}"]) == {figure.value}
        assert set(page.figures[f"index.pairs.{name}"]) == {f"{figure.value:.3f}"}
    tags = [tag for tag, _ in page.elements]
    assert "script" not in tags
    assert tags.count("svg") >= 7
    assert all(kind in page.text for kind in KINDS.values())
