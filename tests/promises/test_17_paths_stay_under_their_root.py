"""No name, link, pipe or path leads a build out of its source, stops it, or makes it wait."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from histo_index.errors import ImageError
from histo_index.indexer.reader import OpenIndex
from tests.decoding import DecodingEncoder
from tests.hostile import INDEXED, formats
from tests.indexer.fakes import reasons, run_build
from tests.odd_places import IGNORED, NOT_UTF_8, ODD_NAMES, PLACES, remove_deep, write_deep
from tests.promises.conftest import Tell, Tries


class WatchedEncoder(DecodingEncoder):
    """Puts down where the files that it was asked for really are."""

    def encode_files(self, paths: Iterator[Path]) -> Iterator[object]:  # type: ignore[override]
        wanted = list(paths)
        self.encoded += [str(path.resolve()) for path in wanted]
        return super().encode_files(wanted)


@pytest.fixture
def decoding(tmp_path: Path) -> Iterator[WatchedEncoder]:
    with WatchedEncoder(folder=tmp_path / "encoder") as encoder:
        yield encoder


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """A source with one sound tile, and a tile outside of it that must not be seen."""
    folder = tmp_path / "tiles"
    (folder / "sub").mkdir(parents=True)
    for path in (folder / "sound.png", folder / "sub" / "sound.png", tmp_path / "outside.png"):
        path.write_bytes(formats()["png"])
    return folder


def indexed(index: Path) -> set[str]:
    return set(OpenIndex(index).rows["path"].to_pylist())


def require_inside(encoder: WatchedEncoder, tiles: Path) -> None:
    root = tiles.resolve()
    assert encoder.encoded
    assert all(Path(path).is_relative_to(root) for path in encoder.encoded), encoder.encoded


def test_links_pipes_and_sockets_are_indexed_or_rejected_and_not_followed(
    tiles: Path, decoding: WatchedEncoder, tmp_path: Path, tell: Tell
) -> None:
    for name, odd in PLACES.items():
        odd.make(tiles / f"{name}.png")
    report = run_build(tmp_path / "t.hx", decoding, tiles)
    require_inside(decoding, tiles)
    found = reasons(tmp_path / "t.hx")
    for name, odd in PLACES.items():
        if odd.fate in (INDEXED, IGNORED):
            assert f"{name}.png" not in found
        else:
            assert found.pop(f"{name}.png").startswith(tuple(odd.fate.split("|")))
    assert found == {}
    assert report.tiles == 2 + sum(odd.fate == INDEXED for odd in PLACES.values())
    tell(f"{len(PLACES)} links, pipes, sockets and sizes", "none followed out, none waited for")


def test_odd_names_are_indexed_or_rejected(
    tiles: Path, decoding: WatchedEncoder, tmp_path: Path, tell: Tell
) -> None:
    for name in ODD_NAMES:
        (tiles / name).write_bytes(formats()["png"])
    for raw in NOT_UTF_8:
        with open(os.fsencode(tiles) + b"/" + raw, "wb") as file:
            file.write(formats()["png"])
    report = run_build(tmp_path / "t.hx", decoding, tiles)
    hidden = {name for name in ODD_NAMES if name.startswith(".")}
    assert indexed(tmp_path / "t.hx") == {"sound.png", "sub/sound.png", *ODD_NAMES} - hidden
    assert report.ignored == len(hidden)
    found = reasons(tmp_path / "t.hx")
    assert set(found.values()) == {"the file name is not UTF-8; rename it"}
    assert len(found) == len(NOT_UTF_8)
    assert all(len(name.splitlines()) == 1 for name in found)
    tell(f"{len(ODD_NAMES) + len(NOT_UTF_8)} odd names", f"{len(found)} rejected, others indexed")


def test_a_manifest_does_not_lead_out(
    tiles: Path, decoding: WatchedEncoder, tmp_path: Path, tries: Tries, tell: Tell
) -> None:
    (tiles / "up").symlink_to(tmp_path)
    (tiles / "out.png").symlink_to("../outside.png")
    (tiles / "loop").symlink_to("loop")
    dice, rows = Random(17), set[str]()
    parts = ["..", ".", "sub", "up", "tiles", "loop", "outside.png", "sound.png", "", "~", "*"]
    while len(rows) < tries(400, 20_000):
        path = "/".join(dice.choices(parts, k=dice.randint(1, 7)))
        rows.add(f"{tmp_path}/{path}" if dice.random() < 0.2 else path)
    listed = tiles / "list.csv"
    listed.write_text("path\n" + "".join(f'"{row}"\n' for row in sorted(rows)))
    report = run_build(tmp_path / "t.hx", decoding, listed)
    require_inside(decoding, tiles)
    for name in indexed(tmp_path / "t.hx"):
        assert (tiles / name).resolve().is_relative_to(tiles.resolve())
    assert report.tiles + sum(report.rejected.values()) == len(rows)
    assert not any("outside" in name for name in indexed(tmp_path / "t.hx"))
    tell(f"{len(rows)} rows of a manifest", f"{report.tiles} indexed, none from outside")


def test_a_path_too_long_for_the_system_costs_itself(
    tiles: Path, decoding: WatchedEncoder, tmp_path: Path
) -> None:
    (tiles / "deep").mkdir()
    write_deep(tiles / "deep")
    try:
        report = run_build(tmp_path / "t.hx", decoding, tiles)
        assert report.tiles == 2
        assert report.rejected == {"folder cannot be read": 1}
        (name,) = reasons(tmp_path / "t.hx")
        assert name.startswith("deep/ddd")
    finally:
        remove_deep(tiles / "deep")


def test_devices_given_by_name_are_rejected(
    tiles: Path, decoding: WatchedEncoder, tmp_path: Path
) -> None:
    devices = [Path("/dev/zero"), Path("/dev/random"), Path("/dev/tty")]
    run_build(tmp_path / "t.hx", decoding, tiles, *devices)
    found = reasons(tmp_path / "t.hx")
    assert sorted(Path(name).name for name in found) == ["random", "tty", "zero"]
    assert all(reason.startswith("cannot be read (") for reason in found.values())
    # The decoder itself would not wait for them either.
    (error,) = decoding.encode_files(iter([Path("/dev/zero")]))
    assert str(error) == "/dev/zero: not a regular file; pass an image file"
    assert isinstance(error, ImageError)
