"""What a GPU computes is what the CPU computes; skipped, saying so, where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from histo_index.demo.tiles import CATEGORIES, render_tile
from histo_index.encoder.encoder import open_encoder
from histo_index.encoder.making import init_encoder
from histo_index.indexer.faiss_search import ExactSearch, gpu_count
from tests.vectors import unit_vectors

pytestmark = pytest.mark.gpu


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_embeddings_agree_with_the_reference(tmp_path: Path) -> None:
    init_encoder(tmp_path / "encoder", arch="resnext50_32x4d", seed=0)
    tiles = [render_tile(category, seed=7) for category in CATEGORIES]
    expected = open_encoder(tmp_path / "encoder", device="reference").encode_pixels(tiles)
    encoder = open_encoder(tmp_path / "encoder", device="cuda")
    found = encoder.encode_pixels(tiles)
    # 0.99 because the weights are untrained, which bfloat16 rounds worse.
    assert np.einsum("bd,bd->b", expected, found).min() >= 0.99
    alone = np.concatenate([encoder.encode_pixels([tile]) for tile in tiles])
    assert np.array_equal(alone, found)


@pytest.mark.skipif(not gpu_count(), reason="needs a GPU that FAISS can use")
def test_flat_search_finds_the_same_rows() -> None:
    vectors = unit_vectors(5000, 256).astype(np.float16)
    queries = unit_vectors(50, 256, seed=1)
    expected = ExactSearch(vectors).search(queries, 10)
    assert np.array_equal(ExactSearch(vectors, gpu=True).search(queries, 10), expected)
