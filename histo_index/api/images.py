"""From images of any kind to vectors: look up what is indexed, encode what is not."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.api.encoders import no_encoder, own_encoder
from histo_index.api.scale.queries import QueryScales, ScaleJudge
from histo_index.arrays import Float16
from histo_index.errors import HistoIndexError, ImageError, InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.distance import take_vectors
from histo_index.search.inputs.resolve import Located, Resolved, Resolver
from histo_index.slides.reading.identity import is_there

if TYPE_CHECKING:
    from PIL.Image import Image

    from histo_index.encoder.encoder import EncodedTile, Encoder
    from histo_index.search.calibration.calibration import Calibration
    from histo_index.search.inputs.pair_list import PairList, PairsLike


class Tensor(Protocol):
    """A torch tensor, as far as it is used."""

    def detach(self) -> Any: ...


# A path, image id or file name; a Pillow image; an array or tensor as `to_pixels` takes it; or what
# `Index.locate` returned.
ImageLike: TypeAlias = "str | Path | Image | npt.NDArray[Any] | Tensor | Located"
# One image, or several: a list, array, Series, generator or batch tensor.
ImagesLike: TypeAlias = "ImageLike | Iterable[ImageLike]"
_Result = TypeVar("_Result")


class Images:
    """The images that an open index is asked about.

    Embeddings of images in memory are kept by the name that `name` returns for them.

    Attributes:
        opened: the index.
    """

    def __init__(self, opened: OpenIndex, scales: QueryScales, *, device: str) -> None:
        """Prepare for images; nothing is loaded yet.

        Args:
            opened: the index.
            scales: compares the scale of images with that of the index.
            device: where images are encoded: `auto`, `cpu` or `cuda`.
        """
        self.opened = opened
        self._device = device
        self._scales = scales

    @cached_property
    def encoder(self) -> "Encoder":
        """The encoder inside the index, loaded when first needed.

        Raises:
            MismatchError: it is not the encoder that the index was built with.
        """
        return own_encoder(self.opened.folder, self.opened.manifest, device=self._device)

    def resolver(
        self,
        root: Path = Path(),
        embeddings: dict[str, Float16] | None = None,
        judge: ScaleJudge | None = None,
    ) -> Resolver:
        """Return a resolver of names.

        Args:
            root: folder of files that are not in the index.
            embeddings: name to embedding of images in memory.
            judge: compares the scale of the images; None if they are not encoded.
        """
        return Resolver(
            self.opened,
            partial(self._encode_files, judge=judge),
            root=root,
            given=embeddings,
            check_rows=None if judge is None else judge.check_rows,
        )

    def name(self, image: Any, embeddings: dict[str, Float16], judge: ScaleJudge) -> str:
        """Return the name of an image; encode one in memory and enter it in `embeddings`.

        Raises:
            ImageError: an image in memory cannot be used, or is of quite another scale.
        """
        if image is None or isinstance(image, str | Path):
            return str(image or "")
        # Imported here: it brings Pillow, which names do without.
        from histo_index.encoder.decode.in_memory import to_pixels

        name, pixels = f"image in memory {len(embeddings) + 1}", to_pixels(image)
        height, width = pixels.shape[:2]
        if refused := judge.check_image(name, None, width, height):
            raise refused
        embeddings[name] = encode_image(self.encoder, pixels).vector
        return name

    def read_pairs(
        self,
        pairs: "PairsLike",
        resolver: Resolver,
        embeddings: dict[str, Float16],
        judge: ScaleJudge,
    ) -> "PairList":
        """Read pairs of any form; encode those in memory and enter them in `embeddings`.

        Raises:
            InputError: the list cannot be used as a whole.
        """
        from histo_index.search.inputs.pair_list import is_rows, list_pairs, read_pairs

        if not is_rows(pairs):
            return read_pairs(pairs, [resolver.are_indexed, resolver.are_files])
        return list_pairs(
            [
                [*(self.name(image, embeddings, judge) for image in row[:2]), *row[2:]]
                for row in pairs
            ]
        )

    def locate(
        self, images: Sequence[ImageLike], calibration: "Calibration | None" = None
    ) -> list[Located | HistoIndexError]:
        """Return the vector of each image, or the error that prevents it.

        A file takes precedence over an image id of the same name.

        Args:
            images: the images.
            calibration: what decides about them; its scale is compared with theirs.
        """
        given = {id(image): image for image in images if isinstance(image, Located)}
        rest = [image for image in images if id(image) not in given]
        with self.judging(calibration) as judge:
            others = iter(self._locate(rest, judge) if rest else ())
        return [given[id(image)] if id(image) in given else next(others) for image in images]

    @contextmanager
    def judging(self, calibration: "Calibration | None") -> Iterator[ScaleJudge]:
        """Compare the scale of images with that of the index and of a calibration; log at the end.

        Args:
            calibration: what decides about the images; None if nothing does.
        """
        judge = ScaleJudge(self._scales, calibration)
        yield judge
        judge.log()

    def _locate(
        self, images: Sequence[ImageLike], judge: ScaleJudge
    ) -> list[Located | HistoIndexError]:
        in_memory: dict[str, Float16] = {}
        names = [self.name(image, in_memory, judge) for image in images]
        distinct = list(dict.fromkeys(names))
        has_encoder = no_encoder(self.opened.folder, self.opened.manifest) is None
        resolver = self.resolver(embeddings=in_memory, judge=judge)
        resolved = resolver.resolve(distinct, prefer_files=has_encoder)
        is_found = resolved.rows >= 0
        vectors = iter(take_vectors(self.opened, resolved.extra, resolved.rows[is_found]))
        by_name = {
            name: problem or self._located(name, number, resolved, next(vectors))
            for number, (name, problem) in enumerate(zip(distinct, resolved.problems, strict=True))
        }
        return [by_name[name] for name in names]

    def find_file(self, image: ImageLike, folder: Path) -> Path | None:
        """Return the file of an image: the user's own, else the indexed one below a folder."""
        if not isinstance(image, str | Path):
            return None
        if (file := self.resolver().file_of(str(image))) is not None:
            return file
        row = int(self.opened.find_names(pa.array([str(image)]))[0])
        return folder / self.opened.row(row)["path"] if row >= 0 else None

    def _located(self, name: str, number: int, resolved: Resolved, vector: Float16) -> Located:
        row = int(resolved.rows[number])
        if row >= len(self.opened):
            embedding = resolved.embeddings[row - len(self.opened)]
            file = resolved.files[number]
            return Located(name=name, vector=vector, embedding=embedding, file=file)
        image_id = self.opened.row(row)["image_id"]
        return Located(name=name, vector=vector, image_id=image_id, row=row)

    def _encode_files(
        self, paths: Iterable[Path], *, judge: ScaleJudge | None
    ) -> "Iterator[EncodedTile | ImageError]":
        if reason := no_encoder(self.opened.folder, self.opened.manifest):
            yield from (ImageError(f"{path}: {reason}") for path in paths)
            return
        asked = list(paths)
        for path, result in zip(asked, self.encoder.encode_files(asked), strict=True):
            refused = None
            if judge is not None and not isinstance(result, ImageError):
                refused = judge.check_image(str(path), path, result.width, result.height)
            yield refused or result


def encode_image(encoder: "Encoder", image: Any) -> Located:
    """Encode one image.

    Raises:
        InputError: the file does not exist.
        ImageError: the image cannot be used.
    """
    if isinstance(image, str | Path):
        if not is_there(image):
            raise InputError(f"{image}: no such file")
        (tile,) = raise_errors(encoder.encode_files([Path(image)]))
        return Located(name=str(image), vector=tile.embedding.astype(np.float16))
    vector = encoder.encode_pixels([image])[0].astype(np.float16)
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


def listed(images: Any) -> list[Any]:
    """List the images that a caller passed, one or several of any kind; see `list_images`."""
    if isinstance(images, str | Path):
        return [images]
    if isinstance(images, list | tuple):
        return list(images)
    # Imported here: it brings Pillow, which names do without.
    from histo_index.encoder.decode.in_memory import list_images

    return list_images(images)
