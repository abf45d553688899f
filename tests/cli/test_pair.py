"""`histo-index pair`: verdicts, exit status, and what it loads."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import histo_index
from histo_index.encoder.folder import BUNDLED, load_encoder
from tests.cli.conftest import Run, Workshop

A, B = "slide-01/0001.png", "slide-02/0003.png"


def test_indexed_tiles_by_id_path_and_content_answer_alike(workshop: Workshop, run: Run) -> None:
    answers = [
        json.loads(run("pair", a, b, "--json", "--threshold", "0.5").out)
        for a, b in ((A, B), (f"tiles/{A}", f"tiles/{B}"), (str(workshop.tiles / A), B))
    ]
    assert len({answer["distance"] for answer in answers}) == 1
    assert {(answer["image_id_a"], answer["image_id_b"]) for answer in answers} == {(A, B)}
    assert answers[0]["threshold_from"] == "given by the user"
    assert answers[0]["verdict"] == ("same" if answers[0]["distance"] <= 0.5 else "different")


def test_every_command_warns_once_of_an_untrained_encoder(
    workshop: Workshop, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    Image.open(workshop.tiles / A).save("unseen.bmp")
    Path("pairs.csv").write_text(f"{A},unseen.bmp\n")
    for command in (
        ("pair", A, B),
        ("pair", "unseen.bmp", B),
        ("pair", f"tiles/{A}", f"tiles/{B}", "--encoder", "encoder"),
        ("pairs", "pairs.csv"),
        ("search", "unseen.bmp"),
        ("build", "tiles", "-o", "tiles.hx"),
    ):
        caplog.clear()
        run(*command)
        assert caplog.text.count("encoder is untrained: its distances mean little") == 1, command


def test_pair_prints_verdict_distance_threshold_and_origin(workshop: Workshop, run: Run) -> None:
    ran = run("pair", A, A, "--threshold", "0.705")
    assert ran.out == (
        "same   distance 0.0000, threshold 0.705\n"
        f"  images     {A} (indexed), {A} (indexed)\n"
        "  threshold  given by the user (not calibrated for these images)\n"
    )
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize(("threshold", "code"), [("4", 0), ("0", 10)])
def test_exit_status_is_the_verdict(
    workshop: Workshop, run: Run, threshold: str, code: int
) -> None:
    assert run("pair", A, B, "--threshold", threshold, "--exit-status").code == code
    assert run("pair", A, B, "--threshold", threshold).code == 0


def test_without_a_threshold_the_verdict_is_unsure(workshop: Workshop, run: Run) -> None:
    ran = run("pair", A, B, "--exit-status")
    assert ran.code == 11
    assert ran.out.startswith("unsure ")
    assert "pass --threshold" in ran.out


def test_without_an_index_unsure_is_refused(workshop: Workshop, run: Run) -> None:
    ran = run("pair", f"tiles/{A}", f"tiles/{B}", "--encoder", "encoder", "--unsure")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith(
        "--unsure needs a calibrated index; pass --index DIR, or leave it out\n"
    )


def test_look_up_of_indexed_tiles_loads_no_encoder(workshop: Workshop) -> None:
    script = (
        "import sys; from histo_index.cli import main\n"
        f"sys.argv = ['histo-index', 'pair', {A!r}, 'tiles/{B}']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'faiss', 'openvino', 'PIL', 'pydantic', 'pandas'}\n"
        "heavy |= {'pyarrow.compute', 'pyarrow.parquet', 'histo_index.search.classification'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_loads_no_arrays(workshop: Workshop) -> None:
    script = (
        "import sys; from histo_index.cli import main\n"
        "sys.argv = ['histo-index', 'pair', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'pyarrow', 'torch', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unseen_image_is_encoded_as_the_index_would(workshop: Workshop, run: Run) -> None:
    known = json.loads(run("pair", A, B, "--json").out)
    # Other bytes, same pixels.
    Image.open(workshop.tiles / A).save("unseen.bmp")
    unseen = json.loads(run("pair", "unseen.bmp", B, "--json").out)
    assert unseen["image_id_a"] is None
    assert unseen["distance"] == known["distance"]


def test_an_index_removed_while_open_answers_only_for_indexed_tiles(
    workshop: Workshop,
) -> None:
    index = histo_index.open(workshop.index)
    image = np.zeros((64, 64, 3), np.uint8)
    expected = index.pair(A, B).distance
    shutil.rmtree(workshop.index)
    assert index.pair(A, B).distance == expected
    with pytest.raises(histo_index.IndexFormatError) as caught:
        index.pair(image, B)
    assert str(caught.value) == (
        f"{workshop.index}: removed after it was opened, so no new image can be encoded; "
        "query indexed tiles, or open another index"
    )


def test_python_accepts_paths_pillow_images_and_arrays(workshop: Workshop) -> None:
    index = histo_index.open(workshop.index)
    expected = index.pair(A, B).distance
    image = Image.open(workshop.tiles / A)
    assert index.pair(image, B).distance == expected
    assert index.pair(np.asarray(image), workshop.tiles / B).distance == expected
    assert index.pair(np.asarray(image), image).distance == 0
    with pytest.raises(histo_index.ImageError, match="expected a Pillow image"):
        index.pair(np.zeros(4, np.uint8), B)


def test_without_an_index_an_encoder_answers(workshop: Workshop, run: Run) -> None:
    indexed = json.loads(run("pair", A, B, "--json").out)
    ran = run("pair", f"tiles/{A}", f"tiles/{B}", "--encoder", "encoder", "--json")
    assert json.loads(ran.out)["distance"] == indexed["distance"]


def test_without_an_index_the_bundled_encoder_answers_with_its_own_threshold(
    workshop: Workshop, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    ran = run("pair", workshop.tiles / A, workshop.tiles / A, "--json")
    answer = json.loads(ran.out)
    published = load_encoder(BUNDLED).config.threshold
    assert published is not None
    assert (answer["verdict"], answer["distance"]) == ("same", 0)
    assert answer["threshold"] == published.value


@pytest.mark.parametrize(
    ("name", "code"), [("nothing.png", 2), ("tiles", 2), ("tiles/labels.csv", 1)]
)
def test_a_file_that_is_no_image_is_one_error_line(
    workshop: Workshop, run: Run, name: str, code: int
) -> None:
    ran = run("pair", name, B)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.splitlines()[-1].startswith("histo-index: error: ")
    assert name in ran.err.splitlines()[-1]


def test_the_index_is_found_by_option_environment_or_folder(
    workshop: Workshop, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("b.hx").mkdir()
    ran = run("pair", A, B)
    assert ran.code == 2
    assert "several indexes here (b.hx, tiles.hx)" in ran.err
    assert run("pair", A, B, "-i", "tiles.hx").code == 0
    monkeypatch.setenv("HISTO_INDEX", "tiles.hx")
    assert run("pair", A, B).code == 0
    ran = run("pair", A, B, "--index", "nowhere.hx")
    assert ran.code == 1
    assert "nowhere.hx: no such index" in ran.err


@pytest.mark.parametrize("arguments", [(A,), (A, B, "--treshold", "1"), (A, B, "--threshold", "x")])
def test_wrong_usage_is_exit_status_2(
    workshop: Workshop, run: Run, arguments: tuple[str, ...]
) -> None:
    ran = run("pair", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Error: " in ran.err


def test_a_threshold_outside_0_to_4_is_refused(workshop: Workshop, run: Run) -> None:
    ran = run("pair", A, B, "--threshold", "5")
    assert ran.code == 2
    assert ran.err == (
        "histo-index: error: threshold 5.0 is not a distance; pass a value from 0 to 4\n"
    )
