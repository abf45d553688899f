"""`train`: from tiles to an encoder that builds an index, and one line for each mistake."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from histo_index.encoder.folder import load_encoder
from tests.cli.conftest import Run, Workshop
from tests.slide_files import BLOCK, PLAN, draw_plane, write_slide

SMALL = (
    "--arch", "resnet18", "--epochs", "1", "--batch", "8", "--crop", "32", "--tile", "48",
    "--workers", "0", "--device", "cpu",
)  # fmt: skip


def test_a_trained_encoder_has_card_and_threshold_and_builds_an_index(
    workshop: Workshop, run: Run
) -> None:
    labels = workshop.tiles / "labels.csv"
    Image.new("RGB", (8, 8)).save(workshop.tiles / "tiny.png")
    ran = run(
        "train", workshop.tiles, "-o", "mine", *SMALL, "--monitor", labels,
        "--licence", "CC0-1.0", "--mpp", "0.5", "--json",
    )  # fmt: skip
    assert ran.code == 3, ran.err
    report = json.loads(ran.out)
    encoder = load_encoder(Path("mine"))
    assert report["fingerprint"] == encoder.fingerprint
    assert (report["tiles"], report["best_epoch"]) == (16, 1)
    assert ["tiny.png" in reason for reason in report["rejected"]] == [True]
    assert encoder.config.training["data"]["licence"] == "CC0-1.0"
    assert encoder.config.mpp == 0.5
    found = report["epochs"][0]
    assert 0 <= found["neighbour_accuracy"] <= 1
    if encoder.config.threshold is not None:
        assert encoder.config.threshold.value == found["threshold"]
    ran = run("build", workshop.tiles, "-o", "mine.hx", "--encoder", "mine")
    assert ran.out.splitlines()[1].split()[:2] == ["encoded", "17"]


def test_a_teacher_may_be_an_index_of_the_same_tiles(workshop: Workshop, run: Run) -> None:
    ran = run(
        "train", workshop.tiles, "-o", "taught", *SMALL, "--teacher", workshop.index, "--json"
    )
    assert ran.code == 0, ran.err
    encoder = load_encoder(Path("taught"))
    assert encoder.config.pooling == "covariance+projection"
    card = encoder.config.training
    # From random weights, because the bundled encoder is of another architecture.
    assert (card["start"], card["recipe"]["frozen_stages"]) == ("random", 0)
    assert card["teacher"] == {"name": workshop.index.name, "columns": ["embedding"], "tiles": 16}


def test_a_monitors_paths_may_start_where_the_tiles_paths_do(workshop: Workshop, run: Run) -> None:
    # Labels that lie elsewhere than the tiles.
    moved = Path("labels-elsewhere.csv")
    moved.write_text((workshop.tiles / "labels.csv").read_text())
    ran = run("train", workshop.tiles, "-o", "mine", *SMALL, "--monitor", moved)
    assert ran.code == 0, ran.err
    assert "monitor    best epoch 1, pair ROC-AUC" in ran.out


def test_slide_tiles_are_learnt_from_with_their_neighbours(workshop: Workshop, run: Run) -> None:
    write_slide(Path("s.svs"), draw_plane())
    with open("tiles.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path"])
        for _, column, row in PLAN:
            writer.writerow([f"s.svs#x={BLOCK * column},y={BLOCK * row},mpp=1,size=128"])
    options = dict(zip(SMALL[::2], SMALL[1::2], strict=True)) | {"--batch": "6"}
    given = [part for pair in options.items() for part in pair]
    ran = run("train", "tiles.csv", "-o", "mine", *given)
    assert ran.code == 0, ran.err
    assert "  neighbours 6 of 6 tiles touch another of their slide" in ran.out


def test_slides_are_refused_and_the_remedy_is_named(workshop: Workshop, run: Run) -> None:
    Path("slides").mkdir()
    Path("slides/s.svs").write_bytes(b"slide")
    remedy = "s.svs: a slide: cut it with `histo-index tile`, and train on the manifest"
    ran = run("train", "slides", "-o", "mine", *SMALL)
    assert (ran.code, ran.err) == (
        2, f"histo-index: error: slides: no tiles to learn from; the first: {remedy}\n",
    )  # fmt: skip
    Path("slides/s.svs").rename("tiles/s.svs")
    ran = run("train", "tiles", "-o", "mine", *SMALL, "--json")
    assert (ran.code, json.loads(ran.out)["rejected"]) == (3, [remedy])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--recipe", "best"), "unknown recipe best; one of histology, reference, distil"),
        (("--recipe", "distil"), "the recipe distil and --teacher belong together; pass both"),
        (("--teacher", "nowhere.parquet"), "nowhere.parquet: not a readable Parquet table"),
        (
            ("--neighbours", "0.5"),
            "need to know where tiles lie; pass the manifest of `histo-index",
        ),
        (("--balance", "organ"), "no column organ to balance by; the tiles have image_id, path"),
        (("--crop", "64"), "a crop of 64 px is larger than the tile of 48 px"),
        (("--batch", "32"), "16 usable tiles are fewer than a batch of 32; add tiles or"),
        (("--accumulate", "3"), "a batch of 8 cannot be cut into 3 equal parts"),
        (("--monitor", "nowhere.csv"), "nowhere.csv: no such file"),
        (("--precision", "int8"), "unknown precision int8; one of auto, bfloat16, float32"),
        (("--init", "tiles"), "tiles"),
    ],
)
def test_a_wrong_option_is_one_line_and_writes_nothing(
    arguments: tuple[str, ...], message: str, workshop: Workshop, run: Run
) -> None:
    given = dict(zip(SMALL[::2], SMALL[1::2], strict=True))
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    options = [part for pair in given.items() for part in pair]
    ran = run("train", "tiles", "-o", "mine", *options)
    (line,) = ran.err.splitlines()
    assert (ran.code in (1, 2, 4), message in line) == (True, True), ran.err
    assert not Path("mine/config.json").exists()


def test_an_existing_output_is_not_overwritten(workshop: Workshop, run: Run) -> None:
    ran = run("train", "tiles", "-o", "encoder", *SMALL)
    assert (ran.code, ran.err) == (
        2, "histo-index: error: encoder exists already; pass another folder\n",
    )  # fmt: skip
