"""The child process that reads foreign files: describes them, or streams their rows.

It gets its jobs as JSON on standard input, and answers in frames on standard output. Before each
job it limits its own memory and CPU time.
"""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Int64
from histo_index.errors import InputError
from histo_index.features.containers.part import Part, one_line
from histo_index.features.layouts.opening import open_parts
from histo_index.features.reading.frames import Frame, write_frame
from histo_index.features.unit_rows import is_usable, unit_rows
from histo_index.limits import (
    ending_if_still,
    lift_memory_limit,
    limit_process,
    watched,
    without_pandas,
)
from histo_index.wording import printable

# Slower than any disk: a job of a terabyte may compute for two days.
_BYTES_PER_CPU_S: Final = 5_000_000


def main() -> None:
    """Do the jobs that standard input lists."""
    with without_pandas():
        _answer()


def _answer() -> None:
    pa.array([""])  # at its first use pyarrow's allocator reserves 1 GB of addresses
    request = json.loads(sys.stdin.buffer.read())
    # Output of libraries must not mix with the frames.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with answers:
        work = _describe if request["task"] == "describe" else _stream
        for job in request["jobs"]:
            number = int(job["job"])
            write_frame(answers, Frame(kind="begin", job=number))
            try:
                _limit(Path(job["path"]), request["limits"])
                work(answers, number, job, float(request["limits"]["still_s"]))
            except InputError as error:
                values = {"message": str(error)}
                write_frame(answers, Frame(kind="error", job=number, values=values))
            except (MemoryError, OSError, RecursionError) as error:
                values = {"message": f"{job['path']}: cannot be read ({one_line(error)})"}
                write_frame(answers, Frame(kind="error", job=number, values=values))
            else:
                write_frame(answers, Frame(kind="end", job=number))


def _limit(path: Path, limits: Mapping[str, Any]) -> None:
    size, memory = path.stat().st_size, int(limits["spare_bytes"])
    if path.suffix.lower() == ".pt":
        lift_memory_limit()  # of the job before: torch maps more
        import torch

        torch.set_num_threads(1)  # each reserves memory
        memory += 3 * size  # held as a whole, and checked
    if path.is_dir():
        files = (Path(place, name) for place, _, names in os.walk(path) for name in names)
        size = sum(file.lstat().st_size for file in files)
    limit_process(memory=memory, cpu_s=int(limits["cpu_s"]) + size // _BYTES_PER_CPU_S)


def _describe(answers: IO[bytes], number: int, job: Mapping[str, Any], still_s: float) -> None:
    with ExitStack() as stack:
        for part in watched(open_parts(Path(job["path"]), stack), still_s):
            write_frame(answers, Frame(kind="part", job=number, values=asdict(part.facts)))


def _stream(answers: IO[bytes], number: int, job: Mapping[str, Any], still_s: float) -> None:
    with ExitStack() as stack:
        with ending_if_still(still_s):
            part, found = _find(job, stack)
        assert part.blocks is not None
        start, repeated = 0, _repeated(found)
        for values, own in watched(part.blocks(), still_s):
            table = pa.table({}) if own is None else own
            if found is not None:
                at = found[start : start + len(values)]
                table = pa.table({"x": at[:, 0], "y": at[:, 1]})
            again = repeated[(repeated >= start) & (repeated < start + len(values))]
            write_frame(answers, _rows_frame(number, start, values, table, again))
            start += len(values)


def _find(job: Mapping[str, Any], stack: ExitStack) -> tuple[Part, Int64 | None]:
    """Find the matrix that is asked for, and the places of its rows if it has any."""
    part = _choose(job["path"], job["part"], stack)
    found = None if part.places is None else part.places()
    if job["places"]:
        other = _choose(job["places"], "", stack).places
        assert other is not None
        found = _same_places(found, other(), job)
    if found is not None and len(found) != part.facts.rows:
        raise InputError(f"{job['path']}: {part.facts.rows:,} rows, but {len(found):,} places")
    return part, found


def _same_places(own: Int64 | None, other: Int64, job: Mapping[str, Any]) -> Int64:
    """Return the places of another file; those that the matrix has too must be equal."""
    if own is not None and not np.array_equal(own, other):
        raise InputError(
            f"{job['path']}: other places than {printable(job['places'])}, which has the size of "
            "its patches; pass the file that its tiles were cut by"
        )
    return other


def _repeated(places: Int64 | None) -> Int64:
    """Find the rows whose place an earlier row has: int64 [n], ascending."""
    if places is None:
        return np.zeros(0, np.int64)
    _, first = np.unique(places[:, 0] * 2**31 + places[:, 1], return_index=True)
    is_again = np.ones(len(places), bool)
    is_again[first] = False
    return np.flatnonzero(is_again)


def _choose(path: str, name: str, stack: ExitStack) -> Part:
    for part in open_parts(Path(path), stack):
        if part.facts.part == name:
            return part
    raise InputError(f"{path}: {name} is gone; it was changed while it was read")


def _rows_frame(number: int, start: int, values: Any, table: pa.Table, repeated: Int64) -> Frame:
    embeddings, lengths = unit_rows(values)
    usable = is_usable(lengths)
    is_zero = lengths == 0
    again = repeated[usable[repeated - start]]
    bad = {
        "all 0": (np.flatnonzero(is_zero) + start).tolist(),
        "not finite": (np.flatnonzero(~usable & ~is_zero) + start).tolist(),
        "the place of an earlier row": again.tolist(),
    }
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Frame(
        kind="rows",
        job=number,
        values={"start": start, "rows": len(values), "size": values.shape[1], "bad": bad},
        table=memoryview(sink.getvalue()),
        embeddings=embeddings.data.cast("B"),
    )
