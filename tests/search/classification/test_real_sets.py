"""Class probabilities are true on real tiles of patients that nothing was fitted to."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from histo_index.api.build import build
from tests.conftest import Tries

ROOT: Final = Path(__file__).parents[3]
DATA: Final = ROOT.parent / "shared" / "data" / "eval"


@pytest.mark.parametrize("name", ["glas_colon_tissue", "ebhi_colon_dx"])
def test_intervals_of_held_out_patients_hold_what_is_true(
    name: str, tries: Tries, tmp_path: Path
) -> None:
    if not tries(0, 1):
        pytest.skip("encodes a thousand tiles: with --long only")
    if not DATA.is_dir():
        pytest.skip(f"no real tiles at {DATA}")
    build([DATA / name / "labels.csv"], tmp_path / "set.hx")
    limit = ["--most", "0.05"] if name == "ebhi_colon_dx" else []
    command = [sys.executable, "benchmarks/class_gates.py", str(tmp_path / "set.hx"), "--require"]
    done = subprocess.run([*command, *limit], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
