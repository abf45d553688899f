"""`histo-index pairs`, `search`, `info`, `reindex`, `doctor` and `encoder`."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import histo_index
from histo_index.encoder import create
from histo_index.encoder.importing.checkpoint import read_checkpoint
from histo_index.encoder.runtime.resnet import ResNet
from histo_index.indexer.format.records import SearchConfig
from tests.cli.conftest import Run, Workshop

A, B = "slide-01/0001.png", "slide-02/0003.png"


def test_a_list_is_answered_in_order_with_accuracy(workshop: Workshop, run: Run) -> None:
    Path("pairs.csv").write_text(f"{A},{B},0\n{A},{A},1\n{B},gone.png,1\n")
    ran = run("pairs", "pairs.csv", "-o", "out.csv", "--threshold", "0")
    assert ran.code == 3
    lines = Path("out.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:3]] == [[A, B], [A, A]]
    assert [line.split(",")[4] for line in lines[1:3]] == ["different", "same"]
    assert "3 pairs: 2 answered, 1 not; 1 same; 0 images newly encoded" in ran.out
    assert "accuracy   1.0000 (2 of 2 labelled pairs correct)" in ran.out


def test_a_list_on_standard_output_has_its_summary_on_stderr(workshop: Workshop, run: Run) -> None:
    Path("pairs.csv").write_text(f"{A},{B}\n")
    ran = run("pairs", "pairs.csv", "--threshold", "4")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "image_a,image_b,distance,threshold,verdict,status,message"
    assert ran.out.splitlines()[1].endswith(",4,same,ok,")
    assert "1 pair: " in ran.err


def test_output_is_not_overwritten_without_the_option(workshop: Workshop, run: Run) -> None:
    Path("pairs.csv").write_text(f"{A},{B}\n")
    Path("out.csv").write_text("precious")
    ran = run("pairs", "pairs.csv", "-o", "out.csv")
    assert ran.code == 2
    assert "--overwrite" in ran.err
    assert Path("out.csv").read_text() == "precious"
    assert run("pairs", "pairs.csv", "-o", "out.csv", "--overwrite").code == 0


def test_unseen_images_are_found_below_the_root_and_encoded(workshop: Workshop, run: Run) -> None:
    Path("elsewhere").mkdir()
    Image.open(workshop.tiles / A).transpose(Image.Transpose.ROTATE_90).save("elsewhere/x.png")
    Path("pairs.csv").write_text(f"x.png,{B}\nx,x.png\n")
    ran = run("pairs", "pairs.csv", "-o", "o.csv", "--root", "elsewhere", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["encoded"] == 1
    rows = histo_index.open(workshop.index).pairs("pairs.csv", root="elsewhere").table.to_pylist()
    assert rows[1]["distance"] == 0
    assert rows[0]["distance"] > 0


def test_neighbours_as_table_json_parquet_and_picture(workshop: Workshop, run: Run) -> None:
    ran = run("search", A, "-k", "3", "--json", "-o", "out.parquet", "--montage", "out.png")
    assert ran.code == 0
    rows = json.loads(ran.out)
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert A not in [row["image_id"] for row in rows]
    assert {"label", "group", "mpp"} <= rows[0].keys()
    assert pq.read_table("out.parquet").to_pylist() == rows
    picture = np.asarray(Image.open("out.png"))
    # The query's own pixels stand at the left, its first neighbour's to the right of it.
    query = np.asarray(Image.open(workshop.tiles / A))
    neighbour = np.asarray(Image.open(workshop.tiles / rows[0]["path"]))
    assert np.array_equal(picture[8:72, 8:72], query)
    assert np.array_equal(picture[8:72, 184:248], neighbour)
    assert run("search", A, "-k", "3").out.splitlines()[0].split() == [
        "query", "rank", "image_id", "distance", "label", "group", "mpp",
    ]  # fmt: skip


def test_the_query_itself_comes_first_if_included(workshop: Workshop, run: Run) -> None:
    rows = json.loads(run("search", A, "-k", "1", "--include-self", "--json").out)
    assert (rows[0]["image_id"], rows[0]["distance"]) == (A, 0)


def test_a_montage_warns_of_missing_tiles(
    workshop: Workshop, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    workshop.tiles.rename("moved")
    assert run("search", A, "-k", "2", "--montage", "gone.png").code == 0
    assert "2 tiles could not be drawn from" in caplog.text
    assert run("search", A, "-k", "2", "--montage", "found.png", "--tiles", "moved").code == 0
    assert Path("gone.png").read_bytes() != Path("found.png").read_bytes()


def test_a_long_montage_wraps_to_the_next_line(workshop: Workshop, run: Run) -> None:
    run("search", A, "-k", "15", "--montage", "out.png")
    with Image.open("out.png") as picture:
        assert picture.size == (11 * 168 + 24, 2 * 208 + 8)


def test_info_describes_and_verifies(workshop: Workshop, run: Run) -> None:
    facts = json.loads(run("info", "--json").out)
    assert (facts["tiles"], facts["generation"], facts["encoder"]["architecture"]) == (
        16, 1, "resnet18",
    )  # fmt: skip
    assert run("info", "--verify").code == 0
    shard = next((workshop.index / "embeddings").glob("*.parquet"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert run("info").code == 0
    ran = run("info", "--verify")
    assert (ran.code, ran.out) == (1, "")
    assert f"{shard.relative_to(workshop.folder)}: damaged: checksum " in ran.err


def test_reindex_rebuilds_search_files(workshop: Workshop, run: Run) -> None:
    before = run("search", A, "--json").out
    for path in (workshop.index / "search").rglob("*.*"):
        path.unlink()
    ran = run("search", A)
    assert ran.code == 1
    assert "run `histo-index reindex`" in ran.err
    ran = run("reindex", "--distance", "plain")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "tiles.hx: 16 tiles, search files rebuilt for plain distances\n"
    assert run("search", A, "--json").out == before


def test_the_scale_of_a_file_that_cannot_be_read_is_not_mentioned(
    workshop: Workshop, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    unchecked = "scale unchecked: microns per pixel of 1 image are unknown"
    Path("bad.png").write_bytes(b"no image")
    Path("new.png").write_bytes((workshop.tiles / A).read_bytes() + b"more")
    ran = run("search", "bad.png")
    assert (ran.code, ran.out) == (1, "")
    assert "bad.png: not an image" in ran.err
    assert unchecked not in caplog.messages
    assert run("search", "new.png").code == 0
    assert unchecked in caplog.messages


def test_python_reindexes_an_index_that_does_not_open(workshop: Workshop, run: Run) -> None:
    before = run("search", A, "--json").out
    (workshop.index / "search" / "000001" / "vectors.npy").unlink()
    with pytest.raises(histo_index.IndexFormatError, match="run `histo-index reindex`"):
        histo_index.open(workshop.index)
    manifest = histo_index.reindex(
        workshop.index, structure="SQ8", recall=0.5, memory="1MB", distance="diffused"
    )
    assert histo_index.open(workshop.index).manifest == manifest
    assert manifest.settings.search == SearchConfig(
        structure="SQ8", recall=0.5, memory_bytes=1_000_000
    )
    assert manifest.settings.distance == "diffused"
    assert run("search", A, "--json").out == before


def test_info_shows_an_unfinished_build(workshop: Workshop, run: Run) -> None:
    (workshop.index / "manifest.json").unlink()
    ran = run("info")
    assert ran.code == 1
    assert "holds no finished index; run `histo-index build`" in ran.err


def test_doctor_names_device_and_precision(workshop: Workshop, run: Run) -> None:
    ran = run("doctor", "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["problems"]) == (0, [])
    assert found["facts"]["torch"].startswith(torch.__version__)
    assert {"cpu", "encoding", "faiss", "searching", "encoder"} <= found["facts"].keys()


def test_doctor_fails_if_a_library_fails(
    workshop: Workshop, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "histo_index.indexer.nearest.exact", None)
    ran = run("doctor")
    assert ran.code == 1
    assert "histo-index: faiss: " in ran.err


def test_a_torchvision_checkpoint_is_imported(workshop: Workshop, run: Run) -> None:
    torch.save(ResNet("resnet18").state_dict(), "net.pth")
    ran = run("encoder", "import", "net.pth", "--arch", "resnet18", "-o", "mine",
              "--threshold", "0.705")  # fmt: skip
    assert ran.code == 0
    fingerprint = json.loads(Path("mine/config.json").read_text())["fingerprint"]
    assert ran.out == f"mine: net.pth, fingerprint {fingerprint}\n"
    ran = run("pair", f"tiles/{A}", f"tiles/{A}", "--encoder", "mine", "--json")
    answer = json.loads(ran.out)
    assert (answer["verdict"], answer["threshold"]) == ("same", 0.705)
    assert answer["threshold_from"].startswith("published with the encoder")
    assert "untrained" not in ran.err


def test_an_import_of_the_wrong_architecture_is_exit_status_4(
    workshop: Workshop, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another process spends seconds on loading torch.
    monkeypatch.setattr(create, "read_in_child", read_checkpoint)
    torch.save(ResNet("resnet18").state_dict(), "net.pth")
    ran = run("encoder", "import", "net.pth", "--arch", "resnext50_32x4d", "-o", "mine")
    assert ran.code == 4
    assert not Path("mine").exists()


def test_a_users_columns_never_hide_the_answers(workshop: Workshop, run: Run) -> None:
    names = sorted(path.name for path in (workshop.tiles / "slide-01").iterdir())
    lines = ["path,rank,distance,query", *(f"slide-01/{name},7,0.5,mine" for name in names)]
    (workshop.tiles / "odd.csv").write_text("\n".join(lines))
    run("build", "tiles/odd.csv", "-o", "odd.hx", "--encoder", "encoder")
    row = json.loads(run("search", names[0], "-k", "1", "-i", "odd.hx", "--json").out)[0]
    assert (row["query"], row["rank"]) == (names[0], 1)
    assert row["distance"] != 0.5
    assert (row["tile_query"], row["tile_rank"], row["tile_distance"]) == ("mine", 7, 0.5)


def test_json_on_standard_output_is_one_document(workshop: Workshop, run: Run) -> None:
    Path("pairs.csv").write_text(f"{A},{B}\n")
    ran = run("pairs", "pairs.csv", "--json", "--threshold", "4")
    document = json.loads(ran.out)
    assert (document["answered"], document["rows"][0]["verdict"]) == (1, "same")


def test_an_output_with_an_unknown_suffix_is_refused(workshop: Workshop, run: Run) -> None:
    assert run("search", A, "-o", "out.png").code == 2
    assert run("search", A, "--montage", "out.csv").code == 2


def test_python_pairs_accept_the_images_that_pair_accepts(workshop: Workshop) -> None:
    index = histo_index.open(workshop.index)
    image = Image.open(workshop.tiles / A)
    rows = [(A, B, 0), (workshop.tiles / A, B), (image, np.asarray(image)), ("", B)]
    table = index.pairs(rows, threshold=0.5).table.to_pylist()
    assert table[0]["distance"] == table[1]["distance"]
    # A list is summed up in another order than a pair.
    assert table[0]["distance"] == pytest.approx(index.pair(A, B).distance, abs=2e-6)
    assert table[2]["distance"] == 0
    assert table[3]["message"] == "an image name is missing"
    assert index.pairs([]).pairs == 0
    assert [n.image_id for n in index.search(A, k=2)[0]] == [
        n.image_id for n in index.search([A], k=2)[0]
    ]
    index.draw([image], index.search([image], k=2), "drawn.png")
    with Image.open("drawn.png") as picture:
        assert picture.size == (3 * 168 + 24, 208 + 8)


def test_ctrl_c_is_one_line_and_exit_status_130(workshop: Workshop) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "histo_index", "pairs", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    # The warning about the untrained encoder shows that the index is open; the command then waits
    # for its input.
    assert "untrained" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err == (
        "histo-index: error: interrupted; no index was changed and no output file is incomplete\n"
    )
