"""Compare poolings by stage: the mean of the features, and the sketch of their covariances.

    python training_split.py --without lc25000
    histo-index train ../shared/data --manifest learn.csv -o without --epochs 8
    python pooling.py without

Judged on tiles of a source that this encoder has not seen, and, with the encoder that
ships, on held-out groups of the sources it has seen. Training tiles only, never `eval/`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import measuring
import numpy as np
import torch
import training_split

from histo_index.arrays import Float32
from histo_index.encoder.config import COVARIANCE, MEAN, POOLED_STAGES, POOLINGS
from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.decode.preprocessing import fit_tile
from histo_index.encoder.folder import bundled_encoder, load_encoder
from histo_index.encoder.runtime.openvino import has_bfloat16
from histo_index.encoder.runtime.reference import CovarianceSketch, Trunk, load_trunk
from histo_index.search.evaluation.training_monitor import TileMetrics

_STAGES: Final = POOLED_STAGES[COVARIANCE]
_SHOWN: Final = tuple(
    (kind, stages) for kind in POOLINGS for stages in ((3,), (2,), (1,), (2, 3), (1, 2, 3))
)
_BATCH: Final = 32
# Of the left-out source, so that a run takes a minute.
_EVERY: Final = 3


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("encoder", type=Path, help="trained without the source")
    options.add_argument("--source", default="lc25000", help="the one that was left out")
    given = options.parse_args()
    torch.set_num_threads(1)
    learn, choose = training_split.split()
    unseen = [row for row in learn if row["group"].startswith(f"{given.source}:")][::_EVERY]
    found = {
        f"{given.source}, unseen": judge(given.encoder, unseen),
        "held-out groups, shipped encoder": judge(bundled_encoder(), choose),
    }
    measuring.print_machine()
    print("Pair ROC-AUC across groups, diffused, plain / nearest neighbour right, plain.\n")
    names = next(iter(found.values()))
    measuring.print_table(
        ("pooled", "numbers", *found),
        [(name, names[name][0], *(one[name][1] for one in found.values())) for name in names],
    )


def judge(folder: Path, rows: Sequence[training_split.Row]) -> dict[str, tuple[str, str]]:
    """Give the embedding's size and the figures, by how it is pooled."""
    measuring.tell(f"{folder}: {len(rows)} tiles")
    by_class = TileMetrics([row["label"] for row in rows], [row["group"] for row in rows])
    result = {}
    for name, embeddings in _poolings(_features(folder, rows)).items():
        metrics, _ = by_class(_unit(embeddings))
        result[name] = (
            str(embeddings.shape[1]),
            f"{metrics.diffused_pair_auc:.3f}, {metrics.pair_auc:.3f} / "
            f"{metrics.neighbour_accuracy:.3f}",
        )
    return result


def _poolings(features: Mapping[tuple[str, int], Float32]) -> dict[str, Float32]:
    return {
        f"{kind} of stage{'s' * (len(stages) > 1)} {', '.join(map(str, stages))}": np.concatenate(
            [_unit(features[kind, stage]) for stage in stages], axis=1
        )
        for kind, stages in _SHOWN
    }


def _features(folder: Path, rows: Sequence[training_split.Row]) -> dict[tuple[str, int], Float32]:
    """Pool the first three stages in every way: float32 [N, numbers] by the two."""
    encoder = load_encoder(folder)
    trunk, taken = load_trunk(encoder), dict[tuple[str, int], list[torch.Tensor]]()
    _listen(trunk, taken)
    tiles = [
        fit_tile(
            read_tile(training_split.DATA / row["path"], DecodeLimits()).pixels,
            encoder.config.preprocessing,
        )
        for row in rows
    ]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
        for start in range(0, len(tiles), _BATCH):
            trunk(torch.from_numpy(np.stack(tiles[start : start + _BATCH])))
    return {name: torch.cat(parts).numpy() for name, parts in taken.items()}


def _listen(trunk: Trunk, taken: dict[tuple[str, int], list[torch.Tensor]]) -> None:
    for stage in _STAGES:

        def keep(_module: object, _given: object, maps: torch.Tensor, stage: int = stage) -> None:
            mean = maps.float().mean(dim=(2, 3), keepdim=True)
            away = maps.float() - mean
            for kind, pooled in (
                (MEAN, mean.flatten(1)),
                (COVARIANCE, CovarianceSketch(maps.shape[1])(away)),
            ):
                taken.setdefault((kind, stage), []).append(pooled)

        trunk.network.get_submodule(f"layer{stage}").register_forward_hook(keep)


def _unit(vectors: Float32) -> Float32:
    scaled: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


if __name__ == "__main__":
    main()
