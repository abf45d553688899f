"""Split the training tiles by group: most for training, some for selection, none of `eval/`.

Labels come from the file names of two sources: the tissue of an LC25000 field, the tumour type of a
BreaKHis patient. They choose recipe, epochs and threshold, and never touch the weights. Use it as

    histo-index train ../shared/data --manifest learn.csv --monitor choose.csv -o encoder

With `--without lc25000` nothing of that source is learnt from, so that it can show what is learnt
of tissue from elsewhere.
"""

import argparse
import csv
import hashlib
import re
from pathlib import Path
from typing import Final

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data"
# One group in so many is held out.
_HELD_OUT: Final = 8
_LABEL: Final = re.compile(r"(?:lc25000-([a-z]+)\d|breakhis-(SOB_[BM]_[A-Z]+))")

Row = dict[str, str]


def main() -> None:
    """Write `learn.csv` and `choose.csv` here."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--without", help="source to leave out of learn.csv")
    left_out = f"{options.parse_args().without}:"
    learn, choose = split()
    learn = [row for row in learn if not row["group"].startswith(left_out)]
    for name, rows in (("learn", learn), ("choose", choose)):
        with Path(f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["path", "label", "group"])
            writer.writeheader()
            writer.writerows(rows)
        groups = len({row["group"] for row in rows})
        print(f"{name}.csv: {len(rows)} tiles of {groups} groups")


def split() -> tuple[list[Row], list[Row]]:
    """Give the rows to learn from and those to choose by; paths are relative to DATA.

    Of the held-out groups only classes with two groups at least are kept: within one, nothing can
    be compared.
    """
    learn: list[Row] = []
    choose: list[Row] = []
    with (DATA / "train.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found = _LABEL.search(row["path"])
            group = f"{row['source']}:{row['group']}"
            label = "" if found is None else found[1] or found[2]
            is_held_out = label and _number(group) % _HELD_OUT == 0
            split_row = {"path": row["path"], "label": label, "group": group}
            (choose if is_held_out else learn).append(split_row)
    groups = {label: {row["group"] for row in choose if row["label"] == label} for label in
              {row["label"] for row in choose}}  # fmt: skip
    return learn, [row for row in choose if len(groups[row["label"]]) > 1]


def _number(group: str) -> int:
    """Draw a number for a group, the same on every machine."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")


if __name__ == "__main__":
    main()
