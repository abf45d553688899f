"""Builds from slides that are killed: what they encode, and what is found after each."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from histo_index.api.info import index_facts
from histo_index.api.slides.cut import FOLDER, SlideCutter
from histo_index.errors import ImageError, IndexFormatError
from histo_index.indexer.hashing.files import hash_file
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import finished_shards
from histo_index.slides.reading.identity import parse_tile
from histo_index.slides.tiling.options import SlideSource, TileOptions
from tests.indexer.fakes import FakeEncoder, FakeTile, embedding_of, leftovers, run_build
from tests.promises.child import KILLED, ChildBuilds
from tests.promises.killing import Aftermath, Resumed
from tests.slide_files import SlideLook, cut_here, write_slide

Rows = Mapping[str, tuple[Any, ...]]
SOURCE: Final = SlideSource(options=TileOptions(mpp=0.5, tile_size=64, tissue="none"))
_SIDE: Final = 192
_COLUMNS: Final = ("path", "sha256", "slide_id", "x", "y", "mpp", "size")


class SlideTiles(FakeEncoder):
    """Gives every tile of a slide its own direction, by its content hash."""

    def encode_files(self, paths: Iterable[Path]) -> Iterator[FakeTile | ImageError]:
        for path in paths:
            if parse_tile(path) is None:
                yield from super().encode_files([path])
                continue
            digest = hash_file(path)
            assert self.log is not None
            with open(self.log, "a") as file:
                file.write(f"{digest}\n")
            yield FakeTile(
                embedding=embedding_of(digest.encode()), sha256=digest, width=64, height=64,
                note=None,
            )  # fmt: skip


def build(output: Path, encoder: FakeEncoder, source: Path, **options: Any) -> None:
    """Build from slides as `histo_index.build` does, without decoder processes."""
    cutter = SlideCutter(output, cut=cut_here)
    own = SlideTiles(folder=encoder.folder, log=encoder.log or output.with_name("log"))
    run_build(output, own, source, slides=SOURCE, cut_slides=cutter, **options)
    cutter.save()


def draw(folder: Path, **colours: int) -> None:
    """Write slides of nine tiles, each in another grey."""
    for name, colour in colours.items():
        plane = np.full((_SIDE, _SIDE, 3), colour, np.uint8)
        write_slide(folder / f"{name}.svs", plane, SlideLook(tile=(64, 64), downsamples=(1,)))


def kill_at_every_step(folder: Path, children: ChildBuilds, *, every: int) -> Iterator[Aftermath]:
    """Kill a rebuild from slides before its first write, and each so many writes later.

    One slide stays, one is changed, one goes, one is new, and a tile file stays beside them.
    """
    source, start, output = folder / "data", folder / "start.hx", folder / "x.hx"
    draw(source, stays=40, changes=90, goes=130)
    (source / "tile.png").write_text("a tile")
    assert children.run(source, start, has_slides=True)["status"] == 0
    old = rows_of(start)
    (source / "goes.svs").unlink()
    draw(source, changes=91, new=170)
    shutil.copytree(start, output)
    assert children.run(source, output, has_slides=True)["status"] == 0
    new = rows_of(output)
    assert len(old) == len(new) == 28
    status, step = KILLED, 1
    while status == KILLED:
        shutil.rmtree(output)
        shutil.copytree(start, output)
        status = children.run(source, output, has_slides=True, die_at=step)["status"]
        state = state_of(output, old, new)
        yield Aftermath(status=status, state=state, resumed=_resume(children, source, output, new))
        step += every


def rows_of(index: Path) -> Rows:
    """Read what an index holds, every checksum verified: image id to columns and vector."""
    index_facts(index, verify=True)
    opened = OpenIndex(index)
    live = opened.live_rows()
    vectors = opened.vectors(live)
    found = opened.rows.take(pa.array(live)).to_pylist()
    return {
        row["image_id"]: (*(row[name] for name in _COLUMNS), vector.tobytes())
        for row, vector in zip(found, vectors, strict=True)
    }


def state_of(index: Path, old: Rows, new: Rows) -> str:
    """Name the state that opens: `old`, `new`, or what is wrong."""
    try:
        found = rows_of(index)
    except IndexFormatError as error:
        return str(error)
    return "new" if found == new else "old" if found == old else "a mixture"


def _resume(children: ChildBuilds, source: Path, output: Path, new: Rows) -> Resumed:
    """Go on undisturbed; count what finished shards held and was encoded again or lost."""
    log = output.with_name("log")
    log.unlink(missing_ok=True)
    before = _finished(output)
    answer = children.run(source, output, has_slides=True, log=log)
    encoded = log.read_text().split() if log.exists() else []
    wanted = {row[1] for row in new.values()}
    problem = "; ".join([answer.get("error") or "", *answer.get("warnings", [])]).strip("; ")
    if (state := state_of(output, new, new)) != "new":
        problem += state
    grids = [name for name in leftovers(output) if not name.startswith(f"{FOLDER}/")]
    problem += "".join(grids)
    return Resumed(
        repeated=len(set(encoded) & before) + len(encoded) - len(set(encoded)),
        lost=len((before & wanted) - _finished(output)),
        problem=problem,
    )


def _finished(output: Path) -> set[str]:
    """Name the contents that shards with a receipt hold, without changing the index."""
    copy = output.with_name("copy.hx")
    shutil.copytree(output, copy)
    found = finished_shards(copy, "f" * 32)
    shutil.rmtree(copy)
    return {digest for shard in found for digest in shard.rows["sha256"].to_pylist()}
