"""What is exported: the columns of tiles and their embeddings, block by block."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from histo_index.arrays import Float16


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Tiles of an index.

    Attributes:
        table: `image_id` and other columns, [N].
        size: D.
        blocks: reads the embeddings in order: float16 [n, D].
    """

    table: pa.Table
    size: int
    blocks: Callable[[], Iterator[Float16]]
