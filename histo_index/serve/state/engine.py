"""What decodes and encodes for the server: one pool of decoder processes and one runtime."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from histo_index.api.encoders import no_encoder, own_encoder
from histo_index.arrays import Float16
from histo_index.encoder.decode.decoder_process import Deaths
from histo_index.encoder.decode.image_file import DecodeLimits
from histo_index.encoder.decode.pictures import (
    Asked,
    Box,
    GreyFile,
    Picture,
    PictureWork,
    ReadUpload,
    ShowFile,
    Shown,
)
from histo_index.encoder.decode.pool import DecodePool
from histo_index.encoder.decode.thumbnail import TileThumbnail
from histo_index.encoder.encoder import Encoder
from histo_index.errors import ImageError, InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.serve.config import Limits
from histo_index.serve.safety.refusal import RefusalError

_WORKERS: Final = 2
_CACHE_BYTES: Final = 64 * 2**20
_GONE: Final = "the file of this tile is gone, or is not what was indexed; build the index again"


class Engine:
    """Decodes tiles and uploads in other processes, and encodes uploads.

    Attributes:
        fingerprint: of the encoder that it was made for.
    """

    def __init__(self, index: OpenIndex, *, device: str, limits: Limits) -> None:
        """Prepare for images of an index; nothing starts before the first.

        Raises:
            MismatchError: the encoder in the folder is not that of the index.
        """
        self.fingerprint = index.manifest.fingerprint
        self._reason = no_encoder(index.folder, index.manifest)
        self._encoder: Encoder | None = None
        if self._reason is None:
            self._encoder = own_encoder(index.folder, index.manifest, device=device)
        work = PictureWork(
            limits=DecodeLimits(max_pixels=limits.pixels, max_bytes=limits.upload_bytes),
            preprocessing=self._encoder.config.preprocessing if self._encoder else None,
        )
        self._pool: DecodePool[Asked, Shown] = DecodePool(
            work,
            workers=_WORKERS,
            chunk=1,
            chunk_timeout_s=limits.decode_s,
            deaths=Deaths(limits.slide_rest_s),
        )
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str, int | None], bytes] = OrderedDict()
        self._bytes = 0

    def read_upload(self, data: bytes, box: Box | None) -> Picture:
        """Decode an uploaded image.

        Raises:
            InputError: the index encodes no images.
            ImageError: it is not one, too large or damaged.
        """
        if self._reason is not None:
            raise InputError(self._reason)
        found = self._ask(ReadUpload(data=data, box=box))
        assert isinstance(found, Picture)
        return found

    def embed(self, picture: Picture) -> Float16:
        """Encode an upload: float16 [D], of unit length. One at a time.

        Raises:
            ImageError: its features cannot be used.
        """
        assert self._encoder is not None
        assert picture.prepared is not None
        (tile,) = self._encoder.encode_prepared([picture.prepared])
        if isinstance(tile, ImageError):
            raise tile
        return tile.embedding.astype(np.float16)

    def warm_up(self) -> None:
        """Start the decoders and load the network; nothing if it encodes no images."""
        if self._reason is not None:
            return
        assert self._encoder is not None
        # No image: a decoder starts, and refuses it.
        next(self.read_greys([Path(os.devnull)], 8))
        self._encoder.encode_pixels([np.zeros((64, 64, 3), np.uint8)])

    def show_tile(self, path: Path, sha256: str, side_px: int | None) -> bytes:
        """Return the picture of an indexed tile, JPEG or at full size PNG.

        Raises:
            RefusalError: its file is gone or was changed since.
        """
        key = (str(path), sha256, side_px)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        try:
            found = self._ask(ShowFile(path=path, side_px=side_px))
        except ImageError as error:
            raise RefusalError(404, _GONE) from error
        assert isinstance(found, Picture)
        if found.sha256 not in ("", sha256):
            raise RefusalError(404, _GONE)
        if side_px is not None:
            self._keep(key, found.data)
        return found.data

    def read_greys(self, paths: Sequence[Path], size_px: int) -> Iterator[TileThumbnail | None]:
        """Read thumbnails as `read_thumbnails` does, but in the decoder processes."""
        asked = (GreyFile(path=path, size_px=size_px) for path in paths)
        for found in self._pool.prepare(asked):
            yield found if isinstance(found, TileThumbnail) else None

    def _ask(self, request: Asked) -> Shown:
        (found,) = self._pool.prepare([request])
        if isinstance(found, ImageError):
            raise found
        return found

    def _keep(self, key: tuple[str, str, int | None], data: bytes) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = data
                self._bytes += len(data)
            while self._bytes > _CACHE_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def close(self) -> None:
        """End the decoder processes."""
        self._pool.close()
