"""Encode tiles on the best runtime of this machine: a stream of images in, embeddings out."""

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from histo_index.arrays import Float32, Pixels
from histo_index.encoder.config import THRESHOLD_FIELDS, EncoderConfig
from histo_index.encoder.decode.image_file import DecodeLimits
from histo_index.encoder.decode.in_memory import ImageInMemory, list_images, to_pixels
from histo_index.encoder.decode.pool import DecodePool, Prepared
from histo_index.encoder.decode.preprocessing import fit_tile
from histo_index.encoder.decode.worker import DecodeSettings, PreparedTile
from histo_index.encoder.folder import EncoderFolder, load_encoder
from histo_index.encoder.forking import keep_in_children, require_same_process
from histo_index.encoder.runtime.choose import Runtime, require_possible, start_runtime
from histo_index.errors import ImageError, InputError
from histo_index.hardware import usable_cores


@dataclass(frozen=True, kw_only=True)
class EncodedTile:
    """The embedding of one tile, with what a shard stores about its file.

    Attributes:
        embedding: float32 [D], of unit length.
        sha256: hex digest of the encoded file.
        width: in pixels, orientation applied.
        height: in pixels, orientation applied.
        note: what decoding and fitting left out or made up, or None.
    """

    embedding: Float32
    sha256: str
    width: int
    height: int
    note: str | None


class Encoder:
    """An encoder on a runtime.

    Attributes:
        config: the description of the encoder.
        fingerprint: embeddings with different fingerprints cannot be compared.
        folder: the encoder folder.
    """

    def __init__(
        self,
        encoder: EncoderFolder,
        *,
        device: str = "auto",
        precision: str = "auto",
        limits: DecodeLimits | None = None,
    ) -> None:
        """Choose a runtime. It starts with the first image.

        Args:
            encoder: read by `load_encoder`.
            device: one of DEVICES; `auto` is a GPU if there is one.
            precision: one of PRECISIONS; `auto` is bfloat16 on a GPU or a CPU that has it, else
                float32.
            limits: the largest accepted images.

        Raises:
            InputError: device or precision is unknown, they do not fit together, or there is no
                GPU that was asked for.
        """
        require_possible(device, precision)
        self.folder = encoder.path
        self.config: EncoderConfig = encoder.config
        self._encoder = encoder
        self._device = device
        self._precision = precision
        self.fingerprint = encoder.fingerprint
        self.limits = limits or DecodeLimits()
        self._runtime: Runtime | None = None
        self._process = 0  # id of the process that started the runtime

    @property
    def embedding_size(self) -> int:
        """D, the length of an embedding."""
        return self.config.embedding_size

    @property
    def runtime(self) -> Runtime:
        """The network on the device, loaded when first used, and again in a forked child.

        Raises:
            InputError: this machine has no such device, or not this precision; or this process
                was forked from one that uses a GPU.
            MismatchError: the weights are not those of the architecture.
        """
        process = os.getpid()
        if self._runtime is None or self._process != process:
            if self._runtime is not None and self._runtime.device == "cuda":
                raise InputError(
                    "a GPU cannot be used in a forked process; start processes by spawn, "
                    "or pass --device cpu"
                )
            self._runtime = start_runtime(self._encoder, self._device, self._precision)
            self._process = process
            keep_in_children(self._runtime)
        return self._runtime

    @property
    def max_pixels(self) -> int:
        """The largest number of pixels of an accepted image."""
        return self.limits.max_pixels

    def card(self) -> Mapping[str, Any]:
        """Describe the encoder for the manifest, without starting the runtime."""
        thresholds = {name: getattr(self.config, name) for name in THRESHOLD_FIELDS}
        return {
            "fingerprint": self.fingerprint,
            "architecture": self.config.architecture,
            "embedding_size": self.config.embedding_size,
            "is_trained": self.config.is_trained,
            "mpp": self.config.mpp,
            **{name: asdict(own) if own else None for name, own in thresholds.items()},
            "licence": self.config.licence,
            "declared": None,
        }

    def describe(self) -> Mapping[str, str]:
        """Describe the runtime for the record of a shard."""
        runtime = self.runtime
        return {"name": runtime.name, "device": runtime.device, "precision": runtime.precision}

    def encode_files(self, paths: Iterable[Path]) -> Iterator[EncodedTile | ImageError]:
        """Encode image files, while other processes decode the next ones.

        Args:
            paths: read lazily, a bounded number ahead.

        Yields:
            One result per path, in order: the tile, or the error it is rejected with.

        Raises:
            InputError: this machine has no such device, or not this precision.
        """
        settings = DecodeSettings(limits=self.limits, preprocessing=self.config.preprocessing)
        with DecodePool(settings, workers=usable_cores()) as pool:
            yield from self.encode_prepared(pool.prepare(paths))

    def embed(self, images: Any) -> Float32:
        """Embed images: files and images in memory, in any mixture.

        Args:
            images: one image, or several (B of them) as a list, array, Series, generator or batch
                tensor; each a path, or an image in memory as `to_pixels` takes it.

        Returns:
            float32 [B, D], rows of unit length, in the order of the images.

        Raises:
            ImageError: an image cannot be used; the first that cannot.
            InputError: this machine has no such device, or not this precision.
        """
        listed = list_images(images)
        found = np.empty((len(listed), self.embedding_size), np.float32)
        files = [at for at, image in enumerate(listed) if isinstance(image, str | os.PathLike)]
        others = sorted(set(range(len(listed))) - set(files))
        found[others] = self.encode_pixels([listed[at] for at in others])
        results = self.encode_files(Path(listed[at]) for at in files) if files else iter(())
        for at, result in zip(files, results, strict=True):
            if isinstance(result, ImageError):
                raise result
            found[at] = result.embedding
        return found

    def encode_pixels(self, images: Sequence[ImageInMemory]) -> Float32:
        """Encode images in memory.

        Args:
            images: as `to_pixels` takes them, of any size.

        Returns:
            float32 [B, D], rows of unit length.

        Raises:
            ImageError: an array is not an image, or its features are all 0 or not finite.
        """
        spec = self.config.preprocessing
        prepared = (
            PreparedTile(
                name=f"image {number}",
                pixels=fit_tile(to_pixels(image), spec),
                sha256="",
                width=0,
                height=0,
                note=None,
            )
            for number, image in enumerate(images, start=1)
        )
        rows: list[Float32] = []
        for result in self.encode_prepared(prepared):
            if isinstance(result, ImageError):
                raise result
            rows.append(result.embedding)
        return np.array(rows, np.float32).reshape(-1, self.embedding_size)

    def encode_prepared(self, prepared: Iterable[Prepared]) -> Iterator[EncodedTile | ImageError]:
        """Encode tiles that are decoded and fitted, `parallel` batches at a time.

        Args:
            prepared: tiles, or the errors that they are rejected with.

        Yields:
            One result per tile, in order.

        Raises:
            InputError: this machine has no such device, or not this precision.
        """
        runtime, process = self.runtime, os.getpid()
        pending: deque[tuple[list[Prepared], Future[Float32]]] = deque()
        # One spare batch per thread, so that no thread waits while results are consumed.
        ahead = 2 * runtime.parallel
        with ThreadPoolExecutor(runtime.parallel, thread_name_prefix="infer") as threads:
            for batch in _batches(prepared, runtime.batch):
                images = [tile.pixels for tile in batch if isinstance(tile, PreparedTile)]
                pending.append((batch, threads.submit(_embed, runtime, images)))
                if len(pending) >= ahead:
                    require_same_process(process)
                    yield from _pair_up(*pending.popleft())
            while pending:
                require_same_process(process)
                yield from _pair_up(*pending.popleft())


def open_encoder(
    folder: Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    limits: DecodeLimits | None = None,
) -> Encoder:
    """Read an encoder folder and choose its runtime; see `Encoder`."""
    return Encoder(load_encoder(folder), device=device, precision=precision, limits=limits)


def _batches(prepared: Iterable[Prepared], size: int) -> Iterator[list[Prepared]]:
    source = iter(prepared)
    while batch := list(itertools.islice(source, size)):
        yield batch


def _embed(runtime: Runtime, images: list[Pixels]) -> Float32:
    if not images:
        return np.empty((0, 0), np.float32)
    return runtime.embed(np.stack(images))


def _pair_up(batch: list[Prepared], future: Future[Float32]) -> Iterator[EncodedTile | ImageError]:
    embeddings = iter(future.result())
    for tile in batch:
        yield tile if isinstance(tile, ImageError) else _finish(tile, next(embeddings))


def _finish(tile: PreparedTile, features: Float32) -> EncodedTile | ImageError:
    # In float64: the square of a large float32 feature can overflow.
    exact = features.astype(np.float64)
    length = float(np.linalg.norm(exact))
    if not 0 < length < np.inf:
        return ImageError(
            f"{tile.name}: no usable features (their length is {length}); "
            "check the encoder's weights"
        )
    return EncodedTile(
        embedding=(exact / length).astype(np.float32),
        sha256=tile.sha256,
        width=tile.width,
        height=tile.height,
        note=tile.note,
    )
