"""What a run learns from, and the parts of its batches."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from histo_index.encoder.training.batches.colours import Colours, Crossing
from histo_index.encoder.training.batches.neighbours import Neighbours, Place, find_touching
from histo_index.encoder.training.batches.order import Draws
from histo_index.encoder.training.config import TrainConfig
from histo_index.encoder.training.distillation.teacher import Teacher
from histo_index.encoder.training.views import Tiles, Views
from histo_index.wording import counted

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a run learns from; all in the order of the tiles.

    Attributes:
        paths: the tiles [N].
        teacher: their features by another network, if any.
        sources: where each comes from [N], to draw sources evenly; None draws tiles evenly.
        colours: of the tiles, where views get those of other tiles.
        touching: of each tile those that touch it on its slide [N]; None where no place is known.
    """

    paths: Sequence[Path]
    teacher: Teacher | None = None
    sources: Sequence[str] | None = None
    colours: Colours | None = None
    touching: Sequence[Sequence[int]] | None = None

    def make_views(self, config: TrainConfig, draws: Draws) -> Views:
        """Make the views of a run.

        Args:
            config: the settings of the run.
            draws: how often each tile is drawn.
        """
        recipe, crossing, neighbours = config.recipe, None, None
        if self.colours is not None:
            crossing = Crossing(colours=self.colours, draws=draws, share=recipe.crossing)
        if self.touching is not None and recipe.neighbours:
            neighbours = Neighbours(
                touching=self.touching, share=recipe.neighbours, seed=config.seed
            )
        return Views(
            self.paths, recipe.views(), seed=config.seed, crossing=crossing, neighbours=neighbours
        )


class Part(NamedTuple):
    """A part of a batch.

    Attributes:
        views: uint8 RGB [2B, S, S, 3]: the first views, then the second ones.
        tiles: number of the tile of each view [2B].
    """

    views: torch.Tensor
    tiles: list[int]


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What is known of the tiles of a run besides their pixels, in the order of their list.

    Attributes:
        teacher: features by another network.
        sources: where each tile comes from, to draw sources evenly.
        places: where each tile lies on its slide; None for a tile whose place is unknown.
    """

    teacher: Teacher | None = None
    sources: Sequence[str] | None = None
    places: Sequence[Place | None] = ()

    def choose(self, tiles: Tiles) -> Material:
        """Choose what belongs to the usable tiles."""
        teacher, sources, rows = self.teacher, self.sources, tiles.rows
        return Material(
            paths=tiles.paths,
            teacher=None if teacher is None else teacher.take(rows),
            sources=None if sources is None else [sources[row] for row in rows],
            colours=tiles.colours,
            touching=self._find_touching(rows),
        )

    def _find_touching(self, rows: Sequence[int]) -> Sequence[Sequence[int]] | None:
        """Find which usable tiles touch; None if none do."""
        if not any(self.places):
            return None
        touching = find_touching([self.places[row] for row in rows])
        count = sum(map(bool, touching))
        _log.info("%s of %s touch another of their slide", f"{count:,}", counted(len(rows), "tile"))
        return touching if count else None
