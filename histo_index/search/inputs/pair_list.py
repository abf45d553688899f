"""Read lists of image pairs: CSV, TSV, Parquet, or CSV on standard input.

* without a header: rows `a.png,b.png[,label]`,
* header `image_a,image_b[,label]`, in any order, other columns ignored,
* form of the reference method: rows `idA_idB[,label]`, header `query[,prediction]` or none.

There is no other header: any other first row is read as a pair. A row that cannot be used keeps its
row number and gets a problem; only a file that is no list of pairs raises an error.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, TypeGuard

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.errors import InputError
from histo_index.search.inputs.pair_table import brief, columns_of_table, read_columns
from histo_index.wording import counted, printable

# Whether an index or a folder has each name.
IsKnown = Callable[[Sequence[str]], Sequence[bool]]

_LABELS: Final = {
    **dict.fromkeys(("1", "1.0", "same", "true"), 1),
    **dict.fromkeys(("0", "0.0", "different", "false"), 0),
}
# Beyond it a query has too many ways to be split to try them all; ids have a few underscores.
_MOST_UNDERSCORES: Final = 64


@dataclass(frozen=True, kw_only=True)
class PairList:
    """Pairs of image names, in the order given.

    Attributes:
        image_a: first name of each pair, string [P]; empty where a problem says why.
        image_b: second name, string [P].
        labels: int8 [P], 1 same, 0 different, null unknown; None if the list has no labels.
        queries: string [P], the row as the reference method writes it; None in other forms.
        problems: row number (from 0) to what is wrong with it.
    """

    image_a: pa.Array
    image_b: pa.Array
    labels: pa.Array | None = None
    queries: pa.Array | None = None
    problems: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image_a)


class Table(Protocol):
    """A pandas or Polars DataFrame, as far as it is used; an Arrow table will do too."""

    @property
    def columns(self) -> Any: ...


# A file, `-` for standard input, a table with named columns, or rows of two images and a label.
PairsLike: TypeAlias = "str | Path | PairList | Table | Iterable[Sequence[Any]]"


def is_rows(pairs: PairsLike) -> TypeGuard[Iterable[Sequence[Any]]]:
    """Return whether pairs are rows, and neither a file nor a table."""
    return not (isinstance(pairs, str | Path | PairList) or hasattr(pairs, "columns"))


def read_pairs(pairs: PairsLike, known: Sequence[IsKnown] = ()) -> PairList:
    """Read pairs of any form but rows of images in memory.

    Args:
        pairs: a file; `-` for standard input; a table with the columns of a pair-list file; rows
            of two names and maybe a label.
        known: see `read_pair_list`.

    Raises:
        InputError: it is missing, unreadable, empty, or no list of pairs.
    """
    if isinstance(pairs, PairList):
        return pairs
    if is_rows(pairs):
        return list_pairs([[*row] for row in pairs])
    if isinstance(pairs, str | Path):
        return read_pair_list(None if str(pairs) == "-" else Path(pairs), known)
    return _pair_list(columns_of_table(pairs), {}, known, is_headed=True)


def read_pair_list(source: Path | None, known: Sequence[IsKnown] = ()) -> PairList:
    """Read a pair list.

    Args:
        source: a file, read as Parquet or TSV if its suffix says so and else as CSV; None is CSV
            from standard input.
        known: decide where to split an `idA_idB` whose ids contain underscores: used one after
            the other until both halves of exactly one split are known.

    Raises:
        InputError: it is missing, unreadable, not UTF-8, empty, or no list of pairs.
    """
    columns, problems, is_headed = read_columns(source, str(source or "standard input"))
    return _pair_list(columns, problems, known, is_headed=is_headed)


def _pair_list(
    columns: Mapping[str, pa.ChunkedArray],
    problems: dict[int, str],
    known: Sequence[IsKnown],
    *,
    is_headed: bool,
) -> PairList:
    if {"image_a", "image_b"} <= columns.keys():
        halves = _trimmed(columns["image_a"]), _trimmed(columns["image_b"])
        label, queries = columns.get("label"), None
    else:
        queries = _trimmed(columns["query"])
        halves = _split_queries(queries, known, problems)
        label = columns.get("prediction", columns.get("label"))
    texts = None if label is None else _trimmed(label)
    if texts is not None and not is_headed:
        _note_header(texts[0].as_py(), problems)
    labels = None if texts is None else _read_labels(texts, problems)
    _note_missing(halves, problems)
    return PairList(
        image_a=halves[0], image_b=halves[1], labels=labels, queries=queries, problems=problems
    )


def list_pairs(rows: Sequence[Sequence[Any]]) -> PairList:
    """Make a pair list of rows `(image_a, image_b[, label])` of names and 1, 0 or None.

    Raises:
        InputError: a row has another number of entries.
    """
    odd = [number for number, row in enumerate(rows) if not 2 <= len(row) <= 3]
    if odd:
        raise InputError(
            f"pair {odd[0]} has {counted(len(rows[odd[0]]), 'value')}; "
            "expected two images and maybe a label"
        )
    texts = [["" if entry is None else str(entry) for entry in row] for row in rows]
    problems: dict[int, str] = {}
    halves = [pa.array([row[side] for row in texts], pa.string()) for side in (0, 1)]
    labels = pa.array([row[2] if len(row) == 3 else "" for row in texts], pa.string())
    _note_missing((halves[0], halves[1]), problems)
    return PairList(
        image_a=halves[0],
        image_b=halves[1],
        labels=_read_labels(labels, problems) if any(len(row) == 3 for row in rows) else None,
        problems=problems,
    )


def _note_header(label: str, problems: dict[int, str]) -> None:
    """Mark the first row as an unknown header if its third column is no label."""
    if label.lower() not in ("", *_LABELS):
        problems.setdefault(
            0,
            f"unknown header, or label {_quoted(label)} that is neither 0 nor 1; "
            "a header is `image_a,image_b[,label]` or `query[,prediction]`",
        )


def _split_queries(
    queries: pa.Array, known: Sequence[IsKnown], problems: dict[int, str]
) -> tuple[pa.Array, pa.Array]:
    """Split `idA_idB`; where ids hold underscores themselves, where both halves are known."""
    options = [_splits(text) for text in queries.to_pylist()]
    for is_known in known:
        doubtful = [splits for splits in options if len(splits) > 1]
        names = sorted({half for splits in doubtful for split in splits for half in split})
        found = {name for name, is_there in zip(names, is_known(names), strict=True) if is_there}
        for row, splits in enumerate(options):
            fitting = [split for split in splits if set(split) <= found]
            if len(splits) > 1 and fitting:
                options[row] = fitting
    halves: list[tuple[str, str]] = []
    for row, splits in enumerate(options):
        if len(splits) != 1:
            query = queries[row].as_py()
            why = "does not split into two known ids in just one way"
            problems.setdefault(row, f"{brief(query)!r} {why}")
        halves.append(splits[0] if len(splits) == 1 else ("", ""))
    left, right = zip(*halves, strict=True)
    return pa.array(left, pa.string()), pa.array(right, pa.string())


def _splits(query: str) -> list[tuple[str, str]]:
    if query.count("_") > _MOST_UNDERSCORES:
        return []
    parts = query.split("_")
    pairs = [("_".join(parts[:cut]), "_".join(parts[cut:])) for cut in range(1, len(parts))]
    return [pair for pair in pairs if all(pair)]


def _read_labels(texts: pa.Array, problems: dict[int, str]) -> pa.Array:
    lowered = pc.utf8_lower(texts)
    values = pa.array(list(_LABELS.values()), pa.int8())
    labels = values.take(pc.index_in(lowered, value_set=pa.array(list(_LABELS), pa.string())))
    odd = pc.and_(labels.is_null(), pc.not_equal(texts, ""))
    for row in pc.indices_nonzero(odd).to_pylist():
        problems.setdefault(row, f"label {brief(texts[row].as_py())!r} is neither 0 nor 1")
    return labels


def _quoted(text: str) -> str:
    return repr(brief(printable(text)))


def _note_missing(halves: tuple[pa.Array, pa.Array], problems: dict[int, str]) -> None:
    is_empty = pc.or_(pc.equal(halves[0], ""), pc.equal(halves[1], ""))
    for row in pc.indices_nonzero(is_empty).to_pylist():
        problems.setdefault(row, "an image name is missing")


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(column.cast(pa.string()), "")


def _trimmed(column: pa.ChunkedArray) -> pa.Array:
    return pc.utf8_trim_whitespace(_texts(column)).combine_chunks()
