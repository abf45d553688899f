"""Search an index in parts, over the machines of a Ray cluster."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histo_index.errors import InputError

if TYPE_CHECKING:
    from histo_index.api.index import Index
    from histo_index.cluster.searching.ray_search import ShardedSearch

Label = Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]]


@contextmanager
def sharded_search(
    index: "Index",
    *,
    parts: int | None = None,
    address: str | None = None,
    allow_partial: bool = False,
) -> "Iterator[ShardedSearch]":
    """Let the searches inside the block be answered by several processes or machines.

    Each holds a part of the vectors and compares exactly; the answers are those of one exact
    search. Pictures and labels are read here.

    Args:
        index: an open index, in a folder that every machine sees under the same path.
        parts: into how many parts it is divided; default: one a core of the cluster.
        address: HOST:PORT of a Ray cluster; default: one on this machine for the block.
        allow_partial: answer from the parts that are there, with a warning, instead of refusing.

    Yields:
        The search; `answered` of its `parts` took part in the last answer.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be used.
        PartialAnswerError: in a search: a part did not answer.
    """
    from histo_index.cluster.ray_session import ray_session
    from histo_index.cluster.searching.ray_search import ShardedSearch

    opened = index.opened
    with ray_session(address, cpus=parts) as ray:
        search = ShardedSearch(
            ray,
            Path(os.path.abspath(opened.folder)),
            opened.manifest.generation,
            rows=len(opened),
            parts=parts or max(int(ray.cluster_resources().get("CPU", 1)), 1),
            allow_partial=allow_partial,
        )
        opened.search_by(search)
        try:
            yield search
        finally:
            opened.search_by(None)


@contextmanager
def opened_for_search(
    folder: Path,
    engine: str | None,
    address: str | None,
    parts: int | None,
    *,
    allow_partial: bool,
    **options: Any,
) -> "Iterator[tuple[Index, Label]]":
    """Open an index, to be searched in parts if an engine is named; see `sharded_search`.

    Args:
        folder: the index.
        engine: `ray`, or None to search it here.
        address: HOST:PORT of a Ray cluster.
        parts: into how many parts it is divided.
        allow_partial: answer from the parts that are there.
        options: of `histo_index.open`.

    Yields:
        The index, and what marks the rows of a partial answer: column `parts`, such as `3 of 4`.

    Raises:
        InputError: the options do not go together.
    """
    from histo_index.api.index import open as open_index

    if engine is None:
        if address or parts or allow_partial:
            raise InputError("--address, --parts and --allow-partial go with --engine ray")
        yield open_index(folder, **options), list
        return
    if engine != "ray":
        raise InputError(f"--engine {engine}: expected ray")
    index = open_index(folder, **options)
    with sharded_search(index, parts=parts, address=address, allow_partial=allow_partial) as search:
        yield index, lambda rows: label_rows(rows, search.answered, search.parts)


def label_rows(rows: Sequence[dict[str, Any]], answered: int, parts: int) -> list[dict[str, Any]]:
    """Mark rows of an answer that not every part took part in."""
    if answered == parts:
        return list(rows)
    return [{**row, "parts": f"{answered} of {parts}"} for row in rows]
