"""The part of `Index` that reads what the index holds: tiles, arrays, tables, surveys."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

import numpy as np
import pyarrow as pa

from histo_index.arrays import Float32
from histo_index.errors import InputError
from histo_index.indexer.format.manifest import Manifest
from histo_index.indexer.reader import OpenIndex

if TYPE_CHECKING:
    from histo_index.search.answers.removal import RemoveReport
    from histo_index.search.copies.tile_files import TileFiles


class Contents:
    """The tiles of an open index. Rows are counted from 0 to N-1; removed tiles have none.

    Attributes:
        opened: the generation behind it.
    """

    opened: OpenIndex

    @property
    def manifest(self) -> Manifest:
        """The record of the contents of the index and how it was built."""
        return self.opened.manifest

    def __len__(self) -> int:
        """Return the number of tiles; removed ones do not count."""
        return self.manifest.tiles

    def __iter__(self) -> Iterator[str]:
        """Yield the image ids, in the order of rows."""
        from histo_index.api.contents.arrays import iterate_ids

        return iterate_ids(self.opened)

    def __contains__(self, name: object) -> bool:
        """Return whether a name is the image id, the path or the unique file name of a tile."""
        if not isinstance(name, str | Path):
            return False
        return bool(self.opened.find_names(pa.array([str(name)]))[0] >= 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files of the index. Arrays and tables that it returned stay valid."""
        if isinstance(self.opened, OpenIndex):
            self.opened = cast(OpenIndex, _Closed(self.opened.folder))

    def __repr__(self) -> str:
        from histo_index.api.contents.show import describe

        return describe(self.opened) if isinstance(self.opened, OpenIndex) else repr(self.opened)

    def _repr_html_(self) -> str | None:
        """Describe the index for a notebook."""
        from histo_index.api.contents.show import describe_html

        return describe_html(self.opened) if isinstance(self.opened, OpenIndex) else None

    def embeddings(self, rows: Any = None) -> Float32:
        """Read embeddings as they are stored: what the encoder computed, of unit length.

        Args:
            rows: which tiles: rows, a boolean mask [N], or image ids; default: all.

        Returns:
            float32 [N, D], or [n, D] in the order of `rows`; stored as float16.

        Raises:
            InputError: there is no such tile.
            IndexFormatError: a shard is damaged, or was replaced since the index was opened.
        """
        from histo_index.api.contents.arrays import find_rows, read_embeddings

        return read_embeddings(self.opened, find_rows(self.opened, rows))

    def vectors(self, rows: Any = None) -> Float32:
        """Read vectors: what is compared. The distance of two is `2 - 2 * (a @ b)`.

        Args:
            rows: as for `embeddings`.

        Returns:
            float32 [N, V], or [n, V] in the order of `rows`; equal to the embeddings where
            distances are plain.

        Raises:
            InputError: there is no such tile.
            IndexFormatError: the vectors file is damaged where these rows lie.
        """
        from histo_index.api.contents.arrays import find_rows

        return self.opened.vectors(find_rows(self.opened, rows)).astype(np.float32)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the columns of all tiles, a row per tile in the order of iteration.

        Nothing is read from disk before a column is used.

        Args:
            columns: their names; default: all but `embedding`, which can be named.

        Raises:
            InputError: there is no such column, or it is private.
        """
        from histo_index.api.contents.arrays import read_table

        return read_table(self.opened, columns)

    def duplicates(
        self, *, threshold: float | None = None, tiles: "str | Path | TileFiles | None" = None
    ) -> pa.Table:
        """Find copies; see `search.answers.duplicates.find_duplicates`.

        Args:
            threshold: largest plain distance of a copy; see there for the default.
            tiles: folder of the tile files, or how they are read; default: where they were indexed.
        """
        from histo_index.search.answers.duplicates import find_duplicates

        files = self._tile_files(tiles)
        return find_duplicates(self.opened, threshold=threshold, files=files)

    def _tile_files(self, given: "str | Path | TileFiles | None") -> "TileFiles | None":
        from histo_index.api.tile_files import tile_files

        return tile_files(self.opened, given)

    def outliers(self, *, count: int = 20) -> pa.Table:
        """List the most isolated tiles; see `search.answers.duplicates.find_outliers`."""
        from histo_index.search.answers.duplicates import find_outliers

        return find_outliers(self.opened, count=count)

    def close_pairs(self, threshold: float, output: str | Path) -> int:
        """Write all pairs within a distance to Parquet and return their number."""
        from histo_index.search.neighbours.close_pairs import write_close_pairs

        return write_close_pairs(self.opened, threshold, Path(output))

    def remove(
        self,
        *,
        where: str | None = None,
        names: Iterable[str] | None = None,
        rule: bool | None = None,
        purge: bool = False,
    ) -> "RemoveReport":
        """Remove tiles permanently; this open index keeps them. See `search.answers.removal`."""
        from histo_index.search.answers.removal import RemoveConfig, remove

        listed = None if names is None else [str(name) for name in names]
        return remove(self.opened, RemoveConfig(where=where, names=listed, rule=rule, purge=purge))


class _Closed:
    """Stands in for a closed index: any use of it says so."""

    def __init__(self, folder: Path) -> None:
        self._closed = folder

    def __repr__(self) -> str:
        return f"<Index {self._closed}: closed>"

    def __getattr__(self, name: str) -> NoReturn:
        raise InputError(f"{self._closed}: this index was closed; open it again")
