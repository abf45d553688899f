"""Write an answer of an index as one HTML page."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from histo_index.encoder.folder import read_config
from histo_index.files import publish_bytes
from histo_index.indexer.reader import OpenIndex
from histo_index.report.evaluation_page import evaluation_page
from histo_index.report.pictures import Pictures
from histo_index.report.query_page import Query, pair_page, search_page
from histo_index.search.answers.neighbours import Neighbour
from histo_index.search.answers.pair import PairAnswer
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.evaluation.result import Evaluation

# Neighbours of each tile of a pair: two rows of the page.
NEIGHBOURS_OF_PAIR: Final = 10

Answer = Evaluation | PairAnswer | Sequence[Sequence[Neighbour]]


def write_report(
    index: OpenIndex,
    answer: Answer,
    output: Path,
    *,
    queries: Sequence[Query],
    threshold: Threshold,
    folder: Path,
    is_current: Callable[[Path], bool],
    names: bool,
) -> None:
    """Write an answer as one self-contained HTML page.

    Args:
        index: the index that answered.
        answer: result of `evaluate`, `pair` or `search`.
        output: the HTML file.
        queries: the images of `pair` or `search`, with neighbours; empty for an evaluation.
        threshold: decides the verdicts of neighbours.
        folder: folder of the tile files.
        is_current: whether a file still has the content that was indexed.
        names: whether the page names tiles and groups.

    Raises:
        IndexFormatError: a part of the index that is needed is damaged.
        OSError: the disk is full or not writable.
    """
    pictures = Pictures(folder, is_current)
    if isinstance(answer, Evaluation):
        training: Mapping[str, Any] = {}
        if index.manifest.encoder.declared is None:
            training = read_config(index.folder / "encoder")[0].training
        page = evaluation_page(index, answer, pictures, training=training, names=names)
    elif isinstance(answer, PairAnswer):
        page = pair_page(index, answer, queries, threshold.calibration, pictures, names=names)
    else:
        page = search_page(index, queries, threshold, pictures, names=names)
    publish_bytes(output, page.encode())
