"""Read the forms in which people write lists of image pairs.

* headerless `a.png,b.png[,label]`,
* headed `image_a,image_b[,label]`, in any order, other columns ignored,
* rows `idA_idB[,label]`, headed `query[,prediction]` or without a header: the reference method's;

as CSV, TSV, Parquet, or CSV on standard input. A row that cannot be understood keeps its place and
says why; the list as a whole fails only if it is no list.
"""

import csv
import io
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from histo_index.errors import InputError, counted, printable
from histo_index.indexer.tables import read_table

# Tells of each name whether an index or a folder has it.
IsKnown = Callable[[Sequence[str]], Sequence[bool]]

_LABELS: Final = {
    **dict.fromkeys(("1", "1.0", "same", "true"), 1),
    **dict.fromkeys(("0", "0.0", "different", "false"), 0),
}
# A field of a broken file may swallow the rest of it; no name is that long.
_LONGEST_FIELD: Final = 2**17
# Beyond it a query has too many ways to be split to try them all; ids have a few underscores.
_MOST_UNDERSCORES: Final = 64
_LEADING_BLANKS: Final = re.compile(rb"\A(?:[ \t]*\r?\n)+")


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


def read_pair_list(source: Path | None, known: Sequence[IsKnown] = ()) -> PairList:
    """Read a pair list.

    Args:
        source: a file, read as Parquet or TSV if its suffix says so and else as CSV; None is CSV
            from standard input.
        known: decide where to split an `idA_idB` whose ids hold underscores themselves, one
            after the other until both halves of just one split are known; and whether the first
            row is a header that nobody knows.

    Raises:
        InputError: it is missing, unreadable, not UTF-8, empty, or no list of pairs.
    """
    name = str(source or "standard input")
    columns, problems, is_headed = _read_columns(source, name)
    if {"image_a", "image_b"} <= columns.keys():
        halves = _trimmed(columns["image_a"]), _trimmed(columns["image_b"])
        label, queries = columns.get("label"), None
    else:
        queries = _trimmed(columns["query"])
        halves = _split_queries(queries, known, problems)
        label = columns.get("prediction", columns.get("label"))
    texts = None if label is None else _trimmed(label)
    if not is_headed:
        _note_header(halves, texts, known, problems)
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


def _read_columns(
    source: Path | None, name: str
) -> tuple[dict[str, pa.ChunkedArray], dict[int, str], bool]:
    """Give columns by their names in lower case, rows that are none, and if a header named them."""
    problems: dict[int, str] = {}
    is_headed = True
    if source is not None and source.suffix.lower() == ".parquet":
        table = read_table(source)
    else:
        delimiter = "\t" if source is not None and source.suffix.lower() == ".tsv" else ","
        table, problems, is_headed = _parse(_read_bytes(source, name), delimiter, name)
    columns = {column.strip().lower(): table[column] for column in table.column_names}
    if not len(table):
        raise InputError(f"{name}: no pairs in it; expected rows `a.png,b.png`")
    if not ({"image_a", "image_b"} <= columns.keys() or "query" in columns):
        found = printable(_brief(", ".join(columns)))
        raise InputError(f"{name}: no columns image_a and image_b, nor query; found {found}")
    return columns, problems, is_headed


def _read_bytes(source: Path | None, name: str) -> bytes:
    try:
        data = sys.stdin.buffer.read() if source is None else source.read_bytes()
        data.decode("utf-8")
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{name}: line {line} is not UTF-8; save the list as UTF-8") from error
    # Blank lines before the header are skipped by no reader in the same way.
    return _LEADING_BLANKS.sub(b"", data.removeprefix(b"\xef\xbb\xbf"))


def _parse(data: bytes, delimiter: str, name: str) -> tuple[pa.Table, dict[int, str], bool]:
    """Parse delimited text into string columns named as the forms name them, or as its header."""
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        first = next(csv.reader(io.StringIO(_first_line(data)), delimiter=delimiter), [])
    except csv.Error as error:
        raise InputError(
            f"{name}: not readable as CSV ({error}); expected `a.png,b.png`"
        ) from error
    header = [cell.strip().lower() for cell in first]
    if {"image_a", "image_b"} <= set(header) or "query" in header:
        names, skipped = header, 1
    elif 2 <= len(first) <= 3:
        names, skipped = ["image_a", "image_b", "label"][: len(first)], 0
        if len(first) == 2 and first[1].strip() in ("0", "1") and "_" in first[0]:
            names = ["query", "prediction"]
    elif len(first) == 1 and "_" in first[0]:
        names, skipped = ["query"], 0
    else:
        raise InputError(
            f"{name}: {counted(len(first), 'column')} and no header; "
            "expected `a.png,b.png[,label]`, or a header `image_a,image_b[,label]` or "
            "`query[,prediction]`"
        )
    if len(set(names)) < len(names):
        repeated = printable(", ".join(names))
        raise InputError(f"{name}: a column name is there twice: {_brief(repeated)}")
    try:
        return _parse_fast(data, delimiter, names, skipped), {}, skipped == 1
    except pa.ArrowInvalid:
        # The fast reader gives up at a ragged row; the plain one keeps its place and goes on.
        return *_parse_plain(data, delimiter, names, skipped), skipped == 1


def _note_header(
    halves: tuple[pa.Array, pa.Array],
    labels: pa.Array | None,
    known: Sequence[IsKnown],
    problems: dict[int, str],
) -> None:
    """Say so where the first row of a list without a known header looks like a header."""
    names = [half[row].as_py() for row in range(min(2, len(halves[0]))) for half in halves]
    found = [any(answers) for answers in zip(*(ask(names) for ask in known), strict=True)]
    label = "" if labels is None else labels[0].as_py()
    if label.lower() not in ("", *_LABELS):
        doubt = f"label {_quoted(label)} that is neither 0 nor 1"
    elif found == [False, False, True, True]:
        doubt = f"neither {_quoted(names[0])} nor {_quoted(names[1])} names one tile or file"
    else:
        return
    header = "a header is `image_a,image_b[,label]` or `query[,prediction]`"
    problems.setdefault(0, f"unknown header, or {doubt}; {header}")


def _parse_fast(data: bytes, delimiter: str, names: list[str], skipped: int) -> pa.Table:
    options = pa_csv.ReadOptions(column_names=names, skip_rows=skipped, use_threads=False)
    return pa_csv.read_csv(  # noqa: TID251
        io.BytesIO(data),
        read_options=options,
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
                problems[len(rows) - skipped] = (
                    f"{counted(len(cells), 'column')}, expected {len(names)}"
                )
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
            problems.setdefault(row, f"{_brief(query)!r} {why}")
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
        problems.setdefault(row, f"label {_brief(texts[row].as_py())!r} is neither 0 nor 1")
    return labels


def _quoted(text: str) -> str:
    return repr(_brief(printable(text)))


def _brief(text: str) -> str:
    """Cut what a message quotes: a broken file may hold anything, of any length."""
    return text if len(text) <= 200 else f"{text[:200]}…"


def _note_missing(halves: tuple[pa.Array, pa.Array], problems: dict[int, str]) -> None:
    is_empty = pc.or_(pc.equal(halves[0], ""), pc.equal(halves[1], ""))
    for row in pc.indices_nonzero(is_empty).to_pylist():
        problems.setdefault(row, "an image name is missing")


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(column.cast(pa.string()), "")


def _trimmed(column: pa.ChunkedArray) -> pa.Array:
    return pc.utf8_trim_whitespace(_texts(column)).combine_chunks()
