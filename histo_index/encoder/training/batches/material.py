"""What a run learns from, and the parts of its batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from histo_index.encoder.training.batches.colours import Colours
from histo_index.encoder.training.distillation.teacher import Teacher
from histo_index.encoder.training.views import Tiles


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a run learns from; all in the order of the tiles.

    Attributes:
        paths: the tiles [N].
        teacher: their features by another network, if any.
        sources: where each comes from [N], to draw sources evenly; None draws tiles evenly.
        colours: of the tiles, where views get those of other tiles.
    """

    paths: Sequence[Path]
    teacher: Teacher | None = None
    sources: Sequence[str] | None = None
    colours: Colours | None = None


class Part(NamedTuple):
    """A part of a batch.

    Attributes:
        views: uint8 RGB [2B, S, S, 3]: the first views, then the second ones.
        tiles: numbers of the tiles [B].
    """

    views: torch.Tensor
    tiles: list[int]


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What is known of the tiles of a run besides their pixels, in the order of their list.

    Attributes:
        teacher: features by another network.
        sources: where each tile comes from, to draw sources evenly.
    """

    teacher: Teacher | None = None
    sources: Sequence[str] | None = None

    def choose(self, tiles: Tiles) -> Material:
        """Choose what belongs to the usable tiles."""
        teacher, sources, rows = self.teacher, self.sources, tiles.rows
        return Material(
            paths=tiles.paths,
            teacher=None if teacher is None else teacher.take(rows),
            sources=None if sources is None else [sources[row] for row in rows],
            colours=tiles.colours,
        )
