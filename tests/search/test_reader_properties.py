"""Any bytes of a list give a result or one of our errors, in bounded time and memory."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histo_index.errors import HistoIndexError, InputError
from histo_index.indexer.inputs.tables import read_table
from histo_index.indexer.inputs.tiles import list_tiles
from histo_index.search.inputs.labels import read_labels
from histo_index.search.inputs.pair_list import PairList, read_pair_list
from tests.conftest import Tries
from tests.hypothetical import STEADY
from tests.search.classes import Classes

# What makes a reader think: separators, quotes, line ends, marks, numbers that nearly are some.
_PIECES: Final = (
    ",", "\t", '"', '""', "\n", "\r\n", "\r", "\0", "\ufeff", "path", "image_id", "image_a",
    "image_b", "query", "prediction", "label", "a.png", "b_c", "_", "../x", "/etc/passwd", "0",
    "1", "007", "1e5", "-0", "9" * 25, "0.1", "same", "é", "\u2028", " ", "=cmd()", "", "sha256",
    "N" * 300,
)  # fmt: skip
_HEADERS: Final = (
    "",
    "path\n",
    "path,label,n\n",
    "image_id\tpath\n",
    "image_a,image_b\n",
    "query\n",
)
# Of the index below, and of none; what a class may look like.
_TILES: Final = ("t00.png", "t01.png", "t02.png", "T00.png", "none.png", "", "../t00.png")
_CLASSES: Final = ("fat", "gland", "", "nan", " fat ", '"', "a\u2028b", "x" * 200_000)

# Some of it many times over: what takes the square of that in time or memory shows.
repeated = st.builds(
    lambda piece, times: piece * times,
    st.sampled_from(_PIECES),
    st.sampled_from((1, 1, 1, 7, 3_000)),
)
texts = st.builds(
    lambda head, pieces: (head + "".join(pieces)).encode(),
    st.sampled_from(_HEADERS),
    st.lists(repeated, max_size=60),
)
contents = st.one_of(st.binary(max_size=400), texts)
# What has a header and nearly fits, and anything.
label_rows = st.builds("{},{}".format, st.sampled_from(_TILES), st.sampled_from(_CLASSES))
label_files = st.one_of(
    contents, st.lists(label_rows, max_size=9).map(lambda rows: lines("path,label", *rows))
)
suffixes = st.sampled_from((".csv", ".tsv"))


def lines(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def outcome(read: Callable[[], Any]) -> Any:
    """What a reader gives, or None for an error of ours, of one line. Others come through."""
    try:
        return read()
    except HistoIndexError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    assert len(message) < 2_000
    return None


def written(folder: Path, data: bytes, suffix: str) -> Path:
    path = folder / f"list{suffix}"
    path.write_bytes(data)
    return path


@STEADY
@given(data=contents, suffix=suffixes)
def test_any_bytes_are_a_table_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = written(tmp_path_factory.getbasetemp(), data, suffix)
    table = outcome(lambda: read_table(path))
    if table is not None:
        table.validate(full=True)
        assert len(set(table.column_names)) == len(table.column_names)


@STEADY
@given(data=contents, suffix=suffixes)
def test_any_bytes_are_a_manifest_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = written(tmp_path_factory.getbasetemp(), data, suffix)
    tiles = outcome(lambda: list_tiles([path]))
    if tiles is None:
        return
    rows = len(read_table(path))
    assert len(tiles.table) + len(tiles.rejected) == rows
    for name in tiles.table["path"].to_pylist():
        assert (tiles.root / name).resolve().is_relative_to(tiles.root)
    ids = tiles.table["image_id"].to_pylist()
    assert len(set(ids)) == len(ids)


@STEADY
@given(data=contents, suffix=suffixes, is_known=st.booleans())
def test_any_bytes_are_a_pair_list_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str, is_known: bool
) -> None:
    path = written(tmp_path_factory.getbasetemp(), data, suffix)
    known = [lambda names: [is_known] * len(names)]
    pairs = outcome(lambda: read_pair_list(path, known))
    if pairs is not None:
        require_whole(pairs)


@STEADY
@given(data=label_files, suffix=suffixes)
def test_any_bytes_are_labels_or_refused(classes: Classes, data: bytes, suffix: str) -> None:
    path = written(classes.index.folder.parent, data, suffix)
    labels = outcome(lambda: read_labels(classes.index, path))
    if labels is None:
        return
    rows = labels.rows.tolist()
    assert len(labels.labels) == len(labels.groups) == len(rows) == len(set(rows))
    assert set(rows) <= set(range(len(classes.index)))
    assert len(set(labels.labels)) > 1
    assert all(text.strip() for text in labels.labels)
    assert all(len(why.splitlines()) == 1 and len(why) < 1_000 for why in labels.problems)


def require_whole(pairs: PairList) -> None:
    """Each row has two names, or says why not."""
    assert len(pairs.image_a) == len(pairs.image_b) == len(pairs)
    for part in (pairs.labels, pairs.queries):
        assert part is None or len(part) == len(pairs)
    halves = zip(pairs.image_a.to_pylist(), pairs.image_b.to_pylist(), strict=True)
    for row, (left, right) in enumerate(halves):
        assert (left and right) or row in pairs.problems
    assert all(0 <= row < len(pairs) for row in pairs.problems)
    assert all(len(why.splitlines()) == 1 for why in pairs.problems.values())
    if pairs.labels is not None:
        assert set(pairs.labels.to_pylist()) <= {0, 1, None}


LARGE: Final = {
    "a field of 200 KB": b"a" * 200_000 + b",b\n",
    "a path of 300 KB": b'path\n"' + b"a" * 300_000,
    "20,000 columns": b",".join(b"c%d" % n for n in range(20_000)) + b"\n" + b"," * 19_999,
    "20,000 columns of one name": b"c," * 20_000 + b"\n",
    "20,000 underscores": b"query\n" + b"_a" * 20_000 + b"\n",
    "queries of 60 underscores": b"query\n" + (b"_a" * 60 + b"\n") * 1_000,
    "50,000 folders": b"path\n" + b"a/" * 50_000 + b"b\n",
    "50,000 steps up": b"path\n" + b"../" * 50_000 + b"b\n",
    "a ragged row in 50,000": b"a,b\n" + b"c\n" * 50_000,
    "a column too many in 50,000": b"path,label\n" + b"a,b,c\n" * 50_000,
    "20,000 columns for one tile": b"path," + b"label," * 20_000 + b"\n" + b"," * 20_000,
}


# Reads each list in each way and says what that took: bytes of memory and seconds of computing.
# Each in a forked process: only there the most that was ever taken is that of the list.
LARGE_SCRIPT: Final = """
import json, os, resource, sys
from pathlib import Path
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.inputs.tiles import list_tiles
from histo_index.indexer.inputs.tables import read_table
from histo_index.search.inputs.labels import read_labels
from histo_index.search.inputs.pair_list import read_pair_list

folder, small = Path(sys.argv[1]), Path(sys.argv[2])
known = [lambda names: [True] * len(names)]

def measure(path):
    index = OpenIndex(folder)
    readers = (
        read_table,
        lambda p: list_tiles([p]),
        lambda p: read_pair_list(p, known),
        lambda p: read_labels(index, p),
    )
    costs = []
    for file in (small, path):
        for read in readers:
            before = resource.getrusage(resource.RUSAGE_SELF)
            try:
                read(file)
            except InputError as error:
                assert len(str(error)) < 2_000 and len(str(error).splitlines()) == 1, error
            after = resource.getrusage(resource.RUSAGE_SELF)
            grown = (after.ru_maxrss - before.ru_maxrss) * 1024
            costs.append((grown, after.ru_utime - before.ru_utime))
    return costs[len(readers):]

for path in sys.argv[3:]:
    if not os.fork():
        print(json.dumps(measure(Path(path))), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def costs(
    finished_classes: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[tuple[int, float]]]:
    """Bytes and seconds that each reader takes for each of the large lists."""
    folder = tmp_path_factory.mktemp("large")
    small = folder / "small.csv"
    small.write_bytes(b"path\na.png\n")
    paths = [folder / f"{number}.csv" for number in range(len(LARGE))]
    for path, data in zip(paths, LARGE.values(), strict=True):
        path.write_bytes(data)
    files = map(str, (finished_classes / "tiles.hx", small, *paths))
    command = [sys.executable, "-c", LARGE_SCRIPT, *files]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    return dict(zip(LARGE, found, strict=True))


@pytest.mark.parametrize("name", LARGE)
def test_large_contents_take_time_and_memory_in_proportion(
    costs: dict[str, list[tuple[int, float]]], name: str
) -> None:
    assert len(costs[name]) == 4
    for grown, cpu_s in costs[name]:
        assert grown < 200 * 2**20
        assert cpu_s < 15


# Reads each damaged copy of some Parquet files in a process that may set aside 4 GB more than it
# has: 1 GB is what the allocator of Arrow asks for at once, without taking it.
PARQUET_SCRIPT: Final = """
import json, random, resource, sys
from collections import Counter
from pathlib import Path
from histo_index.errors import InputError
from histo_index.indexer.inputs.tiles import list_tiles
from histo_index.indexer.inputs.tables import read_table

folder, count = Path(sys.argv[1]), int(sys.argv[2])
sources = [path.read_bytes() for path in sorted(folder.glob("*.parquet"))]
dice, outcomes = random.Random(8), Counter()
mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**32, mapped + 2**32))
list_tiles([folder / "plain.parquet"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(count):
    data = bytearray(dice.choice(sources))
    for _ in range(dice.choice((0, 1, 1, 2, 5))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    cut = dice.randrange(len(data)) if dice.random() < 0.1 else len(data)
    path = folder / "damaged.pq.parquet"
    path.write_bytes(data[:cut])
    try:
        read_table(path).validate(full=True)
        list_tiles([path])
        outcomes["read"] += 1
    except InputError as error:
        assert len(str(error).splitlines()) == 1, error
        outcomes["refused"] += 1
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(json.dumps({**outcomes, "grown": grown}))
"""


def write_parquet_files(folder: Path) -> None:
    columns = {"path": [f"{n}.png" for n in range(50)], "label": ["x", "y"] * 25, "n": range(50)}
    table = pa.table({name: list(values) for name, values in columns.items()})
    pq.write_table(table, folder / "plain.parquet", use_dictionary=False, compression=None)
    pq.write_table(table, folder / "zstd.parquet", compression="zstd", row_group_size=20)
    pq.write_table(table, folder / "checked.parquet", write_page_checksum=True)


def test_damaged_parquet_is_read_or_refused_in_bounded_memory(tmp_path: Path, tries: Tries) -> None:
    files = tries(200, 2_000)
    write_parquet_files(tmp_path)
    command = [sys.executable, "-c", PARQUET_SCRIPT, str(tmp_path), str(files)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["read"] + found["refused"] == files
    assert min(found["read"], found["refused"]) > files // 20
    assert found["grown"] < 300 * 2**20


def test_parquet_that_expands_without_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    row = pa.array(["a.png"]).dictionary_encode()
    many = pa.DictionaryArray.from_arrays(np.zeros(10**7, np.int32), row.dictionary)
    pq.write_table(pa.table({"path": many}), path, compression="zstd")
    size = path.stat().st_size
    assert size < 50_000
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert str(caught.value) == (
        f"{path}: not a usable parquet table (it says that its {size:,} bytes hold 10,000,000 rows)"
    )
