"""The encoder from file to embedding: right, in order, on the runtime asked for, none left over."""

import hashlib
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
from PIL import Image

from histo_index.arrays import Float32, Pixels
from histo_index.encoder.config import PublishedThreshold
from histo_index.encoder.decode.image_file import DecodeLimits
from histo_index.encoder.decode.preprocessing import fit_tile
from histo_index.encoder.encoder import EncodedTile, Encoder
from histo_index.encoder.folder import EncoderFolder
from histo_index.encoder.runtime import choose, openvino
from histo_index.encoder.runtime.openvino import has_bfloat16
from histo_index.encoder.runtime.reference import ReferenceRuntime
from histo_index.errors import ImageError, InputError
from histo_index.hardware import usable_cores
from tests.encoder.conftest import Children, MakeEncoder, cosines


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(children: Children) -> Iterator[None]:
    yield
    names = {thread.name.split("_")[0] for thread in threading.enumerate()}
    assert names.isdisjoint({"infer", "decode"})


@pytest.fixture(scope="module")
def fast(settled: EncoderFolder) -> Encoder:
    return Encoder(settled, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def expected(settled: EncoderFolder, tiles: Pixels) -> Float32:
    """Unit vectors [32, D] computed in the plainest way from the reference's features."""
    reference = ReferenceRuntime(settled)
    features = np.concatenate([reference.embed(tile[None]) for tile in tiles])
    units: Float32 = features / np.linalg.norm(features, axis=1, keepdims=True)
    return units


def encoded(results: Iterator[EncodedTile | ImageError]) -> list[EncodedTile]:
    tiles = []
    for result in results:
        assert isinstance(result, EncodedTile), result
        tiles.append(result)
    return tiles


def vectors(tiles: list[EncodedTile]) -> Float32:
    return np.stack([tile.embedding for tile in tiles])


def test_files_pixels_and_reference_agree(
    fast: Encoder,
    settled: EncoderFolder,
    tiles: Pixels,
    tile_files: list[Path],
    expected: Float32,
) -> None:
    from_files = vectors(encoded(fast.encode_files(tile_files)))
    from_pixels = fast.encode_pixels(list(tiles))
    assert np.array_equal(from_files, from_pixels)
    assert np.abs(from_files - expected).max() <= 1e-5
    slow = Encoder(settled, device="reference").encode_pixels(list(tiles))
    assert np.abs(slow - expected).max() <= 1e-6


def test_embeddings_are_float32_of_length_1(fast: Encoder, tiles: Pixels) -> None:
    found = fast.encode_pixels(list(tiles))
    assert found.dtype == np.float32
    assert found.shape == (len(tiles), 512)
    assert np.abs(np.linalg.norm(found.astype(np.float64), axis=1) - 1).max() <= 1e-6


def test_no_images_return_no_embeddings(fast: Encoder) -> None:
    assert fast.encode_pixels([]).shape == (0, 512)
    assert list(fast.encode_files([])) == []


def test_each_result_records_size_note_and_hash_of_the_file(fast: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    pages = [Image.new("RGB", (90, 70), (200, 100, 150)), Image.new("RGB", (90, 70))]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    (tile,) = encoded(fast.encode_files([path]))
    assert (tile.width, tile.height) == (90, 70)
    assert tile.note == "first of several pages"
    assert tile.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_images_of_any_size_are_fitted(fast: Encoder, tiles: Pixels) -> None:
    wide = np.tile(tiles[0], (2, 3, 1))
    by_hand = fit_tile(wide, fast.config.preprocessing)
    assert np.array_equal(fast.encode_pixels([wide]), fast.encode_pixels([by_hand]))


def test_results_keep_the_order_of_a_mixed_stream(
    fast: Encoder, tile_files: list[Path], tmp_path: Path, expected: Float32
) -> None:
    paths = list(tile_files)
    for position in (0, 3, 4, 20, len(paths) + 4):
        paths.insert(position, tmp_path / f"none {position}.png")
    results = list(fast.encode_files(paths))
    assert len(results) == len(paths)
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, ImageError):
            assert str(result) == f"{path}: cannot be read (No such file or directory)"
        else:
            assert path in tile_files
            assert cosines(result.embedding[None], expected[tile_files.index(path)][None]) > 0.9999
    assert sum(isinstance(result, ImageError) for result in results) == 5


def test_a_stream_of_bad_files_alone_is_answered(fast: Encoder, tmp_path: Path) -> None:
    results = list(fast.encode_files([tmp_path / str(number) for number in range(30)]))
    assert len(results) == 30
    assert all(isinstance(result, ImageError) for result in results)


def test_embedding_does_not_depend_on_the_batch(
    fast: Encoder, tile_files: list[Path], tmp_path: Path
) -> None:
    alone = [encoded(fast.encode_files([path]))[0].embedding for path in tile_files[:3]]
    batch_files = [tile_files[2], tmp_path / "none", *tile_files[::-1], *tile_files]
    results = dict(zip(batch_files, fast.encode_files(batch_files), strict=True))
    for path, embedding in zip(tile_files[:3], alone, strict=True):
        result = results[path]
        assert isinstance(result, EncodedTile)
        assert np.array_equal(result.embedding, embedding)


def test_paths_are_taken_a_bounded_number_ahead(fast: Encoder, tile_files: list[Path]) -> None:
    taken = 0

    def source() -> Iterator[Path]:
        nonlocal taken
        for _ in range(40):
            for path in tile_files:
                taken += 1
                yield path

    results = fast.encode_files(source())
    assert taken == 0
    next(results)
    cores = usable_cores()
    assert taken <= cores * 3 * 8 + 2 * cores + 8
    results.close()  # type: ignore[attr-defined]


def test_an_abandoned_stream_ends_its_threads_and_processes(
    fast: Encoder, tile_files: list[Path], children: Children
) -> None:
    results = fast.encode_files(tile_files * 10)
    for _ in range(5):
        next(results)
    assert children()
    results.close()  # type: ignore[attr-defined]
    assert children() == []


def test_an_error_of_the_path_source_comes_through(fast: Encoder, tile_files: list[Path]) -> None:
    def failing() -> Iterator[Path]:
        yield from tile_files
        raise LookupError("the source failed")

    with pytest.raises(LookupError, match="the source failed"):
        list(fast.encode_files(failing()))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_unusable_features_name_the_tile(
    make_encoder: MakeEncoder, settled: EncoderFolder, tile_files: list[Path], value: float
) -> None:
    weights = {name: np.zeros_like(array) for name, array in settled.weights.items()}
    weights["layer4.1.bn2.bias"][:] = value
    encoder = Encoder(make_encoder(weights=weights, training="x"), device="reference")
    results = list(encoder.encode_files(tile_files[:2]))
    for path, result in zip(tile_files, results, strict=False):
        assert isinstance(result, ImageError)
        assert str(result) == (
            f"{path}: no usable features (their length is {value}); check the encoder's weights"
        )
    with pytest.raises(ImageError, match=r"^image 1: no usable features"):
        encoder.encode_pixels([np.zeros((64, 64, 3), np.uint8)])


def test_huge_and_tiny_features_still_give_unit_vectors(
    make_encoder: MakeEncoder, settled: EncoderFolder
) -> None:
    for value in (1e30, 1e-30):
        weights = {name: np.zeros_like(array) for name, array in settled.weights.items()}
        weights["layer4.1.bn2.bias"][:2] = (3 * value, 4 * value)
        encoder = Encoder(make_encoder(weights=weights, training="x"), device="reference")
        (embedding,) = encoder.encode_pixels([np.zeros((64, 64, 3), np.uint8)])
        assert embedding[:3] == pytest.approx([0.6, 0.8, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    "image", [np.zeros(4, np.uint8), np.zeros((4, 4, 3), np.int64), np.zeros((0, 4, 3), np.uint8)]
)
def test_arrays_that_are_no_images_are_refused(fast: Encoder, image: Any) -> None:
    with pytest.raises(ImageError, match=r"^image: not an image: .* expected a Pillow image"):
        fast.encode_pixels([image])


def test_the_limits_reach_the_decoder(settled: EncoderFolder, tile_files: list[Path]) -> None:
    encoder = Encoder(settled, device="cpu", limits=DecodeLimits(max_pixels=64 * 64 - 1))
    assert encoder.max_pixels == 64 * 64 - 1
    (result,) = encoder.encode_files(tile_files[:1])
    assert str(result) == (
        f"{tile_files[0]}: too large: 64×64 pixels, the limit is 4,095; "
        "cut it into tiles or raise --max-pixels"
    )


@pytest.mark.parametrize(
    ("device", "precision", "words"),
    [
        ("tpu", "auto", "device tpu, precision auto: expected one of auto, cpu, cuda and one of "),
        ("cpu", "float64", "expected one of auto, cpu, cuda and one of auto, float32, bfloat16"),
        ("cpu", "int8", "expected one of auto, cpu, cuda and one of auto, float32, bfloat16"),
        ("reference", "bfloat16", "the reference computes in float32, not bfloat16; pass another"),
    ],
)
def test_devices_and_precisions_that_cannot_be_had_are_refused(
    settled: EncoderFolder, device: str, precision: str, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        Encoder(settled, device=device, precision=precision)
    assert words in str(caught.value)


def test_a_missing_gpu_is_named_at_once(
    settled: EncoderFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "has_cuda", lambda: False)
    with pytest.raises(InputError, match=r"^no CUDA device here; pass --device cpu"):
        Encoder(settled, device="cuda")


def test_auto_selects_the_fast_precision_of_this_cpu(
    settled: EncoderFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "has_cuda", lambda: False)
    best = "bfloat16" if has_bfloat16() else "float32"
    assert Encoder(settled).runtime.precision == best
    monkeypatch.setattr(openvino, "cpu_capabilities", lambda: ["FP32", "FP16", "INT8"])
    assert Encoder(settled).runtime.precision == "float32"
    with pytest.raises(InputError, match="this CPU has no bfloat16"):
        Encoder(settled, precision="bfloat16").describe()


@pytest.mark.parametrize(("device", "library"), [("cpu", "openvino"), ("reference", "torch")])
def test_description_names_library_device_and_precision(
    settled: EncoderFolder, device: str, library: str
) -> None:
    told = Encoder(settled, device=device, precision="float32").describe()
    assert told["device"] == "cpu"
    assert told["precision"] == "float32"
    assert told["name"].split()[0] == library


def test_card_describes_the_encoder_and_loads_nothing(settled: EncoderFolder) -> None:
    threshold = PublishedThreshold(value=0.7, origin="a test")
    diffused = PublishedThreshold(value=1.2, origin="a third")
    config = replace(
        settled.config,
        threshold=threshold,
        diffused_threshold=diffused,
        mpp=0.25,
    )
    encoder = Encoder(replace(settled, config=config))
    assert encoder.card() == {
        "fingerprint": settled.fingerprint,
        "architecture": "resnet18",
        "embedding_size": 512,
        "is_trained": True,
        "mpp": 0.25,
        "threshold": {"value": 0.7, "origin": "a test"},
        "diffused_threshold": {"value": 1.2, "origin": "a third"},
        "licence": None,
        "declared": None,
    }
    assert (encoder.embedding_size, encoder.folder) == (512, settled.path)
    assert "runtime" not in vars(encoder)
    bare = Encoder(settled).card()
    assert (bare["threshold"], bare["diffused_threshold"]) == (None, None)


def test_encoding_on_the_cpu_loads_no_torch(settled: EncoderFolder, tile_files: list[Path]) -> None:
    script = """
        import sys
        from pathlib import Path
        from histo_index.encoder.encoder import open_encoder
        before = "openvino" in sys.modules
        encoder = open_encoder(Path(sys.argv[1]), device="cpu")
        (tile,) = encoder.encode_files([Path(sys.argv[2])])
        heavy = {"torch", "torchvision", "pyarrow", "faiss"}
        print(tile.embedding.shape, before, "openvino" in sys.modules, heavy & set(sys.modules))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(settled.path), str(tile_files[0])]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == "(512,) False True set()\n"


def test_a_whole_stream_needs_no_more_open_files_than_one_image(
    fast: Encoder, tile_files: list[Path]
) -> None:
    def open_files() -> int:
        return psutil.Process().num_fds() if os.name == "posix" else 0

    list(fast.encode_files(tile_files[:1]))
    before = open_files()
    list(fast.encode_files(tile_files))
    assert open_files() == before
