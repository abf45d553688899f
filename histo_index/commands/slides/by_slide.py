"""`search --by slide`: slides like a slide."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from histo_index.commands.options import require_index
from histo_index.commands.output import fail, print_result, table_text


@dataclass(frozen=True, kw_only=True)
class SlideSearch:
    """A search for slides.

    Attributes:
        index: the index.
        k: number of slides.
        exclude_same: columns whose value must differ.
        private: use private columns.
        as_json: print JSON.
    """

    index: Path | None
    k: int
    exclude_same: list[str]
    private: bool
    as_json: bool


def answer_by_slide(
    by: str | None, slides: list[str], search: SlideSearch, others: Mapping[str, object]
) -> None:
    """Print the slides like each slide and exit; return if tiles are asked for instead.

    Args:
        by: `slide`, or None.
        slides: their `slide_id` or path.
        search: what is asked of them.
        others: options of `search` that are for tiles alone, by their flags.
    """
    from histo_index.api.index import open as open_index
    from histo_index.search.slides.similar import find_similar_slides

    if by is None:
        return
    if by != "slide":
        fail(f"--by {by}: expected slide", 2)
    for flag in (flag for flag, value in others.items() if value):
        fail(f"{flag} is no option of --by slide; leave it out", 2)
    opened = open_index(require_index(search.index), private=search.private).opened
    rows = [
        {"query": slide, **vars(found)}
        for slide in slides
        for found in find_similar_slides(
            opened, slide, k=search.k, exclude_same=search.exclude_same
        )
    ]
    print_result(rows if search.as_json else table_text(rows))
    raise typer.Exit
