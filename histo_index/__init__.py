"""Tell whether two histology tiles are of one tissue category, and what else looks like one.

Everything a program needs is named here; the modules behind it are loaded when first used, so that
importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histo_index.api import Index as Index
    from histo_index.api import compare as compare
    from histo_index.api import open as open
    from histo_index.building import build as build
    from histo_index.building import compact as compact
    from histo_index.building import reindex as reindex
    from histo_index.errors import HistoIndexError as HistoIndexError
    from histo_index.errors import ImageError as ImageError
    from histo_index.errors import IndexFormatError as IndexFormatError
    from histo_index.errors import InputError as InputError
    from histo_index.errors import LockedError as LockedError
    from histo_index.errors import MismatchError as MismatchError
    from histo_index.errors import ShapeError as ShapeError
    from histo_index.errors import TrainingError as TrainingError
    from histo_index.indexer.build_config import BuildProgress as BuildProgress
    from histo_index.indexer.build_config import BuildReport as BuildReport
    from histo_index.indexer.compact import CompactReport as CompactReport
    from histo_index.indexer.removal import RestoreReport as RestoreReport
    from histo_index.search.answers import PairAnswer as PairAnswer
    from histo_index.search.calibration import Calibration as Calibration
    from histo_index.search.evaluation import Evaluation as Evaluation
    from histo_index.search.neighbours import Neighbour as Neighbour
    from histo_index.search.objectives import Objective as Objective
    from histo_index.search.removing import RemoveReport as RemoveReport
    from histo_index.search.removing import restore as restore
    from histo_index.search.scoring import PairScores as PairScores
    from histo_index.search.verdicts import Verdict as Verdict
    from histo_index.training import TrainOptions as TrainOptions
    from histo_index.training import train as train

_HOMES = {
    "BuildProgress": "indexer.build_config",
    "BuildReport": "indexer.build_config",
    "Calibration": "search.calibration",
    "CompactReport": "indexer.compact",
    "Evaluation": "search.evaluation",
    "HistoIndexError": "errors",
    "ImageError": "errors",
    "Index": "api",
    "IndexFormatError": "errors",
    "InputError": "errors",
    "LockedError": "errors",
    "MismatchError": "errors",
    "Neighbour": "search.neighbours",
    "Objective": "search.objectives",
    "PairAnswer": "search.answers",
    "PairScores": "search.scoring",
    "RemoveReport": "search.removing",
    "RestoreReport": "indexer.removal",
    "ShapeError": "errors",
    "TrainOptions": "training",
    "TrainingError": "errors",
    "Verdict": "search.verdicts",
    "build": "building",
    "compact": "building",
    "compare": "api",
    "open": "api",
    "reindex": "building",
    "restore": "search.removing",
    "train": "training",
}

__all__ = [
    "BuildProgress",
    "BuildReport",
    "Calibration",
    "CompactReport",
    "Evaluation",
    "HistoIndexError",
    "ImageError",
    "Index",
    "IndexFormatError",
    "InputError",
    "LockedError",
    "MismatchError",
    "Neighbour",
    "Objective",
    "PairAnswer",
    "PairScores",
    "RemoveReport",
    "RestoreReport",
    "ShapeError",
    "TrainOptions",
    "TrainingError",
    "Verdict",
    "build",
    "compact",
    "compare",
    "open",
    "reindex",
    "restore",
    "train",
]


if not TYPE_CHECKING:  # a type checker must not think that every name is there

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
