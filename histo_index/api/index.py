"""Open an index and query it, from Python. The command line calls this too.

Modules that only some methods need are imported inside them: a pair look-up must start fast.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histo_index.api.contents.contents import Contents
from histo_index.api.encoders import published_threshold, warn_if_untrained
from histo_index.api.images import ImageLike, Images, display_name, listed, raise_errors
from histo_index.api.own_calibration import OwnCalibration
from histo_index.api.scale.queries import QueryScales
from histo_index.arrays import Float16
from histo_index.errors import HistoIndexError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.pair import PairAnswer, answer_pair
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.inputs.resolve import Located
from histo_index.search.neighbours.novelty import far_among

if TYPE_CHECKING:
    from histo_index.api.images import ImagesLike
    from histo_index.encoder.encoder import Encoder
    from histo_index.report.write import Answer
    from histo_index.search.answers.neighbour_table import SearchResult
    from histo_index.search.answers.neighbours import Answered, Neighbour
    from histo_index.search.answers.pair_list import PairScores
    from histo_index.search.answers.searching import SearchOptions
    from histo_index.search.calibration.calibration import Calibration
    from histo_index.search.calibration.objectives import Objective
    from histo_index.search.classification.answer import ClassAnswer, Classifier
    from histo_index.search.classification.table import ClassResult
    from histo_index.search.copies.tile_files import TileFiles
    from histo_index.search.evaluation.result import Evaluation
    from histo_index.search.inputs.pair_list import PairsLike


def open(
    path: str | Path, *, device: str = "auto", private: bool = False,
    query_mpp: float | None = None, any_mpp: bool = False,
) -> "Index":  # fmt: skip
    """Open an index for reading. It answers from this state even if it is rebuilt meanwhile.

    Args:
        path: the index folder.
        device: where unseen images are encoded: `auto`, `cpu` or `cuda`.
        private: show private columns and allow them in filters; they are hidden otherwise.
        query_mpp: microns per pixel of images that are not in the index; None if unknown.
        any_mpp: also compare images whose scale differs from that of the index by more than 1.5.

    Raises:
        IndexFormatError: it is missing, damaged, or too new.
        InputError: `query_mpp` is no scale.
    """
    return Index(Path(path), device=device, private=private, query_mpp=query_mpp, any_mpp=any_mpp)


class Index(Contents):
    """An open index. A copy of it, also a pickled one, opens the newest generation."""

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        private: bool = False,
        query_mpp: float | None = None,
        any_mpp: bool = False,
    ) -> None:
        """Open an index; see `open`."""
        if device == "cuda":  # a look-up that needs no encoder must not ignore it
            from histo_index.encoder.runtime.choose import require_possible

            require_possible(device, "auto")
        self.opened = OpenIndex(path, private=private)
        self._device = device
        self._private = private
        self._query_mpp = query_mpp
        self._any_mpp = any_mpp
        self._images = self._new_images()
        self._calibration = OwnCalibration(path, self.manifest)
        warn_if_untrained(path / "encoder", is_trained=self.manifest.encoder.is_trained)

    def __reduce__(self) -> tuple[Any, ...]:
        reopen = partial(
            type(self), device=self._device, private=self._private,
            query_mpp=self._query_mpp, any_mpp=self._any_mpp,
        )  # fmt: skip
        return reopen, (self.opened.folder.absolute(),)

    def close(self) -> None:
        super().close()
        self._images = self._new_images()

    def _new_images(self) -> Images:
        scales = QueryScales(self.opened, mpp=self._query_mpp, any_mpp=self._any_mpp)
        return Images(self.opened, scales, device=self._device)

    @property
    def encoder(self) -> "Encoder":
        """The encoder inside the index, loaded for the first image that is not indexed.

        Raises:
            MismatchError: the encoder in the folder is not the one the index was built with.
        """
        return self._images.encoder

    @property
    def calibration(self) -> "Calibration | None":
        """Threshold and probabilities fitted on the user's own pairs, or None.

        Raises:
            IndexFormatError: it is damaged or too new.
        """
        return self._calibration.get(is_needed=True)

    @property
    def classifier(self) -> "Classifier | None":
        """The class model of the calibration, or None without one."""
        return self._calibration.classifier(self.opened)

    def pair(
        self,
        a: ImageLike,
        b: ImageLike,
        *,
        threshold: float | None = None,
        unsure: bool | None = None,
    ) -> PairAnswer:
        """Decide whether two images are of the same tissue category.

        Args:
            a: a file; an image id or path in the index; a Pillow image; or an array or tensor of
                uint8, or of floats from 0 to 1, as [H, W], [H, W, C] or [C, H, W].
            b: the other image.
            threshold: overrides the index's own.
            unsure: whether the verdict may be `unsure`; None means as calibrated.

        Raises:
            InputError: a name is neither in the index nor a file.
            ImageError: an image cannot be used.
            IndexFormatError: a part of the index that is needed is damaged.
        """
        chosen = self.threshold(threshold, unsure=unsure)
        first, second = raise_errors(self._images.locate([a, b], chosen.calibration))
        far = far_among(self.opened, [first, second], chosen.far_distance)
        note = self.manifest.encoder.note
        return answer_pair(first, second, chosen, far=far, encoder_note=note)

    def pairs(
        self,
        pairs: "PairsLike",
        *,
        threshold: float | None = None,
        unsure: bool | None = None,
        root: str | Path = ".",
    ) -> "PairScores":
        """Score a list of pairs; each unseen image is encoded once.

        Args:
            pairs: a pair-list file; `-` for standard input; a DataFrame or Arrow table with columns
                `image_a`, `image_b` and maybe `label`; or rows of two images, each as for `pair`,
                and an optional label: 1 same, 0 different.
            threshold: overrides the index's own.
            unsure: whether verdicts may be `unsure`; None means as calibrated.
            root: folder of images that are not in the index.

        Returns:
            One row per pair, in input order; a row without an answer has a reason.

        Raises:
            InputError: the list cannot be used as a whole.
            IndexFormatError: a part of the index that is needed is damaged.
        """
        from histo_index.search.answers.pair_list import score_pairs

        in_memory: dict[str, Float16] = {}  # filled by `read_pairs`, read by the resolver
        chosen = self.threshold(threshold, unsure=unsure)
        with self._images.judging(chosen.calibration) as judge:
            resolver = self._images.resolver(Path(root), in_memory, judge)
            listed_pairs = self._images.read_pairs(pairs, resolver, in_memory, judge)
            return score_pairs(self.opened, listed_pairs, resolver, chosen)

    def search(
        self,
        images: "ImagesLike",
        *,
        k: int = 10,
        exclude_self: bool = True,
        where: str | None = None,
        exclude_same: str | Sequence[str] = (),
        near_duplicates: str = "keep",
        values: "Mapping[str, str] | None" = None,
        tiles: str | Path | None = None,
    ) -> "SearchResult":
        """Find the nearest tiles of each image, nearest first.

        Args:
            images: one; or several as a list, array, Series or generator; each as for `pair`.
            k: number of neighbours; fewer only if fewer tiles match.
            exclude_self: leave out the query image itself.
            where: SQL filter over the columns of the index.
            exclude_same: columns; tiles with the query's value, or without one, are left out.
            near_duplicates: `keep`, or `drop` copies of the query and all but one of others.
            values: column to value of images that are not in the index, for `exclude_same`.
            tiles: folder of the tile files, where copies are confirmed; default: as indexed.

        Raises:
            InputError: k is not positive, a filter does not fit the index, or a name is neither in
                the index nor a file.
            ImageError: an image cannot be used.
            IndexFormatError: a part of the index that is needed is damaged.
        """
        from histo_index.search.answers.neighbour_table import SearchResult
        from histo_index.search.answers.searching import SearchOptions, require_answers

        asked = listed(images)
        options = SearchOptions(
            k=k, exclude_self=exclude_self, where=where, exclude_same=exclude_same,
            near_duplicates=near_duplicates, values=values or {},
        )  # fmt: skip
        found = require_answers(self.search_each(asked, options, tiles=tiles))
        return SearchResult(found, queries=[display_name(image) for image in asked])

    def search_each(
        self,
        images: Sequence[ImageLike],
        options: "SearchOptions",
        *,
        tiles: "str | Path | TileFiles | None" = None,
    ) -> "list[Answered]":
        """Find neighbours as `search` does; an image that cannot be used yields its error."""
        from histo_index.search.answers.searching import search

        files = None
        if options.near_duplicates == "drop":
            files = self._tile_files(tiles)
        threshold = self.threshold(is_decisive=False)
        classifier = self.classifier if threshold.calibration else None
        located = self._images.locate(images, threshold.calibration)
        return search(self.opened, located, threshold, options, files=files, classifier=classifier)

    def classify(
        self, images: "ImagesLike", *, values: "Mapping[str, str] | None" = None
    ) -> "ClassResult":
        """Compute how likely each image is of each class that the calibration knows.

        The probabilities are for a tile of a new group, if its class is among those labelled here.
        An indexed tile is compared with other groups only.

        Args:
            images: one; or several as a list, array, Series or generator; each as for `pair`.
            values: column to value of images that are not in the index, to leave out their group.

        Raises:
            InputError: the index is not calibrated on classes, or a name is neither in the index
                nor a file.
            ImageError: an image cannot be used.
            IndexFormatError: a part of the index that is needed is damaged.
        """
        from histo_index.search.classification.table import ClassResult

        asked = listed(images)
        found = raise_errors(self.classify_each(asked, values or {}))
        return ClassResult(found, queries=[display_name(image) for image in asked])

    def classify_each(
        self, images: Sequence[ImageLike], values: "Mapping[str, str]"
    ) -> "list[ClassAnswer | HistoIndexError]":
        """Classify as `classify` does; an image that cannot be used yields its error."""
        from histo_index.search.classification.answer import classify_each

        located = self._images.locate(images, self._calibration.get(is_needed=False))
        return classify_each(self.classifier, located, values)

    def calibrate(
        self,
        pairs: "PairsLike | None" = None,
        *,
        labels: str | Path | None = None,
        label: str | None = None,
        group: str | None = None,
        objective: "Objective | None" = None,
        unsure: bool = False,
        unlabelled: bool = False,
        marks: bool = False,
    ) -> "Calibration":
        """Fit threshold and probabilities and store them; see `api.evaluate.calibrate`."""
        from histo_index.api.evaluate import calibrate

        found = calibrate(
            self.opened, pairs=pairs, labels=labels, label=label, group=group,
            objective=objective, unsure=unsure, unlabelled=unlabelled, marks=marks,
        )  # fmt: skip
        self._calibration.replace(found)
        return found

    def evaluate(
        self,
        labels: str | Path | None = None,
        *,
        pairs: "PairsLike | None" = None,
        label: str | None = None,
        group: str | None = None,
        threshold: float | None = None,
        tiles: str | Path | None = None,
        marks: bool = False,
    ) -> "Evaluation":
        """Evaluate the index on labelled tiles; see `api.evaluate.evaluate`."""
        from histo_index.api.evaluate import evaluate

        return evaluate(
            self.opened, self.threshold(threshold), labels=labels, pairs=pairs, label=label,
            group=group, tiles=None if tiles is None else Path(tiles), device=self._device,
            marks=marks, any_mpp=self._any_mpp,
        )  # fmt: skip

    def locate(self, images: Sequence[ImageLike]) -> list[Located]:
        """Return the vector of each image; a file takes precedence over an image id.

        Raises:
            InputError: a name is neither in the index nor a file.
            ImageError: an image cannot be used.
        """
        return raise_errors(self._images.locate(images))

    def draw(
        self,
        images: "ImagesLike",
        found: "Sequence[Sequence[Neighbour]]",
        output: str | Path,
        *,
        tiles: str | Path | None = None,
        heading: str = "query",
    ) -> None:
        """Draw queries and their neighbours as PNG pages: `out.png`, `out-2.png` and so on.

        Args:
            images: the queries of `search`.
            found: its result.
            output: the PNG file of the first page.
            tiles: folder of the tile files; default: where they were indexed.
            heading: what the captions call a query.
        """
        from histo_index.api.answers.pictures import draw, tiles_folder

        draw(
            self._images, listed(images), found, Path(output), tiles_folder(self.opened, tiles),
            heading=heading,
        )  # fmt: skip

    def report(
        self,
        answer: "Answer",
        output: str | Path,
        *,
        images: "ImagesLike" = (),
        tiles: str | Path | None = None,
        names: bool = False,
    ) -> None:
        """Write an answer as one HTML page with images.

        Args:
            answer: result of `evaluate`, `pair` or `search`.
            output: the HTML file.
            images: the images of `pair` or `search`.
            tiles: folder of the tile files; default: where they were indexed.
            names: whether the page names tiles and groups.
        """
        from histo_index.api.answers.pictures import report, tiles_folder
        from histo_index.report.write import NEIGHBOURS_OF_PAIR

        asked, folder = listed(images), tiles_folder(self.opened, tiles)
        is_pair = isinstance(answer, PairAnswer)
        found = self.search(asked, k=NEIGHBOURS_OF_PAIR) if is_pair else answer
        queries = list(zip(asked, found, strict=True)) if isinstance(found, list) else []
        report(
            self._images, answer, queries, Path(output),
            threshold=self.threshold(is_decisive=False), folder=folder, names=names,
        )  # fmt: skip

    def threshold(
        self,
        given: float | None = None,
        *,
        unsure: bool | None = None,
        is_decisive: bool = True,
    ) -> Threshold:
        """Return the threshold in use.

        Args:
            given: the caller's own.
            unsure: whether verdicts may be `unsure`; None means as calibrated.
            is_decisive: whether a damaged calibration is an error rather than a warning.
        """
        is_needed = bool(unsure) or (is_decisive and given is None)
        calibration = self._calibration.get(is_needed=is_needed)
        return Threshold.choose(
            given, published_threshold(self.manifest), calibration, unsure=unsure
        )
