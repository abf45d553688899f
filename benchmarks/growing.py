"""Recall of an ANN index by the number of tiles added since it was trained.

The new tiles are drawn around the same centres as those it was learnt on, or around others that lie
in directions of their own, as tiles of another tissue and stain do at worst.
"""

from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import measuring
import numpy as np
from clustered import Clusters

from histo_index.arrays import Float16
from histo_index.indexer.format.records import SearchConfig
from histo_index.indexer.nearest.candidates import CandidateSearch
from histo_index.indexer.nearest.choose import choose_structure, make_structure
from histo_index.indexer.nearest.exact import ExactSearch
from histo_index.indexer.nearest.faiss_index import add_rows, read_growing

_NEIGHBOURS: Final = 10


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--rows", type=int, default=60_000, help="N, when it is learnt")
    options.add_argument("--size", type=int, default=2048, help="D")
    options.add_argument("--queries", type=int, default=512, help="of all, and of the new ones")
    options.add_argument(
        "--shares", type=float, nargs="*", default=[0.05, 0.1, 0.25, 0.5], help="added, of N"
    )
    given = options.parse_args()
    learnt_on = Clusters(count=1000, size=given.size, spread=0.35)
    others = Clusters(count=100, size=given.size, spread=0.35, seed=1)
    vectors = learnt_on.draw(given.rows, seed=1)
    rows = [
        cells
        for name, drawn in (("around the same centres", learnt_on), ("around others", others))
        for cells in grow(name, vectors, drawn, given)
    ]
    measuring.print_machine()
    header = ("tiles added", "share of N", "recall@10 of all", "of the new ones")
    measuring.print_table(header, rows)


def grow(name: str, vectors: Float16, drawn: Clusters, given: Namespace) -> list[tuple[str, ...]]:
    """Learn a structure, let it grow, and measure after each share."""
    index, facts = learn(vectors)
    cells: list[tuple[str, ...]] = [(name, "0", f"{facts['recall']:.4f}", "-")]
    for number, share in enumerate(given.shares):
        more = drawn.draw(int(share * given.rows) - (len(vectors) - given.rows), seed=2 + number)
        add_rows(index, [more])
        vectors = np.concatenate([vectors, more])
        found = [
            recall(index, facts, vectors, first=first, count=given.queries)
            for first in (0, given.rows)
        ]
        measuring.tell(f"{name}, {share:.0%} added: {found}")
        cells.append((name, f"{share:.0%}", *(f"{value:.4f}" for value in found)))
    return cells


def learn(vectors: Float16) -> tuple[Any, Any]:
    rows, size = vectors.shape
    factory = choose_structure(rows, size, SearchConfig())
    with TemporaryDirectory() as name:
        path = Path(name) / "candidates.faiss"
        facts = make_structure(path, vectors, [vectors], factory, SearchConfig())
        return read_growing(path, path.read_bytes(), rows=rows, size=size, kept=rows), facts


def recall(index: Any, facts: Any, vectors: Float16, *, first: int, count: int) -> float:
    """Tell which share of the nearest of some tiles is proposed; those from `first` on ask."""
    drawn = np.random.default_rng(0).choice(len(vectors) - first, count, replace=False) + first
    queries = vectors[drawn].astype(np.float32)
    search = CandidateSearch(
        index, ExactSearch(vectors), effort=facts["effort"], candidates=facts["candidates"]
    )
    # The tile itself is one of them.
    found = search.search(queries, _NEIGHBOURS + 1)
    truth = ExactSearch(vectors).search(queries, _NEIGHBOURS + 1)
    hits = sum(np.isin(near, own).sum() - 1 for near, own in zip(truth, found, strict=True))
    return float(hits / (count * _NEIGHBOURS))


if __name__ == "__main__":
    main()
