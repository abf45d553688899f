"""Read the forms in which people write lists of image pairs.

* headerless `a.png,b.png[,label]`,
* headed `image_a,image_b[,label]`, in any order, other columns ignored,
* headed `query[,prediction]` with rows `idA_idB[,label]`, the reference method's form;

as CSV, TSV, Parquet, or CSV on standard input. A row that cannot be understood keeps its place and
says why; the list as a whole fails only if it is no list.
"""

import csv
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from histo_index.errors import InputError
from histo_index.indexer.tables import read_table

# Tells of each name whether an index or a folder has it.
IsKnown = Callable[[Sequence[str]], Sequence[bool]]

_LABELS: Final = {"1": 1, "same": 1, "true": 1, "0": 0, "different": 0, "false": 0}
# A field of a broken file may swallow the rest of it; no name is that long.
_LONGEST_FIELD: Final = 2**17


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


def read_pair_list(source: Path | None, is_known: IsKnown) -> PairList:
    """Read a pair list.

    Args:
        source: a file, read as Parquet or TSV if its suffix says so and else as CSV; None is CSV
            from standard input.
        is_known: decides where to split an `idA_idB` whose ids hold underscores themselves.

    Raises:
        InputError: it is missing, unreadable, not UTF-8, empty, or no list of pairs.
    """
    name = str(source or "standard input")
    problems: dict[int, str] = {}
    if source is not None and source.suffix.lower() == ".parquet":
        table = read_table(source)
    else:
        delimiter = "\t" if source is not None and source.suffix.lower() == ".tsv" else ","
        table, problems = _parse(_read_bytes(source, name), delimiter, name)
    columns = {column.strip().lower(): table[column] for column in table.column_names}
    if not len(table):
        raise InputError(f"{name}: no pairs in it; expected rows `a.png,b.png`")
    if not ({"image_a", "image_b"} <= columns.keys() or "query" in columns):
        raise InputError(
            f"{name}: no columns image_a and image_b, nor query; found {', '.join(columns)}"
        )
    if {"image_a", "image_b"} <= columns.keys():
        halves = _trimmed(columns["image_a"]), _trimmed(columns["image_b"])
        label, queries = columns.get("label"), None
    else:
        queries = _trimmed(columns["query"])
        halves = _split_queries(queries, is_known, problems)
        label = columns.get("prediction")
    labels = None if label is None else _read_labels(_trimmed(label), problems)
    _note_missing(halves, problems)
    return PairList(
        image_a=halves[0], image_b=halves[1], labels=labels, queries=queries, problems=problems
    )


def _read_bytes(source: Path | None, name: str) -> bytes:
    try:
        data = sys.stdin.buffer.read() if source is None else source.read_bytes()
        data.decode("utf-8")
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{name}: line {line} is not UTF-8; save the list as UTF-8") from error
    return data.removeprefix(b"\xef\xbb\xbf")


def _parse(data: bytes, delimiter: str, name: str) -> tuple[pa.Table, dict[int, str]]:
    """Parse delimited text into string columns named as the forms name them."""
    first = next(csv.reader(io.StringIO(_first_line(data)), delimiter=delimiter), [])
    header = [cell.strip().lower() for cell in first]
    if {"image_a", "image_b"} <= set(header) or "query" in header:
        names, skipped = header, 1
    elif 2 <= len(first) <= 3:
        names, skipped = ["image_a", "image_b", "label"][: len(first)], 0
    else:
        raise InputError(
            f"{name}: {len(first)} columns and no header; expected `a.png,b.png[,label]`, or a "
            "header `image_a,image_b[,label]` or `query[,prediction]`"
        )
    if len(set(names)) < len(names):
        raise InputError(f"{name}: a column name is there twice: {', '.join(names)}")
    try:
        return _parse_fast(data, delimiter, names, skipped), {}
    except pa.ArrowInvalid:
        # The fast reader gives up at a ragged row; the plain one keeps its place and goes on.
        return _parse_plain(data, delimiter, names, skipped)


def _parse_fast(data: bytes, delimiter: str, names: list[str], skipped: int) -> pa.Table:
    return pa_csv.read_csv(
        io.BytesIO(data),
        read_options=pa_csv.ReadOptions(column_names=names, skip_rows=skipped),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter),
        convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )


def _parse_plain(
    data: bytes, delimiter: str, names: list[str], skipped: int
) -> tuple[pa.Table, dict[int, str]]:
    problems: dict[int, str] = {}
    rows: list[list[str]] = []
    # Zero bytes end a field for some readers and not for others: they are no part of any name.
    text = io.StringIO(data.decode().replace("\0", ""), newline="")
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(text, delimiter=delimiter)
    try:
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(names):
                problems[len(rows) - skipped] = f"{len(cells)} columns, expected {len(names)}"
            rows.append((cells + [""] * len(names))[: len(names)])
    except csv.Error as error:
        problems[len(rows) - skipped] = f"not readable as CSV from here on ({error})"
        rows.append([""] * len(names))
    columns = zip(*rows[skipped:], strict=True) if rows[skipped:] else [()] * len(names)
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.table(arrays, names=names), problems


def _first_line(data: bytes) -> str:
    for line in data.splitlines():
        if line.strip():
            return line.decode()
    return ""


def _split_queries(
    queries: pa.Array, is_known: IsKnown, problems: dict[int, str]
) -> tuple[pa.Array, pa.Array]:
    """Split `idA_idB`; where ids hold underscores themselves, where both halves are known."""
    texts = queries.to_pylist()
    options = [_splits(text) for text in texts]
    doubtful = {half for splits in options if len(splits) > 1 for split in splits for half in split}
    names = sorted(doubtful)
    known = {name for name, is_there in zip(names, is_known(names), strict=True) if is_there}
    halves: list[tuple[str, str]] = []
    for row, (text, splits) in enumerate(zip(texts, options, strict=True)):
        fitting = [s for s in splits if set(s) <= known] if len(splits) > 1 else splits
        if len(fitting) == 1:
            halves.append(fitting[0])
            continue
        found = f"at {len(fitting)} places" if fitting else "nowhere"
        problems.setdefault(row, f"{text!r} can be split into two known ids {found}")
        halves.append(("", ""))
    left, right = zip(*halves, strict=True)
    return pa.array(left, pa.string()), pa.array(right, pa.string())


def _splits(query: str) -> list[tuple[str, str]]:
    parts = query.split("_")
    pairs = [("_".join(parts[:cut]), "_".join(parts[cut:])) for cut in range(1, len(parts))]
    return [pair for pair in pairs if all(pair)]


def _read_labels(texts: pa.Array, problems: dict[int, str]) -> pa.Array:
    lowered = pc.utf8_lower(texts)
    values = pa.array(list(_LABELS.values()), pa.int8())
    labels = values.take(pc.index_in(lowered, value_set=pa.array(list(_LABELS), pa.string())))
    odd = pc.and_(labels.is_null(), pc.not_equal(texts, ""))
    for row in pc.indices_nonzero(odd).to_pylist():
        problems.setdefault(row, f"label {texts[row].as_py()!r} is neither 0 nor 1")
    return labels


def _note_missing(halves: tuple[pa.Array, pa.Array], problems: dict[int, str]) -> None:
    is_empty = pc.or_(pc.equal(halves[0], ""), pc.equal(halves[1], ""))
    for row in pc.indices_nonzero(is_empty).to_pylist():
        problems.setdefault(row, "an image name is missing")


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(column.cast(pa.string()), "")


def _trimmed(column: pa.ChunkedArray) -> pa.Array:
    return pc.utf8_trim_whitespace(_texts(column)).combine_chunks()
