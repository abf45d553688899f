"""`plan.parquet`: what a build is about to do, on disk while it runs or after it was interrupted.

The next build reads from it how many tiles a shard holds, so that it cuts the same shards, and
which sources were about to be added. `info` reads from it how far the build came.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from histo_index.indexer.format.records import SourceRecord, read_record
from histo_index.indexer.format.shards import write_parquet
from histo_index.indexer.writing.commit import PLAN_NAME
from histo_index.indexer.writing.plan import ShardTask

_KEY: Final = b"histo_index"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """What a build decided before it encoded anything.

    Attributes:
        shard_rows: tiles per shard.
        sources: what the build lists.
    """

    shard_rows: int
    sources: tuple[SourceRecord, ...]


def write_plan(folder: Path, record: PlanRecord, tasks: Sequence[ShardTask]) -> None:
    """Write the plan: a row per tile to be encoded or copied, and the record beside them."""
    tables = [
        task.tiles.select(["image_id", "path", "sha256"]).add_column(
            0, "shard_id", pa.array([task.shard_id] * len(task.tiles))
        )
        for task in tasks
    ]
    metadata = {_KEY: json.dumps(asdict(record))}
    write_parquet(folder / PLAN_NAME, pa.concat_tables(tables).replace_schema_metadata(metadata))


def read_plan(folder: Path) -> PlanRecord | None:
    """Read what an interrupted build decided; None if there is no plan that can be read."""
    path = folder / PLAN_NAME
    try:
        with open(path, "rb") as file:
            metadata = pq.ParquetFile(file).schema_arrow.metadata or {}
        body = json.loads(metadata[_KEY])
        return read_record(PlanRecord, body)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        _log.warning("%s: cannot be used (%s); it is planned again", path, reason)
        return None
