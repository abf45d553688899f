"""Find the vector of every image that somebody names: in the index, or by encoding it once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.errors import ImageError
from histo_index.indexer.encode import Encoded
from histo_index.indexer.hashing import hash_file
from histo_index.indexer.opened import AMBIGUOUS, MISSING, OpenIndex
from histo_index.indexer.sources import SUFFIXES

Halves = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]
EncodeFiles = Callable[[Iterable[Path]], Iterator[Encoded | ImageError]]

_UNRESOLVED: Final = -1


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Where the vectors of some names are.

    Attributes:
        places: int64 [n]: a row of the index, or N plus a row of `extra`, or -1 with a problem.
        problems: why a name has no vector, [n]; None where it has one.
        extra: float16 [m, D], vectors of images outside the index.
        encoded: how many images were encoded for this.
    """

    places: Rows
    problems: list[str | None]
    extra: Halves
    encoded: int


class Resolver:
    """Finds vectors by name.

    A name is, in this order: an image id; a path as the index has it; a file on disk, known by its
    content or else encoded; a bare file name, with or without suffix. With `prefer_files` a file on
    disk comes first, because then the user points at that very file.
    """

    def __init__(self, index: OpenIndex, encode_files: EncodeFiles, *, root: Path) -> None:
        """Look up in an index.

        Args:
            index: where to look.
            encode_files: encodes what the index does not hold; called only if there is such.
            root: the folder that file names are relative to.
        """
        self._index = index
        self._encode_files = encode_files
        self._root = root

    def resolve(self, names: Sequence[str], *, prefer_files: bool = False) -> Resolved:
        """Find the vector of every name; each unseen image is encoded once.

        Args:
            names: distinct.
            prefer_files: an existing file wins over an equal name in the index.
        """
        if prefer_files:
            places = np.full(len(names), MISSING, np.int64)
        else:
            places = self._index.find_names(pa.array(names, pa.string()))
        files = {
            position: path
            for position in np.flatnonzero(places < 0).tolist()
            if (path := self._file(names[position])) is not None
        }
        if prefer_files:
            without = [position for position in range(len(names)) if position not in files]
            found = self._index.find_names(pa.array([names[p] for p in without], pa.string()))
            places[without] = found
        problems = [
            self._problem(name, place) for name, place in zip(names, places.tolist(), strict=True)
        ]
        extra, encoded = self._add_files(files, places, problems)
        places[[problem is not None for problem in problems]] = _UNRESOLVED
        return Resolved(places=places, problems=problems, extra=extra, encoded=encoded)

    def are_known(self, names: Sequence[str]) -> list[bool]:
        """Tell of each name whether `resolve` would find something under it."""
        places = self._index.find_names(pa.array(names, pa.string()))
        return [
            bool(place >= 0) or self._file(name) is not None
            for name, place in zip(names, places, strict=True)
        ]

    def _problem(self, name: str, place: int) -> str | None:
        if place == AMBIGUOUS:
            return f"{name}: several tiles have this file name; name one by its path or image id"
        if place == MISSING:
            return f"{name}: not in the index, and no such file in {self._root}"
        return None

    def _file(self, name: str) -> Path | None:
        """Find a name on disk, also without its suffix."""
        if not Path(name).name or "\x00" in name:
            return None
        suffixes = [""] if Path(name).suffix.lower() in SUFFIXES else ["", *sorted(SUFFIXES)]
        candidates = (self._root / f"{name}{suffix}" for suffix in suffixes)
        return next((candidate for candidate in candidates if _is_file(candidate)), None)

    def _add_files(
        self, files: dict[int, Path], places: Rows, problems: list[str | None]
    ) -> tuple[Halves, int]:
        """Find files by content, encode the others, and fill in places and problems."""
        contents: dict[str, list[int]] = {}
        for position, path in files.items():
            try:
                contents.setdefault(hash_file(path), []).append(position)
            except OSError as error:
                problems[position] = f"{path}: cannot be read ({error.strerror or error})"
        digests = list(contents)
        known = self._index.find_contents(pa.array(digests, pa.string()))
        unseen: list[str] = []
        for digest, row in zip(digests, known, strict=True):
            for position in contents[digest]:
                places[position], problems[position] = row, None
            if row == MISSING:
                unseen.append(digest)
        return self._encode(unseen, contents, files, places, problems)

    def _encode(
        self,
        unseen: list[str],
        contents: dict[str, list[int]],
        files: dict[int, Path],
        places: Rows,
        problems: list[str | None],
    ) -> tuple[Halves, int]:
        vectors: list[Halves] = []
        # Asking for an encoder loads it, which most lists never need.
        results = self._encode_files([files[contents[d][0]] for d in unseen]) if unseen else ()
        for digest, result in zip(unseen, results, strict=True):
            for position in contents[digest]:
                if isinstance(result, ImageError):
                    problems[position] = str(result)
                else:
                    places[position] = len(self._index) + len(vectors)
            if not isinstance(result, ImageError):
                # Rounded as the index rounds, so that a tile answers alike before and after.
                vectors.append(result.embedding.astype(np.float16))
        size = self._index.manifest.embedding_size
        return np.array(vectors, np.float16).reshape(-1, size), len(unseen)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def take_vectors(index: OpenIndex, extra: Halves, places: Rows) -> Halves:
    """Gather vectors, float16 [n, D], from the index and from those beside it; see `Resolved`."""
    if not len(extra):
        return index.vectors(places)
    outside = places >= len(index)
    vectors = np.empty((len(places), extra.shape[1]), np.float16)
    vectors[~outside] = index.vectors(places[~outside])
    vectors[outside] = extra[places[outside] - len(index)]
    return vectors
