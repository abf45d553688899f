"""An untrained encoder with small input: an image costs a fiftieth of one of 224 × 224."""

from pathlib import Path

from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.folder import save_encoder
from histo_index.encoder.runtime.untrained import random_weights

SIDE_PX = 32


def write_small_encoder(folder: Path, *, seed: int = 0, side_px: int = SIDE_PX) -> Path:
    """Write an untrained resnet18 that takes images of this side; return its folder."""
    config = EncoderConfig(
        architecture="resnet18",
        preprocessing=Preprocessing(resize_px=side_px, crop_px=side_px),
        training={"method": "none", "seed": seed},
    )
    save_encoder(folder, config, random_weights("resnet18", seed=seed))
    return folder
