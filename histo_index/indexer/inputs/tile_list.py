"""The list of tiles that a build was pointed at.

Every input is counted exactly once: a row of the tile table, the rejected list with its
reason, or (files of a folder that are no images by their name) the count of ignored files. Hidden
folders and indexes (`*.hx`) below a source are no input at all.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from histo_index.indexer.format.shards import Rejection

# Columns that the index writes itself.
RESERVED: Final = frozenset(("sha256", "width", "height", "note", "embedding", "stem"))


@dataclass(kw_only=True)
class TileList:
    """What a build was pointed at.

    Attributes:
        root: the folder that paths are relative to.
        table: a row per tile: `image_id`, `path`, then the user's own columns.
        rejected: inputs that cannot even be listed.
        ignored: files of a folder that are no images by their name.
        has_own_ids: image ids are those of the manifest, not paths.
        tried: where the first file of a manifest was looked for, if none of its files was found.
    """

    root: Path
    table: pa.Table
    rejected: list[Rejection] = field(default_factory=list)
    ignored: int = 0
    has_own_ids: bool = False
    tried: tuple[Path, ...] = ()
