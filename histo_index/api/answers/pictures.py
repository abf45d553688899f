"""Draw montages and write reports about answers of an index. `Index.draw` and `.report` call this.

Queries' files are relative to the working directory, those of neighbours to the tiles' folder.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histo_index.api.answers.current_files import CurrentFiles
from histo_index.api.images import ImageLike, Images, display_name
from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.threshold import Threshold

if TYPE_CHECKING:
    from histo_index.report.write import Answer
    from histo_index.search.answers.neighbours import Neighbour


def tiles_folder(index: OpenIndex, given: str | Path | None) -> Path:
    """Return the folder of the tile files: the given one, else where they were indexed."""
    return Path(given) if given else index.manifest.tiles_root(index.folder)


def draw(
    images: Images,
    queries: Sequence[ImageLike],
    found: "Sequence[Sequence[Neighbour]]",
    output: Path,
    folder: Path,
    *,
    heading: str = "query",
) -> None:
    """Draw queries and their neighbours as PNG pages: `out.png`, `out-2.png` and so on.

    Args:
        images: finds the files of queries.
        queries: the queries of a search.
        found: its result.
        output: the PNG file of the first page.
        folder: of the tile files.
        heading: what the captions call a query.
    """
    from histo_index.files import publishing
    from histo_index.report.montage import draw_pages

    files = [(display_name(image), images.find_file(image, folder)) for image in queries]
    is_current = CurrentFiles(images.opened, folder).is_current
    pages = draw_pages(files, found, folder, is_current=is_current, heading=heading)
    for number, page in enumerate(pages, start=1):
        path = output if number == 1 else output.with_stem(f"{output.stem}-{number}")
        with publishing(path) as temporary:
            page.save(temporary, format="PNG")


def report(
    images: Images,
    answer: "Answer",
    queries: "Sequence[tuple[ImageLike, Sequence[Neighbour]]]",
    output: Path,
    *,
    threshold: Threshold,
    folder: Path,
    names: bool,
) -> None:
    """Write an answer as one HTML page; see `report.write.write_report`.

    Args:
        images: finds the files of queries.
        answer: result of `evaluate`, `pair` or `search`.
        queries: the images of a pair or a search, with their neighbours.
        output: the HTML file.
        threshold: decides the verdicts of neighbours.
        folder: of the tile files.
        names: whether the page names tiles and groups.
    """
    from histo_index.report.query_page import Query
    from histo_index.report.write import write_report

    shown = []
    for image, neighbours in queries:
        file = images.find_file(image, folder)
        path = file and file.absolute()
        shown.append(Query(name=display_name(image), file=path, neighbours=neighbours))
    write_report(
        images.opened, answer, output, queries=shown, threshold=threshold, folder=folder,
        is_current=CurrentFiles(images.opened, folder).is_current, names=names,
    )  # fmt: skip
