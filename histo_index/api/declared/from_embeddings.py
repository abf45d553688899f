"""Make an index from embeddings that another program computed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.api.index import Index
from histo_index.arrays import Float16
from histo_index.errors import InputError, ShapeError
from histo_index.features.unit_rows import is_usable, unit_rows
from histo_index.indexer.declared.build import build_from_embeddings, require_new
from histo_index.indexer.declared.given import DeclaredConfig, GivenEmbeddings
from histo_index.indexer.declared.shard_writer import GivenRows
from histo_index.indexer.inputs.columns import plain_columns
from histo_index.indexer.inputs.tile_list import RESERVED
from histo_index.indexer.private import PrivateColumns
from histo_index.wording import printable

# Columns that the ids fill, and those that the index writes.
_TAKEN: Final = {"image_id", "path", *RESERVED}
_CHUNK_ROWS: Final = 4096


def from_embeddings(
    ids: Iterable[Any],
    array: Any,
    output: str | Path,
    metadata: Any = None,
    encoder: str = "embeddings",
    *,
    distance: str | None = None,
    private: Sequence[str] = (),
) -> Index:
    """Make an index from embeddings; nothing is encoded.

    The index answers about these tiles only: it has no encoder, so it takes no new image. Nothing
    is published about the encoder's distances: run `calibrate` for verdicts.

    Args:
        ids: a distinct image id for each tile, [N]. Pictures show a tile if its id is the path of
            its file, relative to the working directory or to `tiles=`.
        array: floats [N, D], an array or tensor; rows are scaled to unit length.
        output: a new index folder.
        metadata: columns of the tiles, such as `label` and `group`: a DataFrame, an Arrow table or
            a dict of N values each.
        encoder: what the embeddings were computed by; kept in the manifest.
        distance: `diffused` or `plain`; default: diffused from 100 tiles on.
        private: columns that are shown, exported and used in filters only on request.

    Returns:
        The new index.

    Raises:
        InputError: ids, metadata or output cannot be used.
        ShapeError: the array is not [N, D], or a row is not finite or of length 0.
        OSError: the disk is full or not writable.
    """
    names = _require_ids(ids)
    columns = _read_metadata(metadata, len(names))
    private = [private] if isinstance(private, str) else private
    settled = PrivateColumns(add=private).settle(None, columns.column_names)
    folder = Path(output)
    require_new(folder)
    embeddings = _unit_rows(array, names)
    source = _Given(names=names, embeddings=embeddings, columns=columns)
    given = GivenEmbeddings(
        encoder=encoder, size=embeddings.shape[1], sources=[source], total=len(names)
    )
    config = DeclaredConfig(output=folder, distance=distance, private=tuple(settled))
    build_from_embeddings(config, given)
    return Index(folder)


@dataclass(frozen=True, kw_only=True)
class _Given:
    """Tiles in memory."""

    names: Sequence[str]
    embeddings: Float16
    columns: pa.Table
    name: str = "array"

    def blocks(self) -> Iterator[GivenRows]:
        ids = pa.array(self.names, pa.string())
        tiles = pa.table({"image_id": ids, "path": ids})
        for name in self.columns.column_names:
            tiles = tiles.append_column(name, self.columns[name])
        yield GivenRows(tiles=tiles, embeddings=self.embeddings)


def _require_ids(ids: Iterable[Any]) -> list[str]:
    names = [str(name) for name in (ids.to_pylist() if hasattr(ids, "to_pylist") else ids)]
    if not names:
        raise InputError("no ids; expected one for each row of the array")
    seen: set[str] = set()
    for position, name in enumerate(names):
        problem = "empty" if not name.strip() else "there twice" if name in seen else None
        if problem:
            raise InputError(f"id {printable(name)!r} of row {position:,} is {problem}")
        seen.add(name)
    return names


def _unit_rows(array: Any, names: Sequence[str]) -> Float16:
    """Scale rows to unit length: float16 [N, D]."""
    values: npt.NDArray[Any] = np.asarray(
        array.detach().cpu().float() if hasattr(array, "detach") else array
    )
    is_matrix = values.ndim == 2 and values.shape[1] > 0
    if not is_matrix or values.dtype.kind not in "fiu" or len(values) != len(names):
        raise ShapeError(
            f"embeddings are {values.dtype} {list(values.shape)}; expected floats "
            f"[{len(names)}, D], a row for each id"
        )
    found = np.empty(values.shape, np.float16)
    for start in range(0, len(values), _CHUNK_ROWS):
        chunk = values[start : start + _CHUNK_ROWS]
        found[start : start + len(chunk)], lengths = unit_rows(chunk)
        if not (usable := is_usable(lengths)).all():
            row = start + int(np.flatnonzero(~usable)[0])
            raise ShapeError(
                f"embedding of {printable(names[row])} (row {row:,}) has length "
                f"{lengths[row - start]:g}; expected finite numbers that are not all 0"
            )
    return found


def _read_metadata(metadata: Any, count: int) -> pa.Table:
    if metadata is None:
        return pa.table({})
    try:
        table = plain_columns(_as_table(metadata))
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = printable(" ".join(str(error).split()))[:200]
        raise InputError(f"metadata: not a table of plain columns ({reason})") from error
    if taken := sorted(_TAKEN & set(table.column_names)):
        raise InputError(f"metadata: column `{taken[0]}` is written by the index; rename it")
    if len(table) != count:
        raise InputError(f"metadata: {len(table):,} rows; expected {count:,}, one for each id")
    return table


def _as_table(metadata: Any) -> pa.Table:
    if hasattr(metadata, "iloc"):  # pandas, whose index is no column
        table = pa.Table.from_pandas(metadata, preserve_index=False)
    elif isinstance(metadata, Mapping):
        table = pa.table({name: pa.array(list(values)) for name, values in metadata.items()})
    else:
        table = pa.table(metadata)
    return table.replace_schema_metadata(None)
