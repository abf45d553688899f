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
Divide = Callable[["Index"], "ShardedSearch"]


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
        allow_partial: answer from the parts that are there, with a warning, instead of refusing;
            only searches in a block `with search.counting() as count`: then `count.answered` of
            `count.parts` took part.

    Yields:
        The search.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be used.
        PartialAnswerError: in a search: a part did not answer.
    """
    with dividing("ray", address, parts, allow_partial=allow_partial) as divide:
        assert divide is not None
        try:
            yield divide(index)
        finally:
            index.opened.search_by(None)


@contextmanager
def dividing(
    engine: str | None,
    address: str | None,
    parts: int | None,
    *,
    allow_partial: bool,
    longest_s: float | None = None,
) -> Iterator[Divide | None]:
    """Connect to a cluster, to search indexes in parts; see `sharded_search`.

    Args:
        engine: `ray`, or None to search here.
        address: HOST:PORT of a Ray cluster.
        parts: into how many parts an index is divided.
        allow_partial: answer from the parts that are there.
        longest_s: how long a part may take to answer; default: two minutes.

    Yields:
        What divides an open index, whose searches are then answered by the parts; None without an
        engine. The parts end with the index, or with the block.

    Raises:
        InputError: the options do not go together, or the cluster cannot be used.
    """
    if engine is None:
        if address or parts or allow_partial:
            raise InputError("--address, --parts and --allow-partial go with --engine ray")
        yield None
        return
    if engine != "ray":
        raise InputError(f"--engine {engine}: expected ray")
    from histo_index.cluster.ray_session import ray_session
    from histo_index.cluster.searching.ray_search import ShardedSearch

    options: dict[str, Any] = {} if longest_s is None else {"longest_s": longest_s}
    with ray_session(address, cpus=parts) as ray:

        def divide(index: "Index") -> ShardedSearch:
            opened = index.opened
            search = ShardedSearch(
                ray,
                Path(os.path.abspath(opened.folder)),
                opened.manifest.generation,
                rows=len(opened),
                parts=parts or max(int(ray.cluster_resources().get("CPU", 1)), 1),
                allow_partial=allow_partial,
                **options,
            )
            opened.search_by(search)
            return search

        yield divide


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
    """Open an index, to be searched in parts if an engine is named; see `dividing`.

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

    index = open_index(folder, **options)
    with dividing(engine, address, parts, allow_partial=allow_partial) as divide:
        if divide is None:
            yield index, list
            return
        with divide(index).counting() as count:
            yield index, lambda rows: label_rows(rows, count.label)
        index.opened.search_by(None)


def label_rows(rows: Sequence[dict[str, Any]], label: str | None) -> list[dict[str, Any]]:
    """Mark rows of an answer that not every part took part in."""
    return list(rows) if label is None else [{**row, "parts": label} for row in rows]
