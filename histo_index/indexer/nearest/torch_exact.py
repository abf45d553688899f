"""Exact search through torch: what `ExactSearch` finds, for many queries on a GPU.

FAISS's flat GPU index knows no filter, gives 2,048 neighbours at most and must fit on the card.
torch has none of these limits, and is there wherever tiles are encoded on a GPU.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from histo_index.arrays import Bools, Float16, Float32, Int64

# First row, float16 [n, D], and the squared length of each row, float32 [n].
Block = tuple[int, torch.Tensor, torch.Tensor]

# Left free on the card beside the vectors: a block on its way, its distances and what sorts them,
# which is up to 2 GB, and an encoder that this process may yet start there.
_WORKSPACE_BYTES: Final = 6_000_000_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BlockSizes:
    """How much is compared at a time.

    Attributes:
        vector_bytes: of a block of vectors: 32,768 rows at 2048 dimensions.
        queries: with such a block 134 MB of distances.
        neighbours: of all these queries; kept, joined and sorted they take 0.8 GB.
    """

    vector_bytes: int = 1 << 27
    queries: int = 1024
    neighbours: int = 16_000_000


def multiply(queries: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """Multiply float32 [Q, D] by float16 [n, D] to float32 [Q, n]."""
    if block.is_cuda:
        # The queries hold float16 values, so nothing is lost; sums are float32.
        return torch.mm(queries.half(), block.T, out_dtype=torch.float32)
    return queries @ block.float().T


class TorchSearch:
    """Compare queries with every vector; a `Structure`.

    Attributes:
        is_kept: whether the vectors stay on the device, or pass through it at each search.
    """

    def __init__(
        self,
        matrix: Float16,
        *,
        device: str,
        room_bytes: int,
        sizes: BlockSizes | None = None,
        multiply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = multiply,
    ) -> None:
        """Copy the vectors to a device if there is room.

        Args:
            matrix: float16 [N, D], mapped; N at least 1.
            device: `cuda`, or `cpu` to test the same code without one.
            room_bytes: how much memory of the device the vectors may take.
            sizes: of a block.
            multiply: computes the products of queries and a block of vectors.
        """
        self._matrix = matrix
        self._device = torch.device(device)
        self._sizes = sizes or BlockSizes()
        self._multiply = multiply
        self._step = max(1, self._sizes.vector_bytes // (matrix.itemsize * matrix.shape[1]))
        self._kept: list[Block] = []
        if matrix.nbytes <= room_bytes:
            self._keep()
        where = "kept there" if self.is_kept else "too many to stay there, so they pass through"
        _log.info("exact search on %s: %.1f GB, %s", device, matrix.nbytes / 1e9, where)

    @property
    def is_kept(self) -> bool:
        return bool(self._kept)

    def search(self, queries: Float32, count: int, allowed: Bools | None = None) -> Int64:
        """Return the nearest rows, nearest first within float32's rounding; see `Structure`.

        Raises:
            torch.OutOfMemoryError: the device has no memory left, whoever took it.
        """
        step = max(1, min(self._sizes.queries, self._sizes.neighbours // count))
        starts = range(0, len(queries), step)
        parts = [self._try(queries[start : start + step], count, allowed) for start in starts]
        return np.concatenate(parts) if parts else np.empty((0, count), np.int64)

    def _keep(self) -> None:
        try:
            self._kept = list(self._passing())
        except torch.OutOfMemoryError:
            self._give_back()

    def _give_back(self) -> None:
        self._kept = []
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _try(self, queries: Float32, count: int, allowed: Bools | None) -> Int64:
        try:
            return self._compare(queries, count, allowed)
        except torch.OutOfMemoryError:
            if not self.is_kept:
                raise
        # Another program on a shared card has taken what was free.
        self._give_back()
        return self._compare(queries, count, allowed)

    @torch.inference_mode()
    def _compare(self, queries: Float32, count: int, allowed: Bools | None) -> Int64:
        asked = torch.tensor(queries, device=self._device)  # [Q, D]
        may = None if allowed is None else torch.tensor(allowed, device=self._device)  # [N]
        gaps = torch.empty((len(queries), 0), device=self._device)
        rows = torch.empty((len(queries), 0), dtype=torch.int64, device=self._device)
        for start, block, lengths in self._kept or self._passing():
            # Less the query's own squared length, which is the same for all rows.
            found = lengths - 2 * self._multiply(asked, block)  # [Q, n]
            if may is not None:
                found.masked_fill_(~may[start : start + len(block)], torch.inf)
            near = found.topk(min(count, len(block)), largest=False, sorted=False)
            gaps = torch.cat([gaps, near.values], dim=1)
            rows = torch.cat([rows, near.indices + start], dim=1)
            best = gaps.topk(min(count, gaps.shape[1]), largest=False)
            gaps, rows = best.values, rows.gather(1, best.indices)
        rows = torch.nn.functional.pad(
            rows.masked_fill(gaps.isinf(), -1), (0, count - rows.shape[1]), value=-1
        )
        nearest: Int64 = rows.cpu().numpy()
        return nearest

    def _passing(self) -> Iterator[Block]:
        """Copy the vectors to the device, block by block."""
        is_cuda = self._device.type == "cuda"
        for start in range(0, len(self._matrix), self._step):
            rows = self._matrix[start : start + self._step]
            # Pinned, it is copied while the next one is read. torch keeps it until that is done.
            host = torch.empty(rows.shape, dtype=torch.float16, pin_memory=is_cuda)
            np.copyto(host.numpy(), rows)
            block = host.to(self._device, non_blocking=True)
            lengths = torch.linalg.vector_norm(block, dim=1, dtype=torch.float32).square()
            yield start, block, lengths


def start_on_gpu(matrix: Float16) -> TorchSearch:
    """Search on the first GPU, which keeps the vectors if it has room."""
    free, _ = torch.cuda.mem_get_info()
    return TorchSearch(matrix, device="cuda", room_bytes=free - _WORKSPACE_BYTES)
