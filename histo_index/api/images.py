"""From images of any kind to vectors: look up what is indexed, encode what is not."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.api.encoders import own_encoder
from histo_index.arrays import Float16
from histo_index.errors import HistoIndexError, ImageError, InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.distance import take_vectors
from histo_index.search.inputs.resolve import Located, Resolver, vectors_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from histo_index.encoder.encoder import EncodedTile, Encoder

# A path, image id or file name; a Pillow image; or uint8 RGB [H, W, 3].
ImageLike: TypeAlias = "str | Path | Image | npt.NDArray[np.uint8]"
_Result = TypeVar("_Result")


class Images:
    """The images that an open index is asked about.

    Vectors of images in memory are kept by the name that `name` returns for them.
    """

    def __init__(self, opened: OpenIndex, *, device: str) -> None:
        """Prepare for images; nothing is loaded yet.

        Args:
            opened: the index.
            device: where images are encoded: `auto`, `cpu` or `cuda`.
        """
        self._opened = opened
        self._device = device

    @cached_property
    def encoder(self) -> "Encoder":
        """The encoder inside the index, loaded when first needed.

        Raises:
            MismatchError: it is not the encoder that the index was built with.
        """
        return own_encoder(self._opened.folder, self._opened.manifest, device=self._device)

    def resolver(self, root: Path = Path(), vectors: dict[str, Float16] | None = None) -> Resolver:
        """Return a resolver of names.

        Args:
            root: folder of files that are not in the index.
            vectors: name to vector of images in memory.
        """
        return Resolver(self._opened, self._encode_files, root=root, given=vectors)

    def name(self, image: Any, vectors: dict[str, Float16]) -> str:
        """Return the name of an image; encode one in memory and enter its vector in `vectors`."""
        if image is None or isinstance(image, str | Path):
            return str(image or "")
        located = encode_image(self.encoder, image)
        name = f"image in memory {len(vectors) + 1}"
        vectors[name] = vectors_of(self._opened, located.vector[None])[0]
        return name

    def locate(self, images: Sequence[ImageLike]) -> list[Located | HistoIndexError]:
        """Return the vector of each image, or the error that prevents it.

        A file takes precedence over an image id of the same name.
        """
        in_memory: dict[str, Float16] = {}
        names = [self.name(image, in_memory) for image in images]
        distinct = list(dict.fromkeys(names))
        resolved = self.resolver(vectors=in_memory).resolve(distinct, prefer_files=True)
        is_found = resolved.places >= 0
        vectors = iter(take_vectors(self._opened, resolved.extra, resolved.places[is_found]))
        by_name = {
            name: problem or self._located(name, next(vectors), int(row))
            for name, problem, row in zip(distinct, resolved.problems, resolved.places, strict=True)
        }
        return [by_name[name] for name in names]

    def find_file(self, image: ImageLike, folder: Path) -> Path | None:
        """Return the file of an image: the user's own, else the indexed one below a folder."""
        if not isinstance(image, str | Path):
            return None
        if (file := self.resolver().file_of(str(image))) is not None:
            return file
        row = int(self._opened.find_names(pa.array([str(image)]))[0])
        return folder / self._opened.row(row)["path"] if row >= 0 else None

    def _located(self, name: str, vector: Float16, row: int) -> Located:
        if row >= len(self._opened):
            return Located(name=name, vector=vector, image_id=None, row=None)
        image_id = self._opened.row(row)["image_id"]
        return Located(name=name, vector=vector, image_id=image_id, row=row)

    def _encode_files(self, paths: Iterable[Path]) -> "Iterator[EncodedTile | ImageError]":
        return self.encoder.encode_files(paths)


def encode_image(encoder: "Encoder", image: Any) -> Located:
    """Encode one image.

    Raises:
        InputError: the file does not exist.
        ImageError: the image cannot be used.
    """
    if isinstance(image, str | Path):
        if not Path(image).is_file():
            raise InputError(f"{image}: no such file")
        (tile,) = raise_errors(encoder.encode_files([Path(image)]))
        return Located(name=str(image), vector=tile.embedding.astype(np.float16))
    from histo_index.encoder.decode.in_memory import to_pixels

    vector = encoder.encode_pixels([to_pixels(image)])[0].astype(np.float16)
    return Located(name="image", vector=vector)


def raise_errors(results: Iterable[_Result | HistoIndexError]) -> list[_Result]:
    """Return the results; raise the first error among them."""
    found = []
    for result in results:
        if isinstance(result, HistoIndexError):
            raise result
        found.append(result)
    return found


def display_name(image: ImageLike) -> str:
    """Return the name that pictures show for an image."""
    return str(image) if isinstance(image, str | Path) else "image"
