"""Everything that requests share."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from histo_index.encoder.decode.pictures import Box, Picture
from histo_index.errors import HistoIndexError
from histo_index.hardware import usable_cores
from histo_index.serve.config import ServeConfig
from histo_index.serve.safety.refusal import refusal_of, refusal_of_system
from histo_index.serve.safety.token import derive
from histo_index.serve.state.current import Current
from histo_index.serve.state.engine import Engine
from histo_index.serve.state.lanes import Lane
from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.uploads import Upload, Uploads

_Result = TypeVar("_Result")

_log = logging.getLogger(__name__)


class State:
    """The index, the uploads, and the lanes in which they are worked on.

    Attributes:
        config: what the server was started with.
        uploads: images that clients uploaded.
    """

    def __init__(self, config: ServeConfig) -> None:
        """Open the index.

        Raises:
            IndexFormatError: it is missing, damaged or too new.
        """
        self.config = config
        self.current = Current(config)
        self.uploads = Uploads(derive(config.token, "uploads"), config.limits.uploads_kept)
        self._search = Lane("search", usable_cores(), config.limits)
        self._decode = Lane("pictures", 2, config.limits)
        self._encode = Lane("encode", 1, config.limits)
        self._slides = Lane("slides", 2, config.limits)
        self._others: list[Callable[[], None]] = []

    @property
    def lanes(self) -> dict[str, Lane]:
        """The lanes by what is done in them."""
        return {
            "search": self._search, "decode": self._decode, "encode": self._encode,
            "slides": self._slides,
        }  # fmt: skip

    async def ask(self, function: Callable[[Snapshot], _Result]) -> _Result:
        """Call a function with the newest state of the index, on a thread for searches.

        Raises:
            RefusalError: the function refused the request, or too many wait.
        """
        return await self._search.run(self._told, function)

    async def change(self, function: Callable[[Snapshot], _Result]) -> _Result:
        """Call a function that changes the index; nobody is sent away once it has begun."""
        return await self._search.finish(self._told, function)

    async def show(self, function: Callable[[Snapshot], _Result]) -> _Result:
        """Call a function that waits for a decoder; see `ask`."""
        return await self._decode.run(self._told, function)

    async def view(self, function: Callable[[Snapshot], _Result]) -> _Result:
        """Call a function that waits for a slide; see `ask`."""
        return await self._slides.run(self._told, function)

    async def take_in(
        self, read: Callable[[], bytes], box: Box | None, mpp: float | None
    ) -> Upload:
        """Decode, encode and keep an uploaded image.

        Args:
            read: reads its file, on a thread of the decoders: few are in memory at once.
            box: the part that is meant.
            mpp: microns per pixel; None if unknown.
        """

        def decode(snapshot: Snapshot) -> tuple[str, Engine, Picture]:
            data = read()
            engine = snapshot.engine
            return self.uploads.name(data, box, mpp), engine, engine.read_upload(data, box)

        def encode(snapshot: Snapshot) -> Upload:
            # By the engine that decoded it: a new generation may have another encoder.
            return Upload(
                upload_id=name, embedding=engine.embed(picture), fingerprint=engine.fingerprint,
                sha256=picture.sha256, picture=picture.data, width=picture.width,
                height=picture.height, mpp=mpp,
            )  # fmt: skip

        name, engine, picture = await self.show(decode)
        upload: Upload = await self._encode.run(self._told, encode)
        self.uploads.keep(upload)
        return upload

    def warm_up(self) -> Future[None]:
        """Load decoders, network and search structure, so that no client waits for that."""

        def load(snapshot: Snapshot) -> None:
            snapshot.engine.warm_up()
            _ = snapshot.opened.structure

        return self._encode.start(self._told, load)

    def close(self) -> None:
        """Finish what is being worked on and end all processes."""
        for lane in self.lanes.values():
            lane.close()
        for close in self._others:
            close()
        self.current.close()

    def close_too(self, close: Callable[[], None]) -> None:
        """Have something closed with the state, after the last request."""
        self._others.append(close)

    def _told(self, function: Callable[[Snapshot], _Result]) -> _Result:
        folders = [self.config.index]
        try:
            snapshot = self.current.get()
            folders.append(snapshot.root)
            return function(snapshot)
        except HistoIndexError as error:
            raise refusal_of(error, folders) from error
        except OSError as error:
            _log.warning("%s", error)
            raise refusal_of_system(error, self.config.index) from error
