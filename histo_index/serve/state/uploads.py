"""Uploaded images, kept in memory for as long as there is room: addresses of pages name them."""

import hmac
import threading
from collections import OrderedDict
from dataclasses import dataclass

from histo_index.arrays import Float16
from histo_index.encoder.decode.pictures import Box
from histo_index.serve.safety.refusal import RefusalError

PREFIX = "u"
_GONE = "this upload is no longer held; upload the image again"


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An image that a client uploaded.

    Attributes:
        upload_id: what the client calls it.
        embedding: float16 [D].
        fingerprint: of the encoder.
        sha256: of the file; empty for a part that was cut out.
        picture: a JPEG file.
        width: in pixels.
        height: in pixels.
        mpp: microns per pixel, where the client gave them.
    """

    upload_id: str
    embedding: Float16
    fingerprint: str
    sha256: str
    picture: bytes
    width: int
    height: int
    mpp: float | None = None


class Uploads:
    """The last uploads. They are never written to disk and end with the server."""

    def __init__(self, key: bytes, most: int) -> None:
        """Keep so many uploads."""
        self._key = key
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Upload] = OrderedDict()

    def name(self, data: bytes, box: Box | None, mpp: float | None = None) -> str:
        """Return the id of an image: the same one for the same content, box and scale."""
        content = hmac.new(self._key, data, "sha256")
        content.update(repr((box, mpp)).encode())
        return PREFIX + content.hexdigest()[:32]

    def keep(self, upload: Upload) -> None:
        """Keep an upload; the one that was used least recently may go."""
        with self._lock:
            self._kept[upload.upload_id] = upload
            self._kept.move_to_end(upload.upload_id)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def get(self, upload_id: str) -> Upload:
        """Return an upload.

        Raises:
            RefusalError: it is not held.
        """
        with self._lock:
            found = self._kept.get(upload_id)
            if found is None:
                raise RefusalError(410, _GONE)
            self._kept.move_to_end(upload_id)
            return found
