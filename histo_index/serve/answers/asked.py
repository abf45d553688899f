"""What a client asks: read from an address or a form, and written back into an address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, Self
from urllib.parse import urlencode

from histo_index.encoder.decode.pictures import Box
from histo_index.search.neighbours.conditions import OPERATORS, Condition
from histo_index.serve.config import Limits
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.uploads import PREFIX
from histo_index.slides.reading.info import LARGEST_MPP, SMALLEST_MPP
from histo_index.wording import printable

_DEFAULT_K: Final = 24
_MOST_EXAMPLES: Final = 16
_MOST_CONDITIONS: Final = 10
_LONGEST: Final = 500
_LONGEST_NUMBER: Final = 10


class Fields(Protocol):
    """Fields of an address or a form, each maybe several times."""

    def getlist(self, key: Any, /) -> list[Any]: ...


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A search.

    Attributes:
        like: ids of tiles and uploads that are meant.
        unlike: ids of those that are not meant.
        k: neighbours.
        conditions: that they must fulfil.
        exclude_same: columns; tiles with the value of an example that is meant are left out.
        own: by such a column, the value that uploads have in it; none where it is not known.
        drop_copies: whether near-duplicates are left out.
    """

    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    k: int = _DEFAULT_K
    conditions: tuple[Condition, ...] = ()
    exclude_same: tuple[str, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    drop_copies: bool = False

    @classmethod
    def read(cls, fields: Fields, columns: Sequence[str], limits: Limits) -> Self:
        """Read and check the fields of a search.

        Args:
            fields: `id`, `unlike`, `k`, `column`, `operator`, `value`, `exclude_same`, `own`,
                `copies`.
            columns: those that may be named; any other does not exist for the client.
            limits: the largest `k`.

        Raises:
            RefusalError: a field cannot be used.
        """
        like, unlike = (tuple(dict.fromkeys(texts(fields, name))) for name in ("id", "unlike"))
        if len(like) + len(unlike) > _MOST_EXAMPLES:
            raise RefusalError(422, f"more than {_MOST_EXAMPLES} examples")
        excluded = _read_exclusions(fields, columns)
        copies = one_text(fields, "copies", "keep")
        if copies not in ("keep", "drop"):
            raise RefusalError(422, "copies: expected keep or drop")
        return cls(
            like=like, unlike=unlike, k=_read_k(fields, limits.k),
            conditions=_read_conditions(fields, columns), exclude_same=tuple(excluded),
            own={name: value for name, value in excluded.items() if value},
            drop_copies=copies == "drop",
        )  # fmt: skip

    @property
    def is_single(self) -> bool:
        """Whether there is one example only."""
        return len(self.like) == 1 and not self.unlike

    @property
    def has_uploads(self) -> bool:
        """Whether an example that is meant was uploaded."""
        return any(given.startswith(PREFIX) for given in self.like)

    def change(self, **changes: Any) -> Self:
        """Return the search with some attributes replaced."""
        return replace(self, **changes)

    def query(self) -> str:
        """Write the search as the query of an address; what is usual is left out."""
        pairs = [("id", one) for one in self.like] + [("unlike", one) for one in self.unlike]
        if self.k != _DEFAULT_K:
            pairs.append(("k", str(self.k)))
        for one in self.conditions:
            pairs += [("column", one.column), ("operator", one.operator), ("value", one.value)]
        for name in self.exclude_same:
            pairs.append(("exclude_same", name))
            pairs += [("own", self.own.get(name, ""))] if self.own else []
        return urlencode(pairs + ([("copies", "drop")] if self.drop_copies else []))


def texts(fields: Fields, name: str) -> list[str]:
    """Return the texts of a field; files are none.

    Raises:
        RefusalError: one is too long.
    """
    found = [value for value in fields.getlist(name) if isinstance(value, str)]
    if any(len(value) > _LONGEST for value in found):
        raise RefusalError(422, f"{name}: longer than {_LONGEST} characters")
    return found


def one_text(fields: Fields, name: str, default: str = "") -> str:
    """Return the last text of a field."""
    return (texts(fields, name) or [default])[-1]


def require_column(name: str, columns: Sequence[str]) -> None:
    """Refuse a column that is not there, is private or names tiles: all in the same words.

    Raises:
        RefusalError: it is not among the columns.
    """
    if name not in columns:
        known = ", ".join(map(printable, columns)) or "none"
        raise RefusalError(422, f"no such column; there are: {known}")


def read_box(fields: Fields) -> Box | None:
    """Read a crop box, `left,top,right,bottom` as shares of the image; None without one.

    Raises:
        RefusalError: it is no box.
    """
    text = one_text(fields, "crop")
    if not text:
        return None
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError:
        left = top = right = bottom = -1.0
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise RefusalError(422, "crop: expected left,top,right,bottom as shares from 0 to 1")
    return Box(left=left, top=top, right=right, bottom=bottom)


def read_mpp(fields: Fields) -> float | None:
    """Read microns per pixel of the images of a form; None without them.

    Raises:
        RefusalError: it is no scale.
    """
    text = one_text(fields, "mpp")
    if not text:
        return None
    try:
        mpp = float(text)
    except ValueError:
        mpp = 0.0
    if not SMALLEST_MPP <= mpp <= LARGEST_MPP:
        raise RefusalError(
            422, f"mpp: expected {SMALLEST_MPP:g} to {LARGEST_MPP:g} microns per pixel"
        )
    return mpp


def _read_k(fields: Fields, most: int) -> int:
    text = one_text(fields, "k", str(_DEFAULT_K))
    is_number = text.isascii() and text.isdigit() and len(text) < _LONGEST_NUMBER
    if not is_number or not 1 <= int(text) <= most:
        raise RefusalError(422, f"k: expected a whole number from 1 to {most}")
    return int(text)


def _read_exclusions(fields: Fields, columns: Sequence[str]) -> dict[str, str]:
    """Read columns and the value of uploads in each; empty where it is not known."""
    names, values = texts(fields, "exclude_same"), texts(fields, "own")
    values = values or [""] * len(names)
    if not len(names) == len(values) <= _MOST_CONDITIONS:
        raise RefusalError(422, "own: expected a value for each exclude_same, or none at all")
    found = {name: value.strip() for name, value in zip(names, values, strict=True) if name}
    for name in found:
        require_column(name, columns)
    return found


def _read_conditions(fields: Fields, columns: Sequence[str]) -> tuple[Condition, ...]:
    """Read the conditions; rows of the form that name no column are empty."""
    names, operators, values = (texts(fields, name) for name in ("column", "operator", "value"))
    if not len(names) == len(operators) == len(values) <= _MOST_CONDITIONS:
        raise RefusalError(
            422, f"filters: expected column, operator and value of each, {_MOST_CONDITIONS} at most"
        )
    found = []
    for name, operator, value in zip(names, operators, values, strict=True):
        if not name:
            continue
        require_column(name, columns)
        if operator not in OPERATORS:
            raise RefusalError(422, f"operator: expected one of {', '.join(OPERATORS)}")
        found.append(Condition(column=name, operator=operator, value=value))
    return tuple(found)
