"""What has learnt nothing: colours as counted by hand, and the architecture with random weights."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo_index.encoder.baselines import baseline_vectors, colour_histogram
from histo_index.encoder.create import init_encoder
from histo_index.encoder.encoder import open_encoder
from histo_index.errors import ImageError
from histo_index.indexer.hashing.files import hash_file


def test_colours_are_counted_in_512_boxes_and_rooted() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 0] = (255, 0, 32)  # box 7, 0, 1
    pixels[0, 1] = (31, 31, 31)  # box 0, 0, 0 with the two black ones
    found = colour_histogram(pixels)
    assert {bin: float(found[bin]) for bin in np.flatnonzero(found)} == pytest.approx(
        {0: np.sqrt(3 / 4), 7 * 64 + 1: np.sqrt(1 / 4)}
    )


def test_baselines_read_files_in_order(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    init_encoder(encoder, arch="resnet18", seed=0)
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    images = [generator.integers(0, 256, (224, 224, 3), dtype=np.uint8) for _ in paths]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    colours, randoms, digests = baseline_vectors(encoder, paths, device="cpu")
    assert digests == [hash_file(path) for path in paths]
    assert colours == pytest.approx(np.stack([colour_histogram(image) for image in images]))
    # The encoder in the folder is untrained with the very seed that the baseline takes.
    expected = open_encoder(encoder, device="cpu").encode_pixels(images)
    assert randoms == pytest.approx(expected, abs=1e-5)


def test_a_tile_that_is_gone_is_named(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    init_encoder(encoder, arch="resnet18", seed=0)
    with pytest.raises(ImageError, match=r"gone\.png: cannot be read"):
        baseline_vectors(encoder, [tmp_path / "gone.png"], device="cpu")
