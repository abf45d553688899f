"""Promise 30: the same answers on every CPU, or refused.

An embedding within 1e-3 of the float32 reference's, in bfloat16 too.

Processes that may use fewer of the CPU's instructions encode and compare the same tiles. Every
library has its own setting for that. On a CPU that has no more than a setting allows, the test
compares what this CPU computes.
"""

import json
import os
import platform
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from histo_index.arrays import Float64
from histo_index.demo.tiles import CATEGORIES, render_tile
from histo_index.encoder.encoder import EncodedTile, Encoder, open_encoder
from histo_index.encoder.folder import bundled_encoder, load_encoder
from histo_index.encoder.runtime.openvino import has_bfloat16
from tests.encoder.conftest import REAL_TILES
from tests.promises.child import ROOT
from tests.promises.conftest import Tell, Tries

TOLERANCE: Final = 1e-3
# Of distances between different tiles in bfloat16; the largest seen among 55,278 was 0.008.
BFLOAT16_TOLERANCE: Final = 0.02
_TILES: Final = 5

# Instructions that OpenVINO may use, and what FAISS, torch and numpy have of the same age.
LEVELS: Final = {
    "AVX512_CORE": ("AVX512", "avx512", "AVX512_ICL AVX512_SPR"),
    "AVX2": ("AVX2", "avx2", "X86_V4 AVX512_ICL AVX512_SPR"),
    "SSE41": ("NONE", "default", "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"),
}
SCRIPT: Final = """
    import json, sys
    from pathlib import Path

    import numpy as np

    from histo_index.encoder.encoder import open_encoder
    from histo_index.encoder.folder import bundled_encoder
    from histo_index.encoder.runtime.openvino import cpu_capabilities
    from histo_index.errors import InputError
    from histo_index.indexer.nearest.exact import ExactSearch
    from histo_index.search.distance import pair_distances

    sys.path.insert(0, "benchmarks")
    import measuring

    answers, *paths = map(Path, sys.argv[1:])
    encoder = open_encoder(bundled_encoder(), device="cpu")
    embeddings = np.array([tile.embedding for tile in encoder.encode_files(paths)])
    everything = len(embeddings)
    search = ExactSearch(embeddings.astype(np.float16), many=1, few=everything)
    rows = search.search(embeddings, everything)
    left = np.repeat(np.arange(len(embeddings)), rows.shape[1])
    distances = pair_distances(embeddings[left], embeddings[rows.ravel()])
    np.savez(answers, embeddings=embeddings, rows=rows, distances=distances.reshape(rows.shape))
    refusal = None
    if "BF16" not in cpu_capabilities():
        try:
            open_encoder(bundled_encoder(), device="cpu", precision="bfloat16").runtime
        except InputError as error:
            refusal = str(error)
    print(json.dumps([encoder.runtime.precision, refusal, measuring.usable_precisions()]))
"""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What a process with fewer instructions computed.

    Attributes:
        precision: chosen by `auto`.
        refusal: of bfloat16, if it is refused.
        benchmarked: precisions that benchmarks measure.
        embeddings: [N, D].
        rows: [N, N], nearest first.
        distances: [N, N], of these rows.
    """

    precision: str
    refusal: str | None
    benchmarked: list[str]
    embeddings: Float64
    rows: npt.NDArray[np.int64]
    distances: Float64


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tiles")
    paths = [folder / f"{number}.png" for number in range(_TILES)]
    for number, path in enumerate(paths):
        category = CATEGORIES[number % len(CATEGORIES)]
        Image.fromarray(render_tile(category, seed=number, size_px=128)).save(path)
    return paths


@pytest.fixture(scope="module")
def expected(tiles: list[Path]) -> Float64:
    """Embeddings of the float32 reference, [N, D]."""
    return encode(Encoder(load_encoder(bundled_encoder()), device="reference"), tiles)


def encode(encoder: Encoder, paths: list[Path]) -> Float64:
    found = [tile for tile in encoder.encode_files(paths) if isinstance(tile, EncodedTile)]
    return np.array([tile.embedding for tile in found], np.float64)


def distances_between(embeddings: Float64) -> Float64:
    """Distances of all pairs, [N, N], computed in the plainest way."""
    gaps = embeddings[:, None] - embeddings[None]
    distances: Float64 = (gaps**2).sum(axis=2)
    return distances


def answer(level: str, tiles: list[Path], folder: Path) -> Answered:
    """Encode and compare in a process that may use no more than a level's instructions."""
    faiss, torch, numpy = LEVELS[level]
    limits = {
        "OV_CPU_MAX_ISA": level,
        "ONEDNN_MAX_CPU_ISA": level,
        "FAISS_SIMD_LEVEL": faiss,
        "ATEN_CPU_CAPABILITY": torch,
        "NPY_DISABLE_CPU_FEATURES": numpy,
    }
    answers = folder / "answers.npz"
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), answers, *tiles],
        env={**os.environ, **limits},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    precision, refusal, benchmarked = json.loads(ran.stdout)
    arrays: dict[str, Any] = dict(np.load(answers))
    return Answered(precision=precision, refusal=refusal, benchmarked=benchmarked, **arrays)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="these are levels of x86 instructions"
)
@pytest.mark.parametrize("level", LEVELS)
def test_fewer_instructions_give_the_same_answers(
    level: str, tiles: list[Path], expected: Float64, tmp_path: Path, tries: Tries, tell: Tell
) -> None:
    if level == "SSE41" and tries(0, 1) == 0:
        pytest.skip("in the long form: without AVX2 a tile takes seconds")
    found = answer(level, tiles, tmp_path)
    # None of these levels has bfloat16.
    assert found.precision == "float32"
    assert found.benchmarked == ["float32"]
    assert found.refusal == "this CPU has no bfloat16; pass --precision auto or float32"
    assert np.abs(found.embeddings - expected).max() <= TOLERANCE
    truth = distances_between(expected)
    apart = np.abs(np.take_along_axis(truth, found.rows, axis=1) - found.distances).max()
    assert apart <= TOLERANCE
    # Nearest first, by the distances of the reference too.
    assert (np.diff(np.take_along_axis(truth, found.rows, axis=1)) >= -TOLERANCE).all()
    assert (np.sort(found.rows) == np.arange(len(tiles))).all()
    tell(f"{len(tiles)} tiles with {level}", f"distances within {apart:.1e}")


@pytest.fixture(scope="module", params=["float32", "auto"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """The bundled encoder on this CPU."""
    found = open_encoder(bundled_encoder(), device="cpu", precision=request.param)
    is_half = found.runtime.precision == "bfloat16"
    assert is_half == (request.param == "auto" and has_bfloat16())
    return found


@pytest.fixture(scope="module")
def real_tiles() -> list[Path]:
    tiles = sorted(REAL_TILES.rglob("*.tif"))[::16][:_TILES]
    if not tiles:
        pytest.skip("no real tiles here")
    return tiles


@pytest.fixture(scope="module")
def expected_real(real_tiles: list[Path]) -> Float64:
    return encode(Encoder(load_encoder(bundled_encoder()), device="reference"), real_tiles)


def test_this_cpu_matches_the_reference(
    encoder: Encoder, tiles: list[Path], expected: Float64, tell: Tell
) -> None:
    require_equal(encoder, tiles, expected)
    tell(f"{len(tiles)} rendered tiles in {encoder.runtime.precision}", "within the tolerance")


def test_this_cpu_matches_the_reference_on_real_tiles(
    encoder: Encoder, real_tiles: list[Path], expected_real: Float64, tell: Tell
) -> None:
    require_equal(encoder, real_tiles, expected_real)
    tell(f"{len(real_tiles)} real tiles in {encoder.runtime.precision}", "within the tolerance")


def require_equal(encoder: Encoder, tiles: list[Path], expected: Float64) -> None:
    """Compare the embeddings of tiles, and the distances between them, with the reference's."""
    found = encode(encoder, tiles)
    is_half = encoder.runtime.precision == "bfloat16"
    # Of a tile and itself, encoded twice.
    assert ((found - expected) ** 2).sum(axis=1).max() <= TOLERANCE
    apart = np.abs(distances_between(found) - distances_between(expected)).max()
    assert apart <= (BFLOAT16_TOLERANCE if is_half else TOLERANCE)
