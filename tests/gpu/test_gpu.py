"""What a GPU computes is what the CPU computes; skipped, saying so, where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from histo_index.arrays import Bools
from histo_index.demo.tiles import CATEGORIES, render_tile
from histo_index.encoder.create import init_encoder
from histo_index.encoder.encoder import open_encoder
from histo_index.indexer.nearest.candidates import CandidateSearch
from histo_index.indexer.nearest.exact import ExactSearch
from histo_index.indexer.nearest.faiss_index import make_candidates
from histo_index.indexer.nearest.gpu import candidates_on_gpu, gpu_count
from histo_index.indexer.nearest.torch_exact import TorchSearch, start_on_gpu
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("allowed", [None, np.arange(5000) % 3 == 0])
@pytest.mark.parametrize("count", [10, 3000])
def test_exact_search_finds_the_same_rows(allowed: Bools | None, count: int) -> None:
    vectors = unit_vectors(5000, 256).astype(np.float16)
    queries = unit_vectors(50, 256, seed=1).astype(np.float16).astype(np.float32)
    # One by one on the CPU, where FAISS looks at the rows where they lie.
    exact = ExactSearch(vectors)
    expected = np.concatenate([exact.search(query[None], count, allowed) for query in queries])
    kept, passing = start_on_gpu(vectors), TorchSearch(vectors, device="cuda", room_bytes=0)
    assert (kept.is_kept, passing.is_kept) == (True, False)
    for search in (kept, passing):
        found = search.search(queries, count, allowed)
        np.testing.assert_array_equal(found[:, :10], expected[:, :10])
        np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(expected, axis=1))


@pytest.mark.skipif(not gpu_count(), reason="needs a GPU that FAISS can use")
@pytest.mark.parametrize("kind", ["PCA64,IVF64,SQ8", "IVF64,SQ4", "PCA64,IVF64,Flat"])
def test_candidates_are_the_same(kind: str) -> None:
    vectors = unit_vectors(20_000, 256).astype(np.float16)
    queries = unit_vectors(200, 256, seed=1).astype(np.float16).astype(np.float32)
    index = make_candidates(kind, vectors, [vectors], size=256)
    search = CandidateSearch(index, ExactSearch(vectors), effort=16, candidates=100)
    expected = search.search(queries, 10)
    gpu = candidates_on_gpu(index, after=1)
    on_gpu = CandidateSearch(index, ExactSearch(vectors), effort=16, candidates=100, gpu=gpu)
    found = on_gpu.search(queries, 10)
    assert gpu.is_started
    shared = [len(set(one) & set(other)) for one, other in zip(found, expected, strict=True)]
    assert np.mean(shared) >= 99
