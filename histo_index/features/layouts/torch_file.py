"""Tensors of CLAM, TRIDENT and slide2vec, saved by `torch.save`; no code in them is run."""

import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch

from histo_index.errors import InputError
from histo_index.features.containers.part import (
    Blocks,
    Facts,
    Part,
    one_line,
    require_matrix,
    rows_per_block,
    slide_name,
)
from histo_index.features.layouts.patches import encoder_of
from histo_index.features.layouts.slide2vec import encoder_in, read_meta, require_tiles

# What torch.load raises on damaged and foreign files.
_FAULTS: Final = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError, IndexError,
    TypeError, AttributeError, AssertionError, OverflowError, MemoryError, struct.error,
    zipfile.BadZipFile,
)  # fmt: skip


def open_pt(path: Path) -> Iterator[Part]:
    """Open a tensor N×D or 1×N×D; it is read as a whole.

    Raises:
        InputError: it is another kind of file, holds more than a tensor, or is damaged.
    """
    meta = read_meta(path)
    require_tiles(meta, path)
    tensor = _load(path)
    rows, size = require_matrix(tuple(tensor.shape), _kind(tensor), str(path))
    facts = Facts(
        path=str(path),
        tool="slide2vec" if meta else "CLAM or TRIDENT",
        slide=slide_name(path),
        encoder=encoder_in(meta) or encoder_of(path),
        rows=rows,
        size=size,
    )
    yield Part(facts=facts, blocks=lambda: _blocks(tensor.reshape(rows, size)))


def _blocks(tensor: torch.Tensor) -> Blocks:
    step = rows_per_block(tensor.shape[1], 4)
    for start in range(0, len(tensor), step):
        yield tensor[start : start + step].float().numpy(), None


def _kind(tensor: torch.Tensor) -> str:
    return "float32" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")


def _load(path: Path) -> torch.Tensor:
    try:
        if zipfile.is_zipfile(path):
            # Checksums that `torch.save` writes and `torch.load` ignores.
            with zipfile.ZipFile(path) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise ValueError(f"damaged: {damaged[:80]} in it has another checksum")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickles that it then refuses
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(found, dict):
            found = found.get("features", found)
        if not isinstance(found, torch.Tensor):
            raise TypeError(f"it holds {type(found).__name__}")
        return found.detach().to_dense()
    except _FAULTS as error:
        raise InputError(f"{path}: not a plain tensor ({_reason(error)}); pass the .h5") from error


def _reason(error: Exception) -> str:
    # The message of torch starts with advice to load the file unsafely, and ends with a link.
    said = str(error).rpartition("WeightsUnpickler error:")[2].strip().split("\n\n")[-2:][0]
    return one_line(type(error)(said.split(". ")[0][:160])) if said else one_line(error)
