"""A GPU that was asked for and is not there is an error, whatever the question needs."""

from pathlib import Path

import pytest

import histo_index
from histo_index.errors import InputError
from histo_index.hardware import has_cuda
from tests.vectors import build_numbered, unit_vectors


@pytest.mark.skipif(has_cuda(), reason="there is a GPU here")
def test_cuda_without_a_gpu_always_fails(tmp_path: Path) -> None:
    path, _ = build_numbered(tmp_path, unit_vectors(3, 8), ["a.png", "b.png", "c.png"])
    for attempt in (
        lambda: histo_index.open(path, device="cuda").pair("a.png", "b.png"),
        lambda: histo_index.compare("a.png", "b.png", device="cuda"),
        lambda: histo_index.open_encoder(device="cuda"),
    ):
        with pytest.raises(InputError, match="no CUDA device here; pass --device cpu"):
            attempt()
