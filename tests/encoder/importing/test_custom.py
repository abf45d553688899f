"""An encoder that is code: it runs only where the user allows it, each time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.foreign import ALLOW_CODE
from histo_index.encoder.runtime.foreign.self_test import render_self_test
from histo_index.errors import InputError
from tests.encoder.importing.conftest import ImportHere

INPUT: dict[str, Any] = {"crop_px": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
CODE = """
import torch
from pathlib import Path

def build():
    Path({marker!r}).touch()
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 8, 8), torch.nn.ReLU(), torch.nn.Flatten(1)
    )
"""


@pytest.fixture(autouse=True)
def _nothing_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_CODE, "0")


def test_code_runs_only_where_it_is_allowed(
    import_here: ImportHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, file = tmp_path / "ran", tmp_path / "net.py"
    file.write_text(CODE.format(marker=str(marker)))
    with pytest.raises(InputError, match=r"net\.py: importing it runs its code .*--allow-code$"):
        import_here(f"custom:{file}:build", **INPUT)
    assert not marker.exists()
    encoder = import_here(f"custom:{file}:build", allow_code=True, **INPUT)
    tiles = list(render_self_test(32))
    monkeypatch.setenv(ALLOW_CODE, "1")
    expected = encoder.encode_pixels(tiles)
    assert encoder.embedding_size == 4 * 16
    # At each later use it has to be allowed again.
    monkeypatch.setenv(ALLOW_CODE, "0")
    marker.unlink()
    with pytest.raises(InputError, match=r"^this encoder is code, function build in its config"):
        Encoder(load_encoder(encoder.folder), device="cpu").encode_pixels(tiles)
    assert not marker.exists()
    monkeypatch.setenv(ALLOW_CODE, "1")
    again = Encoder(load_encoder(encoder.folder), device="cpu", precision="float32")
    np.testing.assert_array_equal(again.encode_pixels(tiles), expected)


def test_a_function_that_builds_no_network_is_refused(
    import_here: ImportHere, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text("build = 3")
    with pytest.raises(InputError, match=r"^build: expected a function without arguments"):
        import_here(f"custom:{tmp_path / 'net.py'}:build", allow_code=True, **INPUT)
