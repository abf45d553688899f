"""Demonstrate the program on rendered tiles, by running its commands."""

import csv
import itertools
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from histo_index.demo.tiles import write_tiles
from histo_index.errors import HistoIndexError, InputError

_SLIDES: Final = 16
# Pairs of each half; the pairs are drawn with the demo's seed.
_PAIRS: Final = 2000
# Categories that a tissue mask leaves out.
_EMPTY: Final = ("background", "fat")


def show(folder: Path, *, tiles_per_category: int, seed: int, echo: Callable[[str], None]) -> None:
    """Render tiles, build an index of them, score pairs and search neighbours.

    Uses the bundled encoder. The index is calibrated on labelled pairs of the first half of the
    slides; the list that is scored has pairs of the second half.

    Args:
        folder: a new folder for all files.
        tiles_per_category: tiles of each of eight categories, spread over sixteen slides.
        seed: seed of the renderer and of the pairs.
        echo: prints a line.

    Raises:
        InputError: the folder exists and is not empty.
        HistoIndexError: a command failed.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} exists already; pass a new folder with -o")
    tiles = folder / "tiles"
    echo(f"Rendering {8 * tiles_per_category} H&E-like tiles into {tiles} (seed {seed}) ...")
    labels = write_tiles(tiles, tiles_per_category=tiles_per_category, slides=_SLIDES, seed=seed)
    with open(labels, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first_half, second_half = _write_pair_lists(folder, rows, seed)
    index = folder / "demo.hx"
    _run(["build", tiles, "-o", index, "--manifest", labels], echo)
    _run(["calibrate", "--pairs", first_half, "-i", index], echo)
    left, right = _first_pair(second_half)
    _run(["pair", left, right, "-i", index], echo)
    _run(["pairs", second_half, "-i", index, "-o", folder / "answers.csv"], echo)
    montage = folder / "neighbours.png"
    queries = _one_per_category(rows)
    _run(["search", queries[1], "-k", "5", "-i", index], echo)
    _run(["search", *queries, "-k", "6", "-i", index, "--json", "--montage", montage], None)
    echo(f"\nLook at {montage}: a query of each category with its neighbours.")
    _show_slide(folder, rows, echo)
    echo(f"\nLook with a page in the browser: histo-index serve -i {index}")


def _show_slide(folder: Path, rows: Sequence[dict[str, str]], echo: Callable[[str], None]) -> None:
    """Write a slide of the first tiles and cut it, where the libraries for slides are installed."""
    try:
        from histo_index.demo.slide import write_demo_slide
    except ImportError:
        return
    slide, previews = folder / "slides" / "slide.tiff", folder / "previews"
    tissue = [folder / "tiles" / row["path"] for row in rows if row["label"] not in _EMPTY]
    write_demo_slide(slide, tissue)
    manifest = folder / "slide.parquet"
    _run(["tile", slide, "-o", manifest, "--mpp", "0.5", "--preview", previews], echo)
    echo(f"\nLook below {previews}: the slide with its tissue and its tiles.")


def _write_pair_lists(folder: Path, rows: Sequence[dict[str, str]], seed: int) -> tuple[Path, Path]:
    """Write two lists of labelled pairs across slides: first half and second half of the slides."""
    slides = sorted({row["group"] for row in rows})
    halves = slides[: len(slides) // 2], slides[len(slides) // 2 :]
    lists = folder / "pairs-choose.csv", folder / "pairs-report.csv"
    generator = np.random.default_rng(seed)
    for half, path in zip(halves, lists, strict=True):
        members = [row for row in rows if row["group"] in half]
        pairs = [
            (a["path"], b["path"], int(a["label"] == b["label"]))
            for a, b in itertools.combinations(members, 2)
            if a["group"] != b["group"]
        ]
        same = [pair for pair in pairs if pair[2]]
        other = [pair for pair in pairs if not pair[2]]
        # As many same as different ones: always answering "different" is right half the time.
        count = min(_PAIRS // 2, len(same), len(other))
        chosen = [
            kind[int(row)]
            for kind in (same, other)
            for row in generator.choice(len(kind), count, replace=False)
        ]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("image_a", "image_b", "label"))
            writer.writerows(chosen)
    return lists


def _first_pair(pairs: Path) -> tuple[str, str]:
    with open(pairs, newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    return row["image_a"], row["image_b"]


def _one_per_category(rows: Sequence[dict[str, str]]) -> list[str]:
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row["label"], row["path"])
    return list(first.values())


def _run(arguments: Sequence[str | Path], echo: Callable[[str], None] | None) -> None:
    """Run a command and print it with its output; print nothing without `echo`."""
    words = [str(argument) for argument in arguments]
    if echo is not None:
        echo(f"\n$ histo-index {shlex.join(words)}")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "histo_index", *words],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    if echo is not None:
        echo(done.stdout.rstrip())
    if done.returncode:
        raise HistoIndexError(f"the demo's `{words[0]}` ended with status {done.returncode}")
