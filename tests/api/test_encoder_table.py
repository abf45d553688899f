"""Several encoders on the same labelled tiles: one table and one page."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import histo_index
from histo_index.api.encoder_table.compare import write_comparison
from histo_index.api.encoder_table.look import list_encoders, look_into
from histo_index.commands.encoder.look import describe_comparison
from histo_index.demo.tiles import CATEGORIES, render_tile
from histo_index.errors import InputError, MismatchError
from histo_index.indexer.build_config import BuildProgress
from tests.small_encoder import write_small_encoder

KINDS = tuple(CATEGORIES)[:3]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 rendered tiles of three kinds and four groups, with labels.csv."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = []
    for seed in range(8):
        for kind in KINDS:
            name = f"{kind}-{seed}.png"
            Image.fromarray(render_tile(kind, seed=seed, size_px=32)).save(folder / name)
            rows.append({"path": name, "label": kind, "group": f"g{seed % 4}"})
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label", "group"])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("encoders")
    for seed in (0, 1):
        write_small_encoder(folder / f"seed{seed}", seed=seed)
    (folder / "other").mkdir()
    return [folder / "seed0", folder / "seed1"]


def test_a_comparison_has_the_figures_of_each_encoder(
    labelled: Path, encoders: list[Path], tmp_path: Path
) -> None:
    found = histo_index.compare_encoders(encoders, labelled, labelled / "labels.csv", device="cpu")
    assert (found.tiles, found.groups, len(found.encoders)) == (24, 4, 2)
    histo_index.build(labelled, tmp_path / "t.hx", encoder=encoders[1], device="cpu")
    index = histo_index.open(tmp_path / "t.hx", device="cpu")
    figures = index.evaluate(labelled / "labels.csv", tiles=labelled).index
    second = found.encoders[1]
    assert second.name == "seed1"
    assert second.roc_auc == figures.pairs["roc_auc"]
    assert second.nearest == figures.retrieval["micro"]["accuracy@1"]
    assert second.fingerprint == index.manifest.fingerprint
    assert found.encoders[0].fingerprint != second.fingerprint
    assert second.balanced_accuracy.value == pytest.approx(
        figures.pairs["cross_validated_accuracy"].value, abs=0.1
    )
    assert second.images_per_second > 0
    # Not with the copy of the encoder, 45 MB for 24 tiles.
    assert 2 * 512 < second.bytes_per_tile < 200_000
    assert found.to_pandas()["name"].tolist() == ["seed0", "seed1"]
    _check_text_and_page(replace(found), tmp_path / "table.html")


def _check_text_and_page(found: histo_index.EncoderComparison, page: Path) -> None:
    lines = describe_comparison(found).splitlines()
    assert lines[0].startswith("24 tiles of 4 groups, ")
    assert lines[2].split()[:3] == ["encoder", "pair", "ROC-AUC"]
    assert [line.split()[0] for line in lines[3:]] == ["seed0", "seed1"]
    write_comparison(found, page)
    text = page.read_text()
    assert f"{found.encoders[1].roc_auc.value:.3f}" in text
    assert "seed1" in text
    assert ".png" not in text
    assert "<script" not in text


def test_encoders_that_did_not_encode_the_same_tiles_are_not_compared(
    labelled: Path, encoders: list[Path], tmp_path: Path
) -> None:
    tiles = tmp_path / "tiles"
    shutil.copytree(labelled, tiles)

    def lose_a_tile(state: BuildProgress) -> None:
        if state.stage == "committing":
            (tiles / f"{KINDS[0]}-0.png").unlink(missing_ok=True)

    with pytest.raises(MismatchError) as caught:
        histo_index.compare_encoders(
            encoders, tiles, labelled / "labels.csv", device="cpu", progress=lose_a_tile
        )
    assert str(caught.value) == (
        "the encoders did not encode the same tiles; compare them on tiles that all can read"
    )


def test_nothing_to_compare_is_refused(labelled: Path) -> None:
    with pytest.raises(InputError, match=r"^no encoder to compare; "):
        histo_index.compare_encoders([], labelled, labelled / "labels.csv")


def test_folders_of_encoders_are_listed(encoders: list[Path]) -> None:
    found = list_encoders(encoders[0].parent)
    assert [Path(line["path"]).name for line in found] == ["bundled", "seed0", "seed1"]
    assert found[1]["network"] == "resnet18"
    facts = look_into(encoders[0]).facts
    assert (facts["network"], facts["size"], facts["features"]) == ("resnet18", 512, "mean")
    # Our own networks have no self-test: every runtime of theirs is tested.
    assert look_into(encoders[0], verify=True).agreement == {}
    assert np.all([line["fingerprint"] for line in found])


def test_the_bundled_encoder_is_described_by_its_name() -> None:
    assert look_into("bundled").facts["network"] == "resnext50_32x4d"
    with pytest.raises(InputError, match=r"^absent: no such folder; pass one that holds encoder"):
        list_encoders("absent")
