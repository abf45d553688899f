"""Promise 15: index, encoder and preprocessing belong together or are refused.

A calibration that belongs to something else is never used, and always warned of.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from histo_index.encoder.create import init_encoder
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.folder import load_encoder, save_encoder
from histo_index.indexer.format.manifest import CALIBRATION_NAME, read_manifest
from histo_index.indexer.format.signed_json import seal
from histo_index.search.calibration.calibration import CALIBRATION_VERSION
from tests.cli.conftest import Run, Workshop
from tests.indexer.fakes import files_of
from tests.promises.conftest import Tell

MISMATCH_EXIT = 4
# What a user sees: which command, and what it must say besides the fingerprint of the index.
Use = tuple[list[str], str]


def other_encoder_to_build(workshop: Workshop, other: Path) -> Use:
    return ["build", "tiles", "-o", "tiles.hx", "--encoder", str(other)], fingerprint(other)


def other_encoder_to_go_on_with(workshop: Workshop, other: Path) -> Use:
    # As an interrupted first build leaves it.
    (workshop.index / "manifest.json").unlink()
    return ["build", "tiles", "-o", "tiles.hx", "--encoder", str(other)], fingerprint(other)


def put_encoder_inside(workshop: Workshop, other: Path) -> None:
    shutil.rmtree(workshop.index / "encoder")
    shutil.copytree(other, workshop.index / "encoder")


def other_encoder_inside(workshop: Workshop, other: Path) -> Use:
    put_encoder_inside(workshop, other)
    return ["search", "unseen.png", "-i", "tiles.hx"], fingerprint(other)


def other_encoder_inside_to_build(workshop: Workshop, other: Path) -> Use:
    put_encoder_inside(workshop, other)
    return ["build", "tiles", "-o", "tiles.hx"], fingerprint(other)


def other_weights_inside(workshop: Workshop, other: Path) -> Use:
    (workshop.index / "encoder" / "model.safetensors").unlink()
    shutil.copy(other / "model.safetensors", workshop.index / "encoder")
    return ["pair", "unseen.png", "unseen.png", "-i", "tiles.hx"], ""


def other_preprocessing_inside(workshop: Workshop, other: Path) -> Use:
    own = load_encoder(workshop.encoder)
    config = replace(own.config, preprocessing=Preprocessing(resize_px=224, crop_px=192))
    found = save_encoder(workshop.index / "encoder", config, own.weights, overwrite=True)
    return ["pair", "unseen.png", "unseen.png", "-i", "tiles.hx"], found


CASES: tuple[Callable[[Workshop, Path], Use], ...] = (
    other_encoder_to_build,
    other_encoder_to_go_on_with,
    other_encoder_inside,
    other_encoder_inside_to_build,
    other_weights_inside,
    other_preprocessing_inside,
)
# Weights that are not their config's cannot be told from damaged ones.
DAMAGE_EXIT = 1


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other") / "encoder"
    init_encoder(folder, arch="resnet18", seed=1)
    return folder


def fingerprint(encoder: Path) -> str:
    return str(json.loads((encoder / "config.json").read_text())["fingerprint"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_is_refused_with_both_values(
    workshop: Workshop,
    other: Path,
    run: Run,
    case: Callable[[Workshop, Path], Use],
    tell: Tell,
) -> None:
    own = read_manifest(workshop.index).fingerprint
    tile = next(workshop.tiles.rglob("*.png"))
    (workshop.folder / "unseen.png").write_bytes(tile.read_bytes() + b"more")
    arguments, found = case(workshop, other)
    before = files_of(workshop.index)
    ran = run(*arguments)
    line = ran.err.splitlines()[-1]
    assert line.startswith("histo-index: error: ")
    assert (ran.code, ran.out) == (
        DAMAGE_EXIT if case is other_weights_inside else MISMATCH_EXIT,
        "",
    ), line
    assert found in line
    assert own in line
    assert len(set(re.findall(r"\b[0-9a-f]{32}\b(?!\.json)", line)) - {own}) == 1, line
    assert {**files_of(workshop.index), "lock": b""} == {**before, "lock": b""}
    tell(case.__name__.replace("_", " "), f"refused, exit {ran.code}")


@pytest.mark.parametrize("field", ["fingerprint", "distance"])
def test_a_calibration_of_something_else_is_never_used_and_always_warned_of(
    workshop: Workshop,
    other: Path,
    run: Run,
    field: str,
    tell: Tell,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tile = next(workshop.tiles.rglob("*.png")).relative_to(workshop.tiles).as_posix()
    asked = ["pair", tile, tile, "-i", "tiles.hx"]
    without = run(*asked)
    manifest = read_manifest(workshop.index)
    found = fingerprint(other) if field == "fingerprint" else "diffused 0537"
    body = {"fingerprint": manifest.fingerprint, "distance": manifest.distance_name, field: found}
    document = seal("histo-index calibration", body, version=CALIBRATION_VERSION)
    (workshop.index / CALIBRATION_NAME).write_bytes(document)
    ran = run(*asked)
    assert (ran.code, ran.out) == (without.code, without.out)
    (line,) = [line for line in caplog.messages if CALIBRATION_NAME in line]
    own = manifest.fingerprint if field == "fingerprint" else manifest.distance_name
    assert found in line
    assert own in line
    assert line.endswith("; it is not used")
    tell(f"calibration of another {field}", "not used, with a warning")
