"""Open an index and query it, from Python. The command line calls this too.

Modules that only some methods need are imported inside them: a pair look-up must start fast.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from histo_index.api.encoders import published_threshold, warn_if_untrained
from histo_index.api.images import ImageLike, Images, display_name, encode_image, raise_errors
from histo_index.api.own_calibration import OwnCalibration
from histo_index.arrays import Float16
from histo_index.indexer.format.manifest import Manifest
from histo_index.indexer.format.records import EncoderCard, read_record
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.pair import PairAnswer, answer_pair
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.inputs.resolve import Located
from histo_index.search.neighbours.novelty import far_among

if TYPE_CHECKING:
    from histo_index.api.evaluate import Pairs
    from histo_index.encoder.encoder import Encoder
    from histo_index.report.write import Answer
    from histo_index.search.answers.neighbours import Answered, Neighbour, SearchOptions
    from histo_index.search.answers.pair_list import PairScores
    from histo_index.search.answers.removal import RemoveReport
    from histo_index.search.calibration.calibration import Calibration
    from histo_index.search.calibration.objectives import Objective
    from histo_index.search.copies.candidates import Progress
    from histo_index.search.evaluation.result import Evaluation
    from histo_index.search.inputs.pair_list import PairList


def open(path: str | Path, *, device: str = "auto", private: bool = False) -> "Index":
    """Open an index for reading. It answers from this state even if it is rebuilt meanwhile.

    Args:
        path: the index folder.
        device: where unseen images are encoded: `auto`, `cpu` or `cuda`.
        private: show private columns and allow them in filters; they are hidden otherwise.

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
    return answer_pair(encode_image(runner, a), encode_image(runner, b), chosen)


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
        self._images = Images(self.opened, device=device)
        self._calibration = OwnCalibration(path, self.manifest)
        warn_if_untrained(path / "encoder", is_trained=self.manifest.encoder.is_trained)

    def __reduce__(self) -> tuple[Any, ...]:
        reopen = partial(type(self), device=self._device, private=self._private)
        return reopen, (self.opened.folder.absolute(),)

    def __len__(self) -> int:
        """Return the number of tiles; removed ones do not count."""
        return self.manifest.tiles

    @property
    def manifest(self) -> Manifest:
        """The record of the contents of the index and how it was built."""
        return self.opened.manifest

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
            a: a file, image id or path in the index, a Pillow image, or uint8 RGB [H, W, 3].
            b: the other image.
            threshold: overrides the index's own.
            unsure: whether the verdict may be `unsure`; None means as calibrated.

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
                `pair`, and an optional label: 1 same, 0 different.
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
        from histo_index.search.inputs.pair_list import PairList, list_pairs, read_pair_list

        in_memory: dict[str, Float16] = {}  # filled below, read by the resolver
        if not isinstance(pairs, str | Path | PairList):
            name = self._images.name
            pairs = list_pairs(
                [[*(name(i, in_memory) for i in row[:2]), *row[2:]] for row in pairs]
            )
        resolver = self._images.resolver(Path(root), in_memory)
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
            k: number of neighbours; fewer only if fewer tiles match.
            exclude_self: leave out the query image itself.
            where: SQL filter over the columns of the index.
            exclude_same: columns; tiles with the query's value, or without one, are left out.
            near_duplicates: `keep`, or `drop` copies of the query and all but one of others.

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
        """Find neighbours as `search` does; an image that cannot be used yields its error."""
        from histo_index.search.answers.neighbours import search

        threshold = self.threshold(is_decisive=False)
        return search(self.opened, self._images.locate(images), threshold, options)

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
        """Fit threshold and probabilities and store them; see `api.evaluate.calibrate`."""
        from histo_index.api.evaluate import calibrate

        found = calibrate(
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
        """Evaluate the index on labelled tiles; see `api.evaluate.evaluate`."""
        from histo_index.api.evaluate import evaluate

        return evaluate(
            self.opened, self.threshold(threshold), labels=labels, pairs=pairs, label=label,
            group=group, tiles=None if tiles is None else Path(tiles), device=self._device,
        )  # fmt: skip

    def duplicates(
        self,
        *,
        threshold: float | None = None,
        tiles: str | Path | None = None,
        progress: "Progress" = lambda *_: None,
    ) -> pa.Table:
        """Find copies; see `search.answers.duplicates.find_duplicates`."""
        from histo_index.api.tile_files import tile_files
        from histo_index.search.answers.duplicates import find_duplicates

        files = tile_files(self._tiles_folder(tiles))
        return find_duplicates(self.opened, threshold=threshold, files=files, progress=progress)

    def outliers(self, *, count: int = 20) -> pa.Table:
        """List the most isolated tiles; see `search.answers.duplicates.find_outliers`."""
        from histo_index.search.answers.duplicates import find_outliers

        return find_outliers(self.opened, count=count)

    def close_pairs(self, threshold: float, output: str | Path) -> int:
        """Write all pairs within a distance to Parquet and return their number."""
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
        """Remove tiles permanently; this open index keeps them. See `search.answers.removal`."""
        from histo_index.search.answers.removal import RemoveConfig, remove

        return remove(self.opened, RemoveConfig(where=where, names=names, rule=rule, purge=purge))

    def locate(self, images: Sequence[ImageLike]) -> list[Located]:
        """Return the vector of each image; a file takes precedence over an image id.

        Raises:
            InputError: a name is neither in the index nor a file.
            ImageError: an image cannot be used.
        """
        return raise_errors(self._images.locate(images))

    def draw(
        self,
        images: Sequence[ImageLike],
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
        from histo_index.files import publishing
        from histo_index.report.montage import draw_pages

        folder, first = self._tiles_folder(tiles), Path(output)
        queries = [(display_name(image), self._images.find_file(image, folder)) for image in images]
        pages = draw_pages(queries, found, folder, heading=heading)
        for number, page in enumerate(pages, 1):
            path = first if number == 1 else first.with_stem(f"{first.stem}-{number}")
            with publishing(path) as temporary:
                page.save(temporary, format="PNG")

    def report(
        self,
        answer: "Answer",
        output: str | Path,
        *,
        images: Sequence[ImageLike] = (),
        tiles: str | Path | None = None,
        names: bool = False,
    ) -> None:
        """Write an answer as one HTML page with images; see `report.write.write_report`."""
        from histo_index.report.query_page import Query
        from histo_index.report.write import NEIGHBOURS_OF_PAIR, write_report

        folder = self._tiles_folder(tiles)
        is_pair = isinstance(answer, PairAnswer)
        found = self.search(images, k=NEIGHBOURS_OF_PAIR) if is_pair else answer
        files = [self._images.find_file(image, folder) for image in images]
        queries = [
            # The queries' files are relative to here, those of neighbours to the folder.
            Query(name=display_name(image), file=file and file.absolute(), neighbours=neighbours)
            for image, file, neighbours in zip(
                images, files, found if isinstance(found, list) else (), strict=True
            )
        ]
        threshold = self.threshold(is_decisive=False)
        write_report(
            self.opened, answer, Path(output), queries=queries, threshold=threshold, folder=folder,
            names=names,
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

    def _tiles_folder(self, given: str | Path | None) -> Path:
        """Return the folder of the tile files: the given one, else where they were indexed."""
        return Path(given) if given else self.manifest.tiles_root(self.opened.folder)
