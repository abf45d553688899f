"""Split the training tiles by group: most for training, some for selection, none of `eval/`.

Labels (`train-labels.csv`) choose recipe, epochs and thresholds, and never touch the weights. Pairs
to choose by lie within a source and across groups; classes count alike. Use it as

    cd ../shared/data && python .../training_split.py --output /tmp/split
    histo-index train . --manifest /tmp/split/learn.csv --monitor /tmp/split/choose.csv \\
        --teacher teacher-efficientnet-lite0.parquet --balance source -o encoder

Tiles whose names end with their place have the columns `slide_id`, `x`, `y` and `span`, for
`--neighbours`.

With `--without ebhi-colon` nothing of that source is learnt from, and all of it is to choose by, so
that it can show what is learnt of tissue from elsewhere.
"""

import argparse
import csv
import hashlib
import re
from collections import defaultdict
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data"
# Sources whose groups are partly held out. The patients of BreaKHis are too few to spare any.
SOURCES: Final = ("lc25000", "ebhi-colon")
# One group in so many is held out.
_HELD_OUT: Final = 8
# Pairs of each source, half of them same.
_PAIRS: Final = 4_000
# How the tiles that were cut from larger fields are named.
_CUT: Final = re.compile(r"(?P<slide_id>.+)-x(?P<x>\d+)-y(?P<y>\d+)\.jpg")

Row = dict[str, str]


def main() -> None:
    """Write `learn.csv` and `choose.csv`; paths are relative to DATA."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--without", help="source to leave out of learn.csv")
    options.add_argument("--output", type=Path, default=Path(), help="folder, default: here")
    given = options.parse_args()
    learn, choose = split(given.without)
    # Without the labels, which are not to learn from.
    seen = [{"path": row["path"], "source": row["source"], **place(row["path"])} for row in learn]
    write(given.output / "learn.csv", seen)
    pairs = draw_pairs(choose)
    write(given.output / "choose.csv", pairs)
    groups = len({row["group"] for row in choose})
    print(f"{len(learn)} tiles to learn from; {len(choose)} of {groups} groups to choose by")


def place(path: str) -> Row:
    """Return where a tile lies on its field, by the name that it was cut under; else nothing."""
    if (match := _CUT.fullmatch(path)) is None:
        return dict.fromkeys(("slide_id", "x", "y", "span"), "")
    with Image.open(DATA / path) as image:
        return {**match.groupdict(), "span": str(image.width)}


def write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def split(without: str | None = None) -> tuple[list[Row], list[Row]]:
    """Give the rows to learn from and those to choose by; paths are relative to DATA.

    Args:
        without: a source to leave out of learning and to choose by.
    """
    with (DATA / "train-labels.csv").open(newline="") as file:
        labels = {row["path"]: row["class"] for row in csv.DictReader(file)}
    learn: list[Row] = []
    choose: list[Row] = []
    with (DATA / "train.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            source, group = row["source"], f"{row['source']}:{row['group']}"
            if without is None:
                is_chosen_by = source in SOURCES and _number(group) % _HELD_OUT == 0
            else:
                is_chosen_by = source == without
            (choose if is_chosen_by else learn).append(
                {
                    "path": row["path"],
                    "source": source,
                    "group": group,
                    "label": labels.get(row["path"], ""),
                }
            )
    return learn, choose


def draw_pairs(rows: list[Row]) -> list[Row]:
    """Draw pairs within a source and across groups: half same, half different."""
    random = np.random.default_rng(0)
    pairs = []
    by_source: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_source[row["source"]][row["label"]].append(row)
    for classes in by_source.values():
        usable = [tiles for tiles in classes.values() if len({tile["group"] for tile in tiles}) > 1]
        for number in range(_PAIRS):
            is_same = number % 2
            first = int(random.integers(len(usable)))
            away = 0 if is_same else int(random.integers(1, len(usable)))
            sides = usable[first], usable[(first + away) % len(usable)]
            while True:
                a, b = (side[int(random.integers(len(side)))] for side in sides)
                if a["group"] != b["group"]:
                    break
            pairs.append({"image_a": a["path"], "image_b": b["path"], "label": str(is_same)})
    return pairs


def _number(group: str) -> int:
    """Draw a number for a group, the same on every machine."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")


if __name__ == "__main__":
    main()
