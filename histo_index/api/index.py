"""The package from Python: open an index, ask it. The command line calls these too.

What only some questions need is imported inside them: a pair look-up must start fast.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.api.encoders import own_encoder, published_threshold, warn_if_untrained
from histo_index.api.own_calibration import OwnCalibration
from histo_index.errors import HistoIndexError, ImageError, InputError
from histo_index.indexer.format.manifest import Manifest
from histo_index.indexer.format.records import EncoderCard, read_record
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.pair import PairAnswer, answer_pair
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.distance import take_vectors
from histo_index.search.inputs.resolve import Located, Resolver, vectors_of
from histo_index.search.neighbours.novelty import far_among

if TYPE_CHECKING:
    from PIL.Image import Image

    from histo_index.api.evaluate import Pairs
    from histo_index.encoder.encoder import EncodedTile, Encoder
    from histo_index.report.write import Answer
    from histo_index.search.answers.neighbours import Answered, Neighbour, SearchOptions
    from histo_index.search.answers.pair_list import PairScores
    from histo_index.search.answers.removal import RemoveReport
    from histo_index.search.calibration.calibration import Calibration
    from histo_index.search.calibration.objectives import Objective
    from histo_index.search.evaluation.result import Evaluation
    from histo_index.search.inputs.pair_list import PairList

# A path, image id or file name; a Pillow image; or uint8 RGB [H, W, 3].
ImageLike: TypeAlias = "str | Path | Image | npt.NDArray[np.uint8]"
_Result = TypeVar("_Result")


def open(path: str | Path, *, device: str = "auto", private: bool = False) -> "Index":
    """Open an index for reading. It keeps answering from this state if it is rebuilt meanwhile.

    Args:
        path: the index folder.
        device: where unseen images are encoded: `auto`, `cpu` or `cuda`.
        private: show private columns, and allow them in filters; else they seem not to be there.

    Raises:
        IndexFormatError: it is missing, damaged, or too new.
    """
    return Index(Path(path), device=device, private=private)


def compare(
    a: ImageLike,
    b: ImageLike,
    *,
    encoder: str | Path | None = None,
    threshold: float | None = None,
    device: str = "auto",
) -> PairAnswer:
    """Compare two images without an index, by the bundled encoder or the one given.

    Raises:
        InputError: no encoder is given and none is bundled.
        ImageError: an image cannot be used.
    """
    from histo_index.encoder.encoder import open_encoder
    from histo_index.encoder.folder import bundled_encoder

    runner = open_encoder(Path(encoder) if encoder else bundled_encoder(), device=device)
    card = read_record(EncoderCard, runner.card())
    warn_if_untrained(runner.folder, is_trained=card.is_trained)
    chosen = Threshold.choose(threshold, card.threshold)
    return answer_pair(_encode_one(runner, a), _encode_one(runner, b), chosen)


class Index:
    """An open index. A copy of it, also a pickled one, opens the newest generation.

    Attributes:
        opened: the generation behind it.
    """

    def __init__(self, path: Path, *, device: str = "auto", private: bool = False) -> None:
        """Open an index; see `open`."""
        self.opened = OpenIndex(path, private=private)
        self._device = device
        self._private = private
        self._calibration = OwnCalibration(path, self.manifest)
        warn_if_untrained(path / "encoder", is_trained=self.manifest.encoder.is_trained)

    def __reduce__(self) -> tuple[Any, ...]:
        reopen = partial(type(self), device=self._device, private=self._private)
        return reopen, (self.opened.folder.absolute(),)

    def __len__(self) -> int:
        """Count the tiles, those that were removed left out."""
        return self.manifest.tiles

    @property
    def manifest(self) -> Manifest:
        """What the index is and what made it."""
        return self.opened.manifest

    @cached_property
    def encoder(self) -> "Encoder":
        """The encoder inside the index, loaded when the first unseen image comes.

        Raises:
            MismatchError: the encoder in the folder is not the one the index was built with.
        """
        return own_encoder(self.opened.folder, self.manifest, device=self._device)

    @property
    def calibration(self) -> "Calibration | None":
        """Threshold and probabilities fitted on the user's own pairs; None without a fitting one.

        Raises:
            IndexFormatError: it is damaged or too new.
        """
        return self._calibration.get(is_needed=True)

    def pair(
        self,
        a: ImageLike,
        b: ImageLike,
        *,
        threshold: float | None = None,
        unsure: bool | None = None,
    ) -> PairAnswer:
        """Tell whether two images are of the same tissue category.

        Args:
            a: a file, image id or path in the index, a Pillow image, or uint8 RGB [H, W, 3].
            b: likewise.
            threshold: overrides the index's own.
            unsure: whether the verdict may be unsure; None is as calibrated.

        Raises:
            InputError: a name is neither in the index nor a file.
            ImageError: an image cannot be used.
            IndexFormatError: a part of the index that is needed is damaged.
        """
        first, second = self.locate([a, b])
        chosen = self.threshold(threshold, unsure=unsure)
        far = far_among(self.opened, [first, second], chosen.far_distance)
        return answer_pair(first, second, chosen, far=far)

    def pairs(
        self,
        pairs: "str | Path | PairList | Iterable[Sequence[Any]]",
        *,
        threshold: float | None = None,
        unsure: bool | None = None,
        root: str | Path = ".",
    ) -> "PairScores":
        """Score a list of pairs; each unseen image is encoded once.

        Args:
            pairs: a pair-list file, `-` for standard input, or rows of two images, each as for
                `pair`, and maybe a label: 1 same, 0 different.
            threshold: overrides the index's own.
            unsure: whether verdicts may be unsure; None is as calibrated.
            root: the folder that names of unseen images are relative to.

        Returns:
            A row per pair, in the order given; rows without an answer say why.

        Raises:
            InputError: the list cannot be used as a whole.
            IndexFormatError: a part of the index that is needed is damaged.
        """
        from histo_index.search.answers.pair_list import score_pairs
        from histo_index.search.inputs.pair_list import PairList, list_pairs, read_pair_list

        given: dict[str, npt.NDArray[np.float16]] = {}
        if not isinstance(pairs, str | Path | PairList):
            rows = [[self._name(image, given) for image in row[:2]] + [*row[2:]] for row in pairs]
            pairs = list_pairs(rows)
        resolver = self._resolver(Path(root), given)
        if not isinstance(pairs, PairList):
            source = None if str(pairs) == "-" else Path(pairs)
            pairs = read_pair_list(source, [resolver.are_indexed, resolver.are_files])
        chosen = self.threshold(threshold, unsure=unsure)
        return score_pairs(self.opened, pairs, resolver, chosen)

    def search(
        self,
        images: "ImageLike | Sequence[ImageLike]",
        *,
        k: int = 10,
        exclude_self: bool = True,
        where: str | None = None,
        exclude_same: str | Sequence[str] = (),
        near_duplicates: str = "keep",
    ) -> "list[list[Neighbour]]":
        """Find the nearest tiles of each image, nearest first.

        Args:
            images: one, or several; each as for `pair`.
            k: how many; fewer come back only if fewer may.
            exclude_self: leave out the image itself where it is in the index.
            where: an SQL expression over the index's columns; only tiles it is true of come back.
            exclude_same: columns; tiles that have the query's own value there, or none, stay out.
            near_duplicates: `keep`, or `drop` copies of the query and all but one of other copies.

        Raises:
            InputError: k is not positive, a filter does not fit the index, or a name is neither in
                the index nor a file.
            ImageError: an image cannot be used.
            IndexFormatError: a part of the index that is needed is damaged.
        """
        from histo_index.search.answers.neighbours import SearchOptions, require_answers

        several = images if isinstance(images, list | tuple) else [cast("ImageLike", images)]
        options = SearchOptions(
            k=k, exclude_self=exclude_self, where=where, exclude_same=exclude_same,
            near_duplicates=near_duplicates,
        )  # fmt: skip
        return require_answers(self.search_each(several, options))

    def search_each(
        self, images: Sequence[ImageLike], options: "SearchOptions"
    ) -> "list[Answered]":
        """Search; an image without an answer has its error in its place, and costs no other."""
        from histo_index.search.answers.neighbours import search

        threshold = self.threshold(is_decisive=False)
        return search(self.opened, self.locate_each(images), threshold, options)

    def calibrate(
        self,
        pairs: "Pairs | None" = None,
        *,
        labels: str | Path | None = None,
        label: str | None = None,
        group: str | None = None,
        objective: "Objective | None" = None,
        unsure: bool = False,
        unlabelled: bool = False,
    ) -> "Calibration":
        """Fit threshold and probabilities, kept in the index; see `assessing.calibrate`."""
        from histo_index.api import evaluate as assessing

        found = assessing.calibrate(
            self.opened, pairs=pairs, labels=labels, label=label, group=group,
            objective=objective, unsure=unsure, unlabelled=unlabelled,
        )  # fmt: skip
        self._calibration.replace(found)
        return found

    def evaluate(
        self,
        labels: str | Path | None = None,
        *,
        pairs: "Pairs | None" = None,
        label: str | None = None,
        group: str | None = None,
        threshold: float | None = None,
        tiles: str | Path | None = None,
    ) -> "Evaluation":
        """Say what the index is worth on labelled tiles; see `assessing.evaluate`."""
        from histo_index.api import evaluate as assessing

        return assessing.evaluate(
            self.opened, self.threshold(threshold), labels=labels, pairs=pairs, label=label,
            group=group, tiles=None if tiles is None else Path(tiles), device=self._device,
        )  # fmt: skip

    def duplicates(self, *, threshold: float | None = None) -> pa.Table:
        """Find groups of tiles that show the same; see `search.surveys.find_duplicates`."""
        from histo_index.search.answers.duplicates import find_duplicates

        return find_duplicates(self.opened, threshold=threshold)

    def outliers(self, *, count: int = 20) -> pa.Table:
        """Find the tiles least like anything; see `search.surveys.find_outliers`."""
        from histo_index.search.answers.duplicates import find_outliers

        return find_outliers(self.opened, count=count)

    def close_pairs(self, threshold: float, output: str | Path) -> int:
        """Write every pair closer than a threshold to Parquet, and tell how many there are."""
        from histo_index.search.neighbours.close_pairs import write_close_pairs

        return write_close_pairs(self.opened, threshold, Path(output))

    def remove(
        self,
        *,
        where: str | None = None,
        names: Sequence[str] | None = None,
        rule: bool | None = None,
        purge: bool = False,
    ) -> "RemoveReport":
        """Take tiles out for good; this object keeps them. See `search.removing.RemoveConfig`."""
        from histo_index.search.answers.removal import RemoveConfig, remove

        return remove(self.opened, RemoveConfig(where=where, names=names, rule=rule, purge=purge))

    def locate(self, images: Sequence[ImageLike]) -> list[Located]:
        """Find or compute the vector of each image; a file on disk wins over an equal name.

        Raises:
            InputError: a name is neither in the index nor a file.
            ImageError: an image cannot be used.
        """
        return list(_whole(self.locate_each(images)))

    def locate_each(self, images: Sequence[ImageLike]) -> list[Located | HistoIndexError]:
        """Find or compute vectors as `locate` does; the reason in place of one that has none."""
        given: dict[str, npt.NDArray[np.float16]] = {}
        names = [self._name(image, given) for image in images]
        distinct = list(dict.fromkeys(names))
        resolved = self._resolver(Path(), given).resolve(distinct, prefer_files=True)
        is_found = resolved.places >= 0
        vectors = iter(take_vectors(self.opened, resolved.extra, resolved.places[is_found]))
        by_name = {
            name: problem or self._located(name, next(vectors), int(place))
            for name, problem, place in zip(
                distinct, resolved.problems, resolved.places, strict=True
            )
        }
        return [by_name[name] for name in names]

    def draw(
        self,
        images: Sequence[ImageLike],
        found: "Sequence[Sequence[Neighbour]]",
        output: str | Path,
        *,
        tiles: str | Path | None = None,
    ) -> None:
        """Draw queries and their neighbours as a PNG.

        Args:
            images: the queries, as `search` was asked.
            found: what it answered.
            output: the PNG file.
            tiles: where the tiles lie now; left out, where they lay relative to the index.
        """
        from histo_index.files import publishing
        from histo_index.report.montage import draw_montage

        folder = self._tiles_folder(tiles)
        queries = [
            (str(image) if isinstance(image, str | Path) else "image", self.file_of(image, folder))
            for image in images
        ]
        picture = draw_montage(queries, found, folder)
        with publishing(Path(output)) as temporary:
            picture.save(temporary, format="PNG")

    def report(
        self,
        answer: "Answer",
        output: str | Path,
        *,
        images: Sequence[ImageLike] = (),
        tiles: str | Path | None = None,
        names: bool = False,
    ) -> None:
        """Write an answer as one HTML page with pictures; see `report.write.write_report`."""
        from histo_index.report.question_page import Asked
        from histo_index.report.write import NEAR, write_report

        folder = self._tiles_folder(tiles)
        is_pair = isinstance(answer, PairAnswer)
        found = self.search(images, k=NEAR) if is_pair else answer
        asked = [
            Asked(
                name=str(image) if isinstance(image, str | Path) else "image",
                # The images' files lie relative to here, the neighbours' relative to the folder.
                file=file.absolute() if (file := self.file_of(image, folder)) else None,
                neighbours=neighbours,
            )
            for image, neighbours in zip(
                images, found if isinstance(found, list) else (), strict=True
            )
        ]
        threshold = self.threshold(is_decisive=False)
        write_report(
            self.opened, answer, Path(output), asked=asked, threshold=threshold, folder=folder,
            names=names,
        )  # fmt: skip

    def _tiles_folder(self, given: str | Path | None) -> Path:
        """Locate the folder that tile paths start from: the one given, else as it was built."""
        return Path(given) if given else self.manifest.tiles_root(self.opened.folder)

    def file_of(self, image: ImageLike, folder: Path) -> Path | None:
        """Find the file of an image: the user's own, else the index's, below a folder."""
        if not isinstance(image, str | Path):
            return None
        file = self._resolver(Path()).file_of(str(image))
        row = -1 if file else int(self.opened.find_names(pa.array([str(image)]))[0])
        return file or (folder / self.opened.row(row)["path"] if row >= 0 else None)

    def _name(self, image: Any, given: dict[str, npt.NDArray[np.float16]]) -> str:
        """Name an image; one that is in memory is encoded and entered under its name."""
        if image is None or isinstance(image, str | Path):
            return str(image or "")
        located = _encode_one(self.encoder, image)
        name = f"image in memory {len(given) + 1}"
        given[name] = vectors_of(self.opened, located.vector[None])[0]
        return name

    def threshold(
        self,
        given: float | None = None,
        *,
        unsure: bool | None = None,
        is_decisive: bool = True,
    ) -> Threshold:
        """Choose the threshold; unless it `is_decisive`, a broken calibration only warns."""
        is_needed = bool(unsure) or (is_decisive and given is None)
        calibration = self._calibration.get(is_needed=is_needed)
        return Threshold.choose(
            given, published_threshold(self.manifest), calibration, unsure=unsure
        )

    def _located(self, name: str, vector: npt.NDArray[np.float16], place: int) -> Located:
        row = place if place < len(self.opened) else None
        image_id = None if row is None else self.opened.row(row)["image_id"]
        return Located(name=name, vector=vector, image_id=image_id, row=row)

    def _resolver(
        self, root: Path, given: "Mapping[str, npt.NDArray[np.float16]] | None" = None
    ) -> Resolver:
        return Resolver(self.opened, self._encode_files, root=root, given=given)

    def _encode_files(self, paths: Iterable[Path]) -> "Iterator[EncodedTile | ImageError]":
        return self.encoder.encode_files(paths)


def _encode_one(encoder: "Encoder", image: Any) -> Located:
    if isinstance(image, str | Path):
        if not Path(image).is_file():
            raise InputError(f"{image}: no such file")
        (tile,) = _whole(encoder.encode_files([Path(image)]))
        return Located(name=str(image), vector=tile.embedding.astype(np.float16))
    from histo_index.encoder.decode.image_file import to_pixels

    vector = encoder.encode_pixels([to_pixels(image)])[0].astype(np.float16)
    return Located(name="image", vector=vector)


def _whole(results: Iterable[_Result | HistoIndexError]) -> Iterator[_Result]:
    for result in results:
        if isinstance(result, HistoIndexError):
            raise result
        yield result
