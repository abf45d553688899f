"""An encoder that decodes as the real one does, and spares the network."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from histo_index.encoder.decode.image_file import DEFAULT_MAX_PIXELS, DecodeLimits
from histo_index.encoder.decode.pool import DecodePool
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.decode.worker import DecodeSettings, PreparedTile
from histo_index.errors import ImageError
from tests.indexer.fakes import FakeEncoder, FakeTile, embedding_of


@dataclass(kw_only=True)
class DecodingEncoder(FakeEncoder):
    """Real decoder processes, kept over many builds; the embedding follows from the pixels alone.

    Attributes:
        workers: how many processes decode.
        pool: those processes.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    workers: int = 2
    pool: DecodePool[Path, PreparedTile] = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        settings = DecodeSettings(
            limits=DecodeLimits(max_pixels=self.max_pixels),
            preprocessing=Preprocessing(resize_px=16, crop_px=16),
        )
        self.pool = DecodePool(settings, workers=self.workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.pool.close()

    def encode_files(self, paths: Iterable[Path]) -> Iterator[FakeTile | ImageError]:
        for tile in self.pool.prepare(paths):
            if isinstance(tile, ImageError):
                yield tile
                continue
            yield FakeTile(
                embedding=embedding_of(tile.pixels.tobytes(), self.embedding_size),
                sha256=tile.sha256,
                width=tile.width,
                height=tile.height,
                note=tile.note,
            )
