"""A process that encodes shards for a build."""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from histo_index.errors import InputError
from histo_index.hardware import CORES_VARIABLE, cpu_kind
from histo_index.indexer.encoder_protocol import Encode
from histo_index.indexer.format.shards import Receipt, read_receipt, receipt_path
from histo_index.indexer.runner import Assignment, Place
from histo_index.indexer.writing.embedding_store import EmbeddingStore
from histo_index.indexer.writing.shard_tasks import Step, run_tasks

MakeEncode = Callable[[], Encode]


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a worker did.

    Attributes:
        receipts: of the tasks, in their order.
        outcomes: tiles by outcome, as in `Step`.
        host: name of the machine.
        seconds: wall time.
    """

    receipts: tuple[Receipt, ...]
    outcomes: Mapping[str, int]
    host: str
    seconds: float


class ShardWorker:
    """Encodes shards, one call after the other, with one encoder."""

    def __init__(self, make_encode: MakeEncode, *, cores: int, gpus: str | None = None) -> None:
        """Prepare; the encoder is opened by `start`.

        Args:
            make_encode: opens the encoder.
            cores: how many cores of its machine the worker may use.
            gpus: which GPUs it may use, as in CUDA_VISIBLE_DEVICES; None is all that it sees.
        """
        self._make_encode = make_encode
        self._cores = cores
        self._gpus = gpus
        self._encode: Encode | None = None

    def start(self) -> Mapping[str, str]:
        """Open the encoder.

        Returns:
            What will compute the embeddings: runtime, device, precision, kind of CPU.
        """
        os.environ[CORES_VARIABLE] = str(self._cores)
        if self._gpus is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self._gpus
        self._encode = self._make_encode()
        return self._describe()

    def run(self, assignments: Sequence[Assignment], place: Place) -> Done:
        """Encode and publish shards; those that are published already are left as they are.

        Raises:
            InputError: this machine does not see the tiles.
            OSError: the disk is full or not writable.
        """
        started = time.monotonic()
        _require_tiles(place.root)
        outcomes: Counter[str] = Counter()

        def count(step: Step) -> None:
            outcomes[step.outcome] += 1

        published = [entry for entry in assignments if _path(entry, place).exists()]
        for entry in published:  # by a worker that was lost before it could report
            outcomes.update(_outcomes_of(entry, read_receipt(_path(entry, place)), place))
        for _ in self._write([e for e in assignments if e not in published], place, count):
            pass
        # What is on disk counts: another worker may have been first.
        receipts = [read_receipt(_path(entry, place)) for entry in assignments]
        return Done(
            receipts=tuple(receipts),
            outcomes=outcomes,
            host=socket.gethostname(),
            seconds=time.monotonic() - started,
        )

    def _write(
        self, assignments: Sequence[Assignment], place: Place, count: Callable[[Step], None]
    ) -> Iterator[Receipt]:
        assert self._encode is not None
        known = {shard.receipt.shard_id: shard for entry in assignments for shard in entry.finished}
        return run_tasks(
            [entry.task for entry in assignments],
            self._encode,
            store=EmbeddingStore(place.folder, list(known.values())),
            folder=place.folder,
            root=place.root,
            progress=count,
            labels={"cpu": cpu_kind()},
        )

    def _describe(self) -> Mapping[str, str]:
        assert self._encode is not None
        return {**self._encode.describe(), "cpu": cpu_kind()}


def _require_tiles(root: Path) -> None:
    """Refuse a machine where the tiles are not mounted: it would reject every tile."""
    try:
        with os.scandir(root) as entries:
            is_there = next(entries, None) is not None
    except OSError:
        is_there = False
    if not is_there:
        raise InputError(
            f"{root}: not there, or empty, on machine {socket.gethostname()}; every machine must "
            "see the tiles under the same path"
        )


def _path(entry: Assignment, place: Place) -> Path:
    return receipt_path(place.folder, entry.task.shard_id)


def _outcomes_of(entry: Assignment, receipt: Receipt, place: Place) -> dict[str, int]:
    """Count what was done with the tiles of a finished task."""
    (known,) = EmbeddingStore(place.folder, entry.finished).locate([entry.task])
    copied = min(int((known >= 0).sum()), receipt.rows)
    return {
        "copied": copied, "encoded": receipt.rows - copied, "rejected": len(receipt.rejected),
    }  # fmt: skip
