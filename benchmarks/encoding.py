"""Encoding from PNG files, compared with the reference method and with the peak of the cores."""

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import measuring
import numpy as np
import torch
import torchvision
from peak import peak_job
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import histo_index
from histo_index.arrays import Pixels
from histo_index.demo.tiles import CATEGORIES, write_tiles
from histo_index.encoder.create import init_encoder
from histo_index.encoder.encoder import Encoder, open_encoder
from histo_index.encoder.folder import EncoderFolder, load_encoder
from histo_index.encoder.runtime.openvino import build_graph
from histo_index.encoder.runtime.reference import load_trunk
from histo_index.errors import ImageError

TARGETS: Final = {"bfloat16": "≥ 6"}
REFERENCE: Final = "reference method's loop: both images of every pair"
EAGER: Final = "torch, eager float32, every image once"
BUILD: Final = "whole build: hashing, shards, FAISS, commit"
STAGES: Final = {
    "list the tiles": "indexer/inputs/tiles.py:list_tiles",
    "hash them": "indexer/hashing/tiles.py:hash_tiles",
    "plan": "indexer/writing/plan.py:make_plan",
    "read and check the encoder": "encoder/folder.py:load_encoder",
    "start the runtime": "encoder/runtime/choose.py:start_runtime",
    "decode and encode": "encoder/encoder.py:Encoder.encode_files",
    "write shards": "indexer/writing/shard_tasks.py:_publish",
    "copy the encoder": "indexer/writing/folder.py:copy_encoder",
    "commit: search files, FAISS": "indexer/writing/commit.py:commit",
}
_BATCH: Final = 32


class Tiles(Dataset[torch.Tensor]):
    """Images as such code reads them: Pillow, RGB, 224 px, tensor, normalised."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._transform = torchvision.transforms.Compose(
            [
                torchvision.transforms.Resize((224, 224)),
                torchvision.transforms.ToTensor(),
                torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        tensor: torch.Tensor = self._transform(Image.open(self._paths[row]).convert("RGB"))
        return tensor


class TilePairs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pairs of images; each is read and decoded wherever it stands."""

    def __init__(self, paths: Sequence[Path], pairs: Sequence[tuple[int, int]]) -> None:
        self._tiles = Tiles(paths)
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        left, right = self._pairs[row]
        return self._tiles[left], self._tiles[right]


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--tiles", type=int, default=192, help="PNG files of 256 px, about")
    options.add_argument("--pairs", type=int, default=96, help="pairs of the reference loop")
    options.add_argument("--arch", default="resnext50_32x4d", help="architecture")
    options.add_argument("--repeats", type=int, default=3, help="runs of each")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="histo-index-encoding-") as name:
        folder = Path(name)
        measuring.tell("rendering tiles, making an encoder")
        per_category = max(1, given.tiles // len(CATEGORIES))
        write_tiles(folder / "tiles", tiles_per_category=per_category)
        paths = sorted((folder / "tiles").rglob("*.png"))
        init_encoder(folder / "encoder", arch=given.arch, seed=0)
        encoder = load_encoder(folder / "encoder")
        jobs = torch_jobs(encoder, paths, pairs=given.pairs)
        precisions = measuring.usable_precisions()
        jobs |= our_jobs(encoder, paths, precisions)
        build = build_job(folder, paths)
        jobs[BUILD] = build
        rates = measuring.interleave(jobs, repeats=given.repeats)
        wall, stages = measuring.profile_stages(build, STAGES)
    measuring.print_machine()
    report(rates, count_operations(encoder), precisions)
    report_stages(wall, stages, tiles=len(paths))


def torch_jobs(
    encoder: EncoderFolder, paths: Sequence[Path], *, pairs: int
) -> dict[str, measuring.Job]:
    """The reference method's loop, and the same without its waste."""
    network = load_trunk(encoder).network
    drawn = np.random.default_rng(0).integers(len(paths), size=(pairs, 2)).tolist()

    @torch.no_grad()
    def reference() -> int:
        loader = DataLoader(TilePairs(paths, drawn), batch_size=_BATCH)
        for left, right in loader:
            a, b = (torch.nn.functional.normalize(network(side)) for side in (left, right))
            (a - b).square().sum(dim=1).tolist()
        return 2 * pairs

    @torch.no_grad()
    def eager() -> int:
        for batch in DataLoader(Tiles(paths), batch_size=_BATCH):
            torch.nn.functional.normalize(network(batch)).numpy()
        return len(paths)

    return {REFERENCE: reference, EAGER: eager}


def our_jobs(
    encoder: EncoderFolder, paths: Sequence[Path], precisions: Sequence[str]
) -> dict[str, measuring.Job]:
    """For each precision: from files, from memory, and the peak of the cores; all warmed up."""
    jobs: dict[str, measuring.Job] = {}
    for precision in precisions:
        runner = open_encoder(encoder.path, device="cpu", precision=precision)
        files = _files_job(runner, paths)
        pixels = np.random.default_rng(0).integers(
            256, size=(runner.runtime.batch, 224, 224, 3), dtype=np.uint8
        )
        memory = _memory_job(runner, pixels, count=len(paths))
        peak = peak_job(precision)
        for job in (memory, peak):
            job()
        jobs |= {
            f"files {precision}": files,
            f"memory {precision}": memory,
            f"peak {precision}": peak,
        }
    return jobs


def _files_job(runner: Encoder, paths: Sequence[Path]) -> measuring.Job:
    def job() -> int:
        found = list(runner.encode_files(paths))
        assert not any(isinstance(tile, ImageError) for tile in found)
        return len(found)

    return job


def _memory_job(runner: Encoder, pixels: Pixels, *, count: int) -> measuring.Job:
    """The network alone, on one image over and over, with all the threads it is made for."""

    requests = count // len(pixels)

    def job() -> int:
        with ThreadPoolExecutor(runner.runtime.parallel) as threads:
            return sum(map(len, threads.map(runner.runtime.embed, [pixels] * requests)))

    return job


def build_job(folder: Path, paths: Sequence[Path]) -> measuring.Job:
    def job() -> int:
        output = folder / "tiles.hx"
        shutil.rmtree(output, ignore_errors=True)
        report = histo_index.build(
            folder / "tiles",
            output,
            encoder=folder / "encoder",
            device="cpu",
        )
        assert report.encoded == len(paths)
        return report.encoded

    return job


def count_operations(encoder: EncoderFolder) -> int:
    """Count the operations for one image over the convolutions of the very graph that runs."""
    total = 0
    for node in build_graph(encoder).get_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution"):
            height, width = list(node.output(0).get_shape())[2:]
            total += 2 * int(np.prod(list(node.input(1).get_shape()))) * height * width
    return total


def report(rates: dict[str, list[float]], operations: int, precisions: Sequence[str]) -> None:
    print(
        f"One image is {operations / 1e9:.2f} billion operations in the network's convolutions.\n"
    )
    base = rates[REFERENCE]
    rows = []
    for name, values in rates.items():
        kind, _, precision = name.rpartition(" ")
        if kind == "peak":
            continue
        label = {"files": f"**histo-index, {precision}**", "memory": f"network alone, {precision}"}
        target = TARGETS.get(precision, "") if kind == "files" else ""
        share = ""
        if kind in label:
            parts = measuring.ratios(values, rates[f"peak {precision}"])
            share = measuring.spread([100 * operations * part for part in parts], digits=0)
        times = measuring.spread(measuring.ratios(values, base))
        rows.append((label.get(kind, name), measuring.spread(values), times, target, share))
    header = ("from 256-px PNG files", "images/s", "× reference", "target", "% of the cores' peak")
    measuring.print_table(header, rows)
    print()
    peaks = [(p, [rate / 1e9 for rate in rates[f"peak {p}"]]) for p in precisions]
    cells = [(name, measuring.spread(values, digits=0)) for name, values in peaks]
    measuring.print_table(("peak, all cores, large matrix products", "billion operations/s"), cells)


def report_stages(wall: float, stages: dict[str, float], *, tiles: int) -> None:
    own = dict(stages)
    # The runtime starts when the first tile is asked for.
    own["decode and encode"] -= own["start the runtime"]
    own["everything else"] = wall - sum(own.values())
    print(f"\nWhere a build of {tiles:,} tiles spends its {wall:.1f} s:\n")
    rows = [(name, f"{s:.2f}", f"{100 * s / wall:.0f} %") for name, s in own.items()]
    measuring.print_table(("stage", "s (one run under the profiler)", "share"), rows)


if __name__ == "__main__":
    main()
