"""Distil an encoder on a GPU that is lent for minutes: pack the tiles here, train there.

    python benchmarks/gpu_distil.py pack /tmp/split/learn.csv /tmp/parts
    python benchmarks/gpu_distil.py train /tmp/parts $OUT --minutes 7 -- --epochs 40 --workers 14

`pack` scales the tiles of a list to the input of the encoder, and writes them with the features of
the teacher in parts of at most 35 MB: as much as one transfer takes beside the repository. `train`
starts from the bundled encoder, stops in time, and writes what it has: float16, in pieces of at
most 15 MB, which `cat model.safetensors.*` joins. What follows `--` goes to `histo-index train`.
The machine needs torch, torchvision, pyarrow, typer, NumKong and the other libraries that training
imports; OpenVINO, FAISS and DuckDB are not among them. Without a GPU `train` runs on the CPU.
"""

import argparse
import csv
import io
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.decode.preprocessing import Preprocessing, fit_tile
from histo_index.encoder.folder import bundled_encoder, load_encoder, write_encoder

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data"
TEACHER: Final = "teacher-efficientnet-lite0.parquet"
_QUALITY: Final = 88
_PART_BYTES: Final = 35_000_000
_PIECE_BYTES: Final = 15_000_000
# For the state that Ctrl-C saves.
_GRACE_S: Final = 60.0


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = options.add_subparsers(dest="step", required=True)
    packing = steps.add_parser("pack", help="write parts")
    packing.add_argument("tiles", type=Path, help="CSV with path and source, see training_split.py")
    packing.add_argument("output", type=Path)
    packing.add_argument("--data", type=Path, default=DATA, help="what the paths are relative to")
    packing.add_argument("--px", type=int, default=192, help="shorter side of a packed tile")
    training = steps.add_parser("train", help="unpack and train")
    training.add_argument("parts", type=Path, help="folder of the parts")
    training.add_argument("output", type=Path)
    training.add_argument("--minutes", type=float, default=7.0, help="time to train")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    given = options.parse_args(words[:end])
    if given.step == "pack":
        pack(given.tiles, given.output, data=given.data, px=given.px)
    else:
        train(given.parts, given.output, seconds=60 * given.minutes, rest=words[end + 1 :])


def pack(tiles: Path, output: Path, *, data: Path, px: int) -> None:
    """Write `part-00.parquet` and so on: path, source, JPEG file, features of the teacher."""
    with tiles.open(newline="") as file:
        rows = list(csv.DictReader(file))
    features = pq.ParquetFile(data / TEACHER).read(use_threads=False)
    numbers = {path: number for number, path in enumerate(features["path"].to_pylist())}
    features = features.take([numbers[row["path"]] for row in rows]).drop_columns(["path"])
    spec = Preprocessing(resize_px=px, crop_px=px)
    files = [scale(data / row["path"], spec) for row in rows]
    each = sum(map(len, files)) // len(files) + features.nbytes // len(files)
    size = max(1, _PART_BYTES // each)
    output.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(rows), size)):
        part = slice(start, start + size)
        table = features.slice(start, size)
        for name, column in (
            ("source", [row["source"] for row in rows[part]]),
            ("file", files[part]),
            ("path", [f"{index:06d}.jpg" for index in range(*part.indices(len(rows)))]),
        ):
            table = table.append_column(name, pa.array(column))
        path = output / f"part-{number:02d}.parquet"
        pq.write_table(table, path)
        print(f"{path}: {table.num_rows} tiles, {path.stat().st_size / 1e6:.1f} MB")


def scale(path: Path, spec: Preprocessing) -> bytes:
    """Scale a tile as the encoder does, and return it as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(fit_tile(read_tile(path, DecodeLimits()).pixels, spec)).save(
        buffer, "JPEG", quality=_QUALITY
    )
    return buffer.getvalue()


def train(parts: Path, output: Path, *, seconds: float, rest: Sequence[str]) -> None:
    """Unpack and train for some time; write the encoder, or the last finished epoch's."""
    with tempfile.TemporaryDirectory(prefix="histo-index-distil-") as name:
        folder, run = Path(name), Path(name) / "run"
        unpack(parts, folder)
        command = [
            sys.executable, "-m", "histo_index", "train", folder, "--output", run, *rest,
            "--manifest", folder / "learn.csv", "--teacher", folder / "teacher.parquet",
            "--balance", "source", "--init", bundled_encoder(),
        ]  # fmt: skip
        child = subprocess.Popen([str(word) for word in command])
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            print(f"stopped after {seconds:.0f} s", flush=True)
            child.send_signal(signal.SIGINT)
            child.wait(_GRACE_S)
        if not (run / "config.json").is_file():
            sys.exit(f"no epoch was finished within {seconds:.0f} s; pass fewer --epochs or tiles")
        write_pieces(run, output)


def unpack(parts: Path, folder: Path) -> None:
    """Write the tiles as files, their list and the features of the teacher."""
    found = sorted(parts.glob("part-*.parquet"))
    assert found, f"{parts}: no part-00.parquet; run `pack` first"
    table = pa.concat_tables(pq.ParquetFile(path).read(use_threads=False) for path in found)
    paths = table["path"].to_pylist()
    for path, file in zip(paths, table["file"].to_pylist(), strict=True):
        (folder / path).write_bytes(file)
    with (folder / "learn.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("path", "source"), *zip(paths, table["source"].to_pylist(), strict=True)]
        )
    pq.write_table(table.drop_columns(["source", "file"]), folder / "teacher.parquet")


def write_pieces(run: Path, output: Path) -> None:
    """Write the encoder of a run in float16, its weights in pieces, and the log of the run."""
    encoder = load_encoder(run)
    weights = {
        name: array.astype(np.float16) if array.ndim > 1 else array
        for name, array in encoder.weights.items()
    }
    output.mkdir(parents=True, exist_ok=True)
    write_encoder(output, encoder.config, weights)
    model = output / "model.safetensors"
    for number, piece in enumerate(_pieces(model.read_bytes())):
        (output / f"{model.name}.{number:02d}").write_bytes(piece)
    model.unlink()
    (output / "train.jsonl").write_bytes((run / "train.jsonl").read_bytes())


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield content[start : start + _PIECE_BYTES]


if __name__ == "__main__":
    main()
