"""Write answers to CSV, TSV, Parquet or JSON lines files. A file is complete or absent."""

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from histo_index.commands.output import to_json
from histo_index.errors import HistoIndexError, InputError
from histo_index.files import publishing
from histo_index.search.answers.neighbour_table import NEIGHBOUR_COLUMNS, rows_table
from histo_index.search.answers.pair_list import PairScores
from histo_index.search.answers.searching import require_answers
from histo_index.search.calibration.threshold import Verdict

if TYPE_CHECKING:
    from histo_index.search.answers.neighbours import Answered, Nearest

OUTPUT_SUFFIXES: Final = (".csv", ".tsv", ".parquet", ".jsonl")
FORMS: Final = ("table", "query-prediction")
_BATCH_ROWS: Final = 65_536


def check_output(
    path: Path | None, *, overwrite: bool, suffixes: tuple[str, ...] = OUTPUT_SUFFIXES
) -> None:
    """Check an output file before any work is done for it.

    Args:
        path: the file; None means standard output.
        overwrite: whether an existing file may be replaced.
        suffixes: allowed suffixes.

    Raises:
        InputError: the file exists, its folder does not, or its suffix is unknown.
    """
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{path}: unknown suffix; expected one of {', '.join(suffixes)}")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; pass --overwrite to replace it")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder; make it first")


def check_answer_files(
    output: Path | None, montage: Path | None, report: Path | None, *, overwrite: bool
) -> None:
    """Check all files that an answer is written to; see `check_output`."""
    check_output(output, overwrite=overwrite)
    check_output(montage, overwrite=overwrite, suffixes=(".png",))
    if montage is not None:
        check_output(
            montage.with_stem(f"{montage.stem}-2"), overwrite=overwrite, suffixes=(".png",)
        )
    check_output(report, overwrite=overwrite, suffixes=(".html",))


def check_form(form: str) -> None:
    """Check the output form before any work is done for it."""
    if form not in FORMS:
        raise InputError(f"unknown format {form}; expected one of {', '.join(FORMS)}")


def write_scores(scores: PairScores, path: Path | None, *, form: str) -> None:
    """Write a scored pair list as a table or in the reference method's form."""
    is_table = form == "table"
    write_table(scores.table if is_table else query_prediction_table(scores), path)


def write_neighbours(rows: Sequence[Mapping[str, Any]], path: Path | None) -> None:
    """Write rows of neighbours to a file; without one, nothing is written."""
    if path is not None:
        write_rows(rows, path, columns=NEIGHBOUR_COLUMNS)


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path, *, columns: Sequence[str]) -> None:
    """Write rows of equal columns; see `write_table`.

    Args:
        rows: column to value.
        path: the file.
        columns: the columns of a table without rows.
    """
    write_table(rows_table(rows, columns=columns), path)


def write_table(table: pa.Table, path: Path | None) -> None:
    """Write a table in the form its suffix names; CSV on standard output if there is no path."""
    if path is None:
        _write_csv(table, sys.stdout.buffer, ",")
        sys.stdout.buffer.flush()
        return
    suffix = path.suffix.lower()
    with publishing(path) as temporary:
        if suffix == ".parquet":
            import pyarrow.parquet as pq  # here, because a single pair needs no Parquet

            pq.write_table(table, temporary)
        elif suffix == ".jsonl":
            with open(temporary, "w", encoding="utf-8") as file:
                file.writelines(
                    to_json(row) + "\n"
                    for batch in table.to_batches(max_chunksize=_BATCH_ROWS)
                    for row in batch.to_pylist()
                )
        else:
            with open(temporary, "wb") as file:
                _write_csv(table, file, "\t" if suffix == ".tsv" else ",")


def query_prediction_table(scores: PairScores) -> pa.Table:
    """Convert answers to the form of the reference method: `query,prediction`, 1 = same.

    A row without an answer has an empty prediction.

    Raises:
        InputError: there is no threshold.
    """
    if scores.threshold.value is None:
        raise InputError(
            "the form query-prediction needs verdicts, and there is no threshold: pass --threshold"
        )
    table = scores.table
    queries = scores.queries
    if queries is None:
        left, right = (_stem(table[name]) for name in ("image_a", "image_b"))
        queries = pc.binary_join_element_wise(left, right, "_")
    is_same = pc.equal(table["verdict"], Verdict.SAME.value)
    return pa.table({"query": queries, "prediction": is_same.cast(pa.int8())})


def _stem(names: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring_regex(names, r"^.*/|\.[^./]*$", "")


def _write_csv(table: pa.Table, file: BinaryIO, delimiter: str) -> None:
    """Write CSV with quotes only where needed; Arrow alone quotes every text or none."""
    header = io.StringIO()
    csv.writer(header, delimiter=delimiter, lineterminator="\n").writerow(table.column_names)
    file.write(header.getvalue().encode())
    options = pa_csv.WriteOptions(include_header=False, delimiter=delimiter, quoting_style="none")
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        if _needs_quotes(batch, delimiter):
            _write_quoted(batch, file, delimiter)
        else:
            pa_csv.write_csv(batch, file, options)


def _needs_quotes(batch: pa.RecordBatch, delimiter: str) -> bool:
    special = f'["\r\n{delimiter}]'
    texts = [column for column in batch.columns if pa.types.is_string(column.type)]
    return any(pc.any(pc.match_substring_regex(column, special)).as_py() for column in texts)


def _write_quoted(batch: pa.RecordBatch, file: BinaryIO, delimiter: str) -> None:
    # Numbers in the format of Arrow, as in rows without quotes.
    texts = [pc.fill_null(column.cast(pa.string()), "").to_pylist() for column in batch.columns]
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter=delimiter, lineterminator="\n")
    writer.writerows(zip(*texts, strict=True))
    file.write(lines.getvalue().encode())


def answered(
    names: Sequence[str], found: "Sequence[Answered]", *, is_batch: bool
) -> "tuple[list[str], list[Nearest]]":
    """Select the queries that were answered, and their neighbours.

    Raises:
        HistoIndexError: a query has no answer, and it is not one of a batch.
    """
    if not is_batch:
        return list(names), require_answers(found)
    kept = [
        (name, answer)
        for name, answer in zip(names, found, strict=True)
        if not isinstance(answer, HistoIndexError)
    ]
    return [name for name, _ in kept], [answer for _, answer in kept]
