"""Bundle a trained encoder: half the size, with threshold and provenance.

    python benchmarks/bundle_encoder.py ENCODER_DIR
    python benchmarks/bundle_encoder.py --second FILE
    python benchmarks/bundle_encoder.py --thresholds

Convolutions are kept in float16. The thresholds, one for each distance, are the best cuts
of the held-out groups of the training tiles (`training_split.py`), measured with the encoder
as it ships, by the runtime that users get. With
`--second` an encoder gets the second network that `teach_second.py` wrote. With `--thresholds` the
encoder that ships gets new ones
and stays as it is.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import training_split
from safetensors.numpy import load_file

from histo_index.encoder.config import SECOND, EncoderConfig, PublishedThreshold
from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import (
    BUNDLED,
    EncoderFolder,
    load_encoder,
    used_weights,
    write_encoder,
)
from histo_index.encoder.weights_file import Weights
from histo_index.search.evaluation.training_monitor import MonitorThresholds, PairMetrics

# As its README says of ../shared/data; what the weights were learnt from.
DATA: Final = {
    "tiles": "16 public sources of H&E tiles, one in eight groups of LC25000 and EBHI held out; "
    "see docs/encoder.md",
    "licence": "by source, see docs/encoder.md",
    "credit": "by source, see docs/encoder.md",
}
_SECOND: Final = "feature maps of EfficientNet-Lite0 (ImageNet), stage 3, on the same tiles"
_ORIGIN: Final = (
    "most right verdicts on pairs across held-out groups of LC25000 and EBHI, within each source, "
    "as many same as different"
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("encoder", type=Path, nargs="?", default=BUNDLED)
    options.add_argument("--thresholds", action="store_true", help="choose those, and no more")
    options.add_argument("--second", type=Path, help="weights of a second network")
    options.add_argument("--start", help="what the run began with, for the model card")
    options.add_argument(
        "--pooling", help="instead of the stored one, where it has the stages for it"
    )
    options.add_argument("--output", type=Path, default=BUNDLED)
    given = options.parse_args()
    if given.thresholds:
        publish_thresholds(given.encoder)
    else:
        bundle(given)


def bundle(given: argparse.Namespace) -> None:
    trained = load_encoder(given.encoder)
    pooling = SECOND if given.second else given.pooling or trained.config.pooling
    weights = halve(used_weights(trained.weights, pooling))
    training: dict[str, Any] = dict(trained.config.training)
    if given.second:
        weights |= halve(load_file(given.second))
        training["second"] = _SECOND
    # One that was bundled before says both.
    seen = training["data"].get("seen", training["data"]["tiles"])
    training["data"] = {**DATA, "seen": seen}
    training["start"] = given.start or training["start"]
    config = replace(trained.config, training=training, pooling=pooling)
    with tempfile.TemporaryDirectory() as scratch:
        write_encoder(Path(scratch), config, weights)
        figures, thresholds = measure(load_encoder(Path(scratch)))
    write_encoder(given.output, with_thresholds(config, figures, thresholds), weights)
    size = sum(path.stat().st_size for path in given.output.glob("*")) / 1e6
    print(f"{given.output}: {config.architecture}, {size:.1f} MB; on held-out groups {figures}")


def publish_thresholds(folder: Path) -> None:
    encoder = load_encoder(folder)
    figures, thresholds = measure(encoder)
    config = with_thresholds(encoder.config, figures, thresholds)
    found = write_encoder(folder, config, halve(encoder.weights))
    assert found == encoder.fingerprint, "an encoder that was not made here"
    print(f"{folder}: on held-out groups {figures}")


def with_thresholds(
    config: EncoderConfig, figures: Mapping[str, float], thresholds: MonitorThresholds
) -> EncoderConfig:
    published: dict[str, Any] = {
        name: PublishedThreshold(value=round(value, 4), origin=_ORIGIN)
        for name, value in asdict(thresholds).items()
    }
    held_out = {name: round(value, 4) for name, value in figures.items()}
    training = {**config.training, "held_out": held_out}
    return replace(config, **published, training=training)


def halve(weights: Weights) -> Weights:
    """Keep kernels in float16; scales and statistics, which are few, stay as they are."""
    return {
        name: array.astype(np.float16) if array.ndim > 1 else array
        for name, array in weights.items()
    }


def measure(encoder: EncoderFolder) -> tuple[Mapping[str, float], MonitorThresholds]:
    """Compute metrics and thresholds of an encoder on pairs of the held-out groups."""
    _, rows = training_split.split()
    tiles = [read_tile(training_split.DATA / row["path"], DecodeLimits()).pixels for row in rows]
    numbers = {row["path"]: number for number, row in enumerate(rows)}
    pairs = training_split.draw_pairs(rows)
    left, right = (
        np.array([numbers[pair[side]] for pair in pairs]) for side in ("image_a", "image_b")
    )
    by_pair = PairMetrics(left, right, np.array([pair["label"] == "1" for pair in pairs]))
    metrics, thresholds = by_pair(Encoder(encoder).encode_pixels(tiles))
    return {**metrics.figures(), **thresholds.figures()}, thresholds


if __name__ == "__main__":
    main()
