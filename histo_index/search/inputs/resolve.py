"""Find the vector of every named image: in the index, or by encoding it once."""

import itertools
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float16, Int64
from histo_index.errors import HistoIndexError, ImageError, InputError
from histo_index.indexer.encoder_protocol import Encoded
from histo_index.indexer.format.lookup import AMBIGUOUS, MISSING
from histo_index.indexer.hashing.files import hash_file
from histo_index.indexer.inputs.folders import SUFFIXES
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import track
from histo_index.search.inputs.contents import make_strings, nearest_name, rows_by_content
from histo_index.slides.reading.identity import is_there, parse_tile
from histo_index.wording import printable


@dataclass(frozen=True, kw_only=True)
class Located:
    """An image and its vector.

    Attributes:
        name: as the user called it.
        vector: float16 [D], length 1 within rounding.
        image_id: its id in the index, or None if it is not there.
        row: its row in the index, or None.
        embedding: float16 [D] of an image that is not in the index; else None.
        file: that image's file, or None.
        um_per_px: microns per network pixel of an image outside the index; None if unknown.
    """

    name: str
    vector: npt.NDArray[np.float16]
    image_id: str | None = None
    row: int | None = None
    embedding: npt.NDArray[np.float16] | None = None
    file: Path | None = None
    um_per_px: float | None = None


# Checks rows of the index, int64 [n], by the names that they were found by: why one is refused.
CheckRows = Callable[[Sequence[str], Int64], Sequence[HistoIndexError | None]]
EncodeFiles = Callable[[Iterable[Path]], Iterator[Encoded | ImageError]]

_log = logging.getLogger(__name__)

_UNRESOLVED: Final = -1
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Where the vectors of some names are.

    Attributes:
        rows: int64 [n]: a row of the index, or N plus a row of `extra`, or -1 with a problem.
        problems: why a name has no vector, [n]; None where it has one.
        files: the file that each name was found as, [n]; None where the index alone knows it.
        extra: float16 [m, V], vectors of images outside the index.
        embeddings: float16 [m, D], their embeddings.
        encoded: how many image files were encoded for this.
    """

    rows: Int64
    problems: list[HistoIndexError | None]
    files: list[Path | None]
    extra: Float16
    embeddings: Float16
    encoded: int


class Resolver:
    """Finds vectors by name.

    A name is, in this order: an image id; a path as the index has it; a bare file name, with or
    without suffix; the SHA-256 of a file; a file on disk, known by its content or else encoded.
    With `prefer_files` a file on disk comes first, because then the user points at that very file;
    a tile of a slide that cannot be read any more answers as it was indexed.
    """

    def __init__(
        self,
        index: OpenIndex,
        encode_files: EncodeFiles,
        *,
        root: Path,
        given: Mapping[str, Float16] | None = None,
        check_rows: CheckRows | None = None,
    ) -> None:
        """Look up in an index.

        Args:
            index: where to look.
            encode_files: encodes what the index does not hold; called only if there is such.
            root: the folder that file names are relative to.
            given: names whose embeddings, float16 [D], are known beforehand.
            check_rows: may refuse tiles of the index.
        """
        self._index = index
        self._encode_files = encode_files
        self._root = root
        self._given = {} if given is None else given
        self._check_rows = check_rows

    def resolve(self, names: Sequence[str], *, prefer_files: bool = False) -> Resolved:
        """Find the vector of every name; each unseen image is encoded once.

        Args:
            names: distinct.
            prefer_files: an existing file wins over an equal name in the index.
        """
        files: list[Path | None] = [None] * len(names)
        if prefer_files:
            files = [self.file_of(name) for name in names]
            rows = np.full(len(names), MISSING, np.int64)
            without = [number for number, file in enumerate(files) if file is None]
            rows[without] = self._find([names[number] for number in without])
        else:
            rows = self._find(names)
            for number in np.flatnonzero(rows < 0).tolist():
                files[number] = self.file_of(names[number])
        search = _Search(names=names, files=files, rows=rows)
        extra = [self._given[name] for name in names if name in self._given]
        outside = itertools.count(len(self._index))
        for number, name in enumerate(names):
            if name in self._given:
                rows[number] = next(outside)
        encoded = self._add_files(search, extra)
        self._use_indexed(search)
        self._refuse(search)
        problems = [self._problem(search, number) for number in range(len(names))]
        rows[[problem is not None for problem in problems]] = _UNRESOLVED
        facts = self._index.manifest
        # One by one, so that a vector never depends on the others.
        vectors = [vectors_of(self._index, one[None])[0] for one in extra]
        return Resolved(
            rows=rows,
            problems=problems,
            files=files,
            extra=np.array(vectors, np.float16).reshape(-1, facts.vector_size),
            embeddings=np.array(extra, np.float16).reshape(-1, facts.embedding_size),
            encoded=encoded,
        )

    def are_indexed(self, names: Sequence[str]) -> list[bool]:
        """Return for each name whether it is in the index."""
        return [row >= 0 for row in self._find(names).tolist()]

    def are_files(self, names: Sequence[str]) -> list[bool]:
        """Return for each name whether there is such a file."""
        return [self.file_of(name) is not None for name in names]

    def _find(self, names: Sequence[str]) -> Int64:
        # A name that is not UTF-8 cannot be in the index; a zero byte is in no name.
        texts = [name if _is_text(name) else "\0" for name in names]
        rows = self._index.find_names(make_strings(texts))
        hashes = [n for n, text in enumerate(texts) if _DIGEST.fullmatch(text) and rows[n] < 0]
        if hashes:
            digests = make_strings([texts[number] for number in hashes])
            rows[hashes] = self._index.find_contents(digests)
        return rows

    def _refuse(self, search: "_Search") -> None:
        """Enter why tiles of the index are refused."""
        numbers = np.flatnonzero((search.rows >= 0) & (search.rows < len(self._index)))
        if self._check_rows is None or not len(numbers):
            return
        names = [search.names[number] for number in numbers.tolist()]
        found = self._check_rows(names, search.rows[numbers])
        pairs = zip(numbers.tolist(), found, strict=True)
        search.problems.update({number: why for number, why in pairs if why is not None})

    def _problem(self, search: "_Search", number: int) -> HistoIndexError | None:
        if number in search.problems:
            return search.problems[number]
        name, found = printable(search.names[number]), search.rows[number]
        if found == AMBIGUOUS:
            return InputError(
                f"{name}: several tiles have this file name; name one by its path or image id"
            )
        if found == MISSING:
            where = "" if Path(name).is_absolute() else f" in {self._root.resolve()}"
            return InputError(
                f"{name}: not in the index, and no such file{where}; check the name, or build it in"
            )
        return None

    def file_of(self, name: str) -> Path | None:
        """Find a name on disk, also without its suffix."""
        if not Path(name).name or "\x00" in name or name in self._given:
            return None
        suffixes = [""] if Path(name).suffix.lower() in SUFFIXES else ["", *sorted(SUFFIXES)]
        candidates = (self._root / f"{name}{suffix}" for suffix in suffixes)
        return next((candidate for candidate in candidates if _is_file(candidate)), None)

    def _add_files(self, search: "_Search", extra: list[Float16]) -> int:
        """Find files by content and encode the others; return how many were encoded."""
        contents: dict[str, list[int]] = {}
        for number, path in enumerate(search.files):
            if path is None:
                continue
            try:
                contents.setdefault(hash_file(path), []).append(number)
            except OSError as error:
                reason = error.strerror or error
                search.problems[number] = ImageError(
                    f"{printable(path)}: cannot be read ({reason}); check its permissions"
                )
        known = rows_by_content(self._index, list(contents))
        for digest, rows in known.items():
            for number in contents[digest]:
                path = search.files[number]
                assert path is not None
                search.rows[number] = nearest_name(self._index, rows, path)
        unseen = [numbers for digest, numbers in contents.items() if digest not in known]
        self._encode(unseen, search, extra)
        return len(unseen)

    def _encode(self, unseen: list[list[int]], search: "_Search", extra: list[Float16]) -> None:
        paths = [path for numbers in unseen if (path := search.files[numbers[0]]) is not None]
        # Asking for an encoder loads it, which most lists never need.
        results = self._encode_files(paths) if paths else ()
        pairs = zip(unseen, results, strict=True)
        for numbers, result in track(pairs, "encoding", total=len(unseen), unit="images"):
            for number in numbers:
                if isinstance(result, ImageError):
                    search.problems[number] = result
                else:
                    search.rows[number] = len(self._index) + len(extra)
            if not isinstance(result, ImageError):
                extra.append(result.embedding.astype(np.float16))

    def _use_indexed(self, search: "_Search") -> None:
        """Answer for tiles of slides that cannot be read any more as they were indexed."""
        for number, problem in list(search.problems.items()):
            name = search.names[number]
            if parse_tile(name) is not None and (row := int(self._find([name])[0])) >= 0:
                _log.warning("%s; the tile as it was indexed answers", problem)
                search.rows[number] = row
                del search.problems[number]


@dataclass(frozen=True, kw_only=True)
class _Search:
    """The state of one look-up: names, and the rows and problems found for them so far."""

    names: Sequence[str]
    files: list[Path | None]
    rows: Int64
    problems: dict[int, HistoIndexError] = field(default_factory=dict)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_file(path: Path) -> bool:
    try:
        return is_there(path)
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def vectors_of(index: OpenIndex, embeddings: npt.NDArray[np.floating]) -> Float16:
    """Transform embeddings of images outside the index into vectors of the index.

    Args:
        index: whose distances are asked for.
        embeddings: floats [n, D], rows of length 1.

    Returns:
        float16 [n, V], rows of length 1 within rounding.

    Raises:
        IndexFormatError: what the index turns embeddings by is damaged.
    """
    # Rounded as the index rounds, so that a tile answers alike before and after.
    rounded: Float16 = embeddings.astype(np.float16)
    if index.transform is None:
        return rounded
    turned: Float16 = index.transform.apply(rounded).astype(np.float16)
    return turned
