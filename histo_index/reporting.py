"""Write an answer of an index as one HTML page: find the tiles, hand over to `report/`.

`Index.report` calls this.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from histo_index.encoder.folder import load_encoder
from histo_index.indexer.atomic import publish_bytes
from histo_index.report.evaluation_page import evaluation_page
from histo_index.report.pictures import Pictures
from histo_index.report.question_page import Asked, pair_page, search_page
from histo_index.search.answers import PairAnswer
from histo_index.search.evaluation import Evaluation
from histo_index.search.neighbours import Neighbour

if TYPE_CHECKING:
    from histo_index.api import ImageLike, Index

# Neighbours of each tile of a pair: a line of the page.
_NEAR: Final = 9

Answer = Evaluation | PairAnswer | Sequence[Sequence[Neighbour]]


def write_report(
    index: "Index",
    answer: Answer,
    output: Path,
    *,
    images: "Sequence[ImageLike]",
    tiles: str | Path | None,
    names: bool,
) -> None:
    """Write an answer as one HTML page with pictures, which opens anywhere without a network.

    Args:
        index: what answered.
        answer: what `evaluate`, `pair` or `search` gave.
        output: the HTML file.
        images: what `pair` or `search` was asked about.
        tiles: where the tiles lie now; None is where they lay relative to the index.
        names: whether the page names tiles and groups; else it only shows them.

    Raises:
        IndexFormatError: a part of the index that is needed is damaged.
        OSError: the disk is full or not writable.
    """
    root = index.opened.folder / index.manifest.settings["root"]
    folder = Path(tiles) if tiles else root.resolve()
    pictures = Pictures(folder)
    if isinstance(answer, Evaluation):
        training = load_encoder(index.opened.folder / "encoder").config.training
        page = evaluation_page(index.opened, answer, pictures, training=training, names=names)
    elif isinstance(answer, PairAnswer):
        asked = _asked(index, images, index.search(images, k=_NEAR), folder)
        known = index.threshold(is_decisive=False).calibration
        page = pair_page(index.opened, answer, asked, known, pictures, names=names)
    else:
        asked = _asked(index, images, answer, folder)
        shown = index.threshold(is_decisive=False)
        page = search_page(index.opened, asked, shown, pictures, names=names)
    publish_bytes(output, page.encode())


def _asked(
    index: "Index",
    images: "Sequence[ImageLike]",
    found: Sequence[Sequence[Neighbour]],
    folder: Path,
) -> list[Asked]:
    # The images' files lie relative to here, the neighbours' relative to the folder.
    files = [index.file_of(image, folder) for image in images]
    return [
        Asked(
            name=str(image) if isinstance(image, str | Path) else "image",
            file=file.absolute() if file else None,
            neighbours=neighbours,
        )
        for image, file, neighbours in zip(images, files, found, strict=True)
    ]
