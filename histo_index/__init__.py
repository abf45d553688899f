"""Histology tile similarity: are two tiles of one tissue category, and what else looks like one?

This module names the public API. Modules are loaded at the first use of a name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histo_index import slides as slides

    __version__: str
    from histo_index.api.answers.compare import compare as compare
    from histo_index.api.build import build as build
    from histo_index.api.build import compact as compact
    from histo_index.api.build import reindex as reindex
    from histo_index.api.cluster.engine import Engine as Engine
    from histo_index.api.cluster.plan import plan as plan
    from histo_index.api.cluster.search import sharded_search as sharded_search
    from histo_index.api.declared.from_embeddings import from_embeddings as from_embeddings
    from histo_index.api.encoder_table.compare import compare_encoders as compare_encoders
    from histo_index.api.encoders import import_encoder as import_encoder
    from histo_index.api.encoders import open_encoder as open_encoder
    from histo_index.api.features.export import ExportReport as ExportReport
    from histo_index.api.features.export import export as export
    from histo_index.api.features.import_features import import_features as import_features
    from histo_index.api.features.options import FeatureOptions as FeatureOptions
    from histo_index.api.features.options import ImportReport as ImportReport
    from histo_index.api.features.verify import Verification as Verification
    from histo_index.api.features.verify import verify_encoder as verify_encoder
    from histo_index.api.index import Index as Index
    from histo_index.api.index import open as open
    from histo_index.api.train import TrainOptions as TrainOptions
    from histo_index.api.train import train as train
    from histo_index.encoder.importing.options import ImportOptions as ImportOptions
    from histo_index.errors import HistoIndexError as HistoIndexError
    from histo_index.errors import ImageError as ImageError
    from histo_index.errors import IndexFormatError as IndexFormatError
    from histo_index.errors import InputError as InputError
    from histo_index.errors import LockedError as LockedError
    from histo_index.errors import MismatchError as MismatchError
    from histo_index.errors import PartialAnswerError as PartialAnswerError
    from histo_index.errors import ShapeError as ShapeError
    from histo_index.errors import TrainingError as TrainingError
    from histo_index.indexer.build_config import BuildProgress as BuildProgress
    from histo_index.indexer.build_config import BuildReport as BuildReport
    from histo_index.indexer.removal.compact import CompactReport as CompactReport
    from histo_index.indexer.removal.remove import RestoreReport as RestoreReport
    from histo_index.search.answers.neighbour_table import SearchResult as SearchResult
    from histo_index.search.answers.neighbours import Neighbour as Neighbour
    from histo_index.search.answers.pair import PairAnswer as PairAnswer
    from histo_index.search.answers.pair_list import PairScores as PairScores
    from histo_index.search.answers.removal import RemoveReport as RemoveReport
    from histo_index.search.answers.removal import restore as restore
    from histo_index.search.calibration.calibration import Calibration as Calibration
    from histo_index.search.calibration.objectives import Objective as Objective
    from histo_index.search.calibration.threshold import Verdict as Verdict
    from histo_index.search.classification.answer import ClassAnswer as ClassAnswer
    from histo_index.search.classification.table import ClassResult as ClassResult
    from histo_index.search.evaluation.encoder_metrics import EncoderComparison as EncoderComparison
    from histo_index.search.evaluation.result import Evaluation as Evaluation

_HOMES = {
    "BuildProgress": "indexer.build_config",
    "BuildReport": "indexer.build_config",
    "Calibration": "search.calibration.calibration",
    "ClassAnswer": "search.classification.answer",
    "ClassResult": "search.classification.table",
    "CompactReport": "indexer.removal.compact",
    "EncoderComparison": "search.evaluation.encoder_metrics",
    "Engine": "api.cluster.engine",
    "Evaluation": "search.evaluation.result",
    "ExportReport": "api.features.export",
    "FeatureOptions": "api.features.options",
    "HistoIndexError": "errors",
    "ImageError": "errors",
    "ImportOptions": "encoder.importing.options",
    "ImportReport": "api.features.options",
    "Index": "api.index",
    "IndexFormatError": "errors",
    "InputError": "errors",
    "LockedError": "errors",
    "MismatchError": "errors",
    "Neighbour": "search.answers.neighbours",
    "Objective": "search.calibration.objectives",
    "PairAnswer": "search.answers.pair",
    "PairScores": "search.answers.pair_list",
    "PartialAnswerError": "errors",
    "RemoveReport": "search.answers.removal",
    "RestoreReport": "indexer.removal.remove",
    "SearchResult": "search.answers.neighbour_table",
    "ShapeError": "errors",
    "TrainOptions": "api.train",
    "TrainingError": "errors",
    "Verdict": "search.calibration.threshold",
    "Verification": "api.features.verify",
    "build": "api.build",
    "compact": "api.build",
    "compare": "api.answers.compare",
    "compare_encoders": "api.encoder_table.compare",
    "export": "api.features.export",
    "from_embeddings": "api.declared.from_embeddings",
    "import_encoder": "api.encoders",
    "import_features": "api.features.import_features",
    "open": "api.index",
    "open_encoder": "api.encoders",
    "plan": "api.cluster.plan",
    "reindex": "api.build",
    "restore": "search.answers.removal",
    "sharded_search": "api.cluster.search",
    "train": "api.train",
    "verify_encoder": "api.features.verify",
}

__all__ = [
    "BuildProgress",
    "BuildReport",
    "Calibration",
    "ClassAnswer",
    "ClassResult",
    "CompactReport",
    "EncoderComparison",
    "Evaluation",
    "ExportReport",
    "FeatureOptions",
    "HistoIndexError",
    "ImageError",
    "ImportOptions",
    "ImportReport",
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
    "SearchResult",
    "ShapeError",
    "TrainOptions",
    "TrainingError",
    "Verdict",
    "Verification",
    "build",
    "compact",
    "compare",
    "compare_encoders",
    "export",
    "from_embeddings",
    "import_encoder",
    "import_features",
    "open",
    "open_encoder",
    "reindex",
    "restore",
    "train",
    "verify_encoder",
]


if not TYPE_CHECKING:  # type checkers would accept any name

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return import_module("importlib.metadata").version("histo-index")
        if name == "slides":
            return import_module(f"{__name__}.slides")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
