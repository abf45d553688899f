"""Every input is indexed, or rejected with its reason, or counted as no image; counts add up."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import pytest

from histo_index.api.build import build
from histo_index.errors import InputError
from histo_index.indexer.build_config import BuildReport
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import read_rejected
from tests.decoding import DecodingEncoder
from tests.hostile import INDEXED, hostile_files
from tests.indexer.fakes import run_build
from tests.odd_places import IGNORED, PLACES
from tests.promises.conftest import Tell, Tries
from tests.small_encoder import write_small_encoder

# Rows of a manifest that name no file which could be opened.
_ROWS: Final = {
    "": "the manifest row has no path",
    "../outside.png": "lies outside",
    "/etc/hostname": "lies outside",
    "missing.png": "cannot be read",
    "sub/../../outside.png": "lies outside",
}


@dataclass(kw_only=True)
class Inputs:
    """What was put into a source, each with what must become of it."""

    fates: dict[str, str] = field(default_factory=dict)
    extra: Counter[str] = field(default_factory=Counter)

    def count(self, fate: str) -> int:
        return sum(found == fate for found in self.fates.values())


@pytest.fixture(scope="module")
def decoding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DecodingEncoder]:
    with DecodingEncoder(folder=tmp_path_factory.mktemp("encoder")) as encoder:
        yield encoder


def require_one_place_each(index: Path, report: BuildReport, inputs: Inputs) -> None:
    """Compare an index, row by row and reason by reason, with what was put in."""
    manifest = read_manifest(index)
    rows = OpenIndex(index).rows["path"].to_pylist()
    entries = read_rejected(index, manifest)
    expected = {name: fate for name, fate in inputs.fates.items() if fate not in (INDEXED, IGNORED)}
    assert sorted(rows) == sorted(n for n, fate in inputs.fates.items() if fate == INDEXED)
    assert Counter(entry.path for entry in entries) == Counter(expected.keys()) + inputs.extra
    for entry in entries:
        assert len(entry.reason.splitlines()) == 1
        fate = expected.get(entry.path, "listed twice")
        assert re.match(rf"({fate}|listed twice)\b", entry.reason), entry
    assert report.ignored == inputs.count(IGNORED)
    assert report.tiles == manifest.tiles == len(rows)
    assert sum(report.rejected.values()) == manifest.rejected == len(entries)
    put_in = len(inputs.fates) + inputs.extra.total()
    assert report.tiles + manifest.rejected + report.ignored == put_in


def test_each_hostile_file_is_counted_once(tmp_path: Path, tell: Tell) -> None:
    """By the real encoder, from end to end."""
    tiles, index = tmp_path / "tiles", tmp_path / "tiles.hx"
    tiles.mkdir()
    inputs = Inputs()
    for name, (data, fate) in hostile_files().items():
        (tiles / f"{name}.png").write_bytes(data)
        inputs.fates[f"{name}.png"] = fate
    encoder = write_small_encoder(tmp_path / "encoder")
    report = build(tiles, index, encoder=encoder, precision="float32")
    require_one_place_each(index, report, inputs)
    again = build(tiles, index, precision="float32")
    assert (again.generation, again.encoded) == (report.generation, 0)
    assert len(inputs.fates) >= 90
    tell(f"{len(inputs.fates)} hostile files", f"{report.tiles} indexed, the others rejected")


def test_each_input_of_a_random_mix_is_counted_once(
    tmp_path: Path, decoding: DecodingEncoder, tries: Tries, tell: Tell
) -> None:
    mixes, inputs_seen = tries(40, 3_000), 0
    for seed in range(mixes):
        dice, folder = Random(seed), tmp_path / str(seed)
        inputs = write_mix(folder / "tiles", dice)
        index = folder / "tiles.hx"
        sources = [folder / "tiles"]
        if dice.random() < 0.3:  # what sources share counts once
            sources.append(folder / "tiles" / "f1")
        if dice.random() < 0.4:
            sources = [write_list(folder / "tiles", inputs, dice)]
        inputs_seen += len(inputs.fates) + inputs.extra.total()
        if not inputs.count(INDEXED):
            with pytest.raises(InputError, match=r"images? can be used|no images found|no tiles"):
                run_build(index, decoding, *sources)
            assert not index.exists()
            continue
        report = run_build(index, decoding, *sources)
        require_one_place_each(index, report, inputs)
    tell(f"{mixes} random mixes of {inputs_seen} inputs", "each counted once, counts add up")


def write_mix(folder: Path, dice: Random) -> Inputs:
    """Put one to twelve inputs, sound and hostile, into a few folders."""
    inputs = Inputs()
    contents: Mapping[str, tuple[bytes, str]] = hostile_files()
    # Bits of every kind in each mix; a tile in most of them.
    drawn = [dice.choice([*PLACES, *contents, "tile"]) for _ in range(dice.randint(1, 12))]
    (folder / "f1").mkdir(parents=True)
    for number, kind in enumerate(drawn):
        name = f"f{dice.randrange(3)}/x{number}.{dice.choice(('png', 'JPG', 'tif', 'webp'))}"
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if kind in PLACES:
            PLACES[kind].make(path)
            inputs.fates[name] = PLACES[kind].fate
            if kind == "link to a tile":  # it brings a hidden file
                inputs.fates[f"{name} hidden"] = IGNORED
        else:
            data, inputs.fates[name] = contents[kind]
            path.write_bytes(data)
    return inputs


def write_list(folder: Path, inputs: Inputs, dice: Random) -> Path:
    """List in a manifest what lies in the folder, some of it twice, and what does not."""
    # What a manifest does not name is no input.
    inputs.fates = {name: fate for name, fate in inputs.fates.items() if fate != IGNORED}
    rows = list(inputs.fates)
    for row in dice.sample(sorted(_ROWS), dice.randint(0, 3)):
        rows.append(row)
        inputs.fates[row] = _ROWS[row]
    dice.shuffle(rows)
    for row in dice.sample(sorted(inputs.fates), dice.randint(0, min(2, len(inputs.fates)))):
        rows.append(row)
        inputs.extra[row] += 1
    lines = "".join(f'{number},"{row}"\n' for number, row in enumerate(rows))
    path = folder / f"list.{dice.choice(('csv', 'CSV'))}"
    path.write_text("image_id,path\n" + lines)
    return path
