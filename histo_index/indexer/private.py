"""Private columns: stored in the index, shown only on request."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from histo_index.errors import InputError
from histo_index.indexer.format.manifest import Manifest
from histo_index.indexer.inputs.tile_list import RESERVED
from histo_index.wording import printable

_IDENTITY: Final = frozenset(("image_id", "path"))
# Columns that answers need whatever the user's own are called.
_OURS: Final = _IDENTITY | RESERVED


@dataclass(frozen=True, kw_only=True)
class PrivateColumns:
    """What a build changes about which columns are private.

    Attributes:
        add: columns of the tiles that are private from now on.
        drop: private columns that are public from now on.
    """

    add: Sequence[str] = ()
    drop: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in self.add:
            if name in _IDENTITY:
                raise InputError(
                    f"--private {name}: every answer names tiles by it, so it stays public; "
                    "keep personal data out of file names and image ids"
                )
            if private_among([name], self.drop):
                raise InputError(f"--private and --public {printable(name)}; pass one of them")

    def settle(self, current: Manifest | None, columns: Iterable[str]) -> list[str]:
        """List the columns that are private after a build, sorted.

        Args:
            current: the index, whose private columns stay, even while no tile has them; None in a
                first build.
            columns: those of the tiles to build.

        Raises:
            InputError: a column to add is not there, or one to drop is not private.
        """
        private = set(current.private_columns if current else ())
        own = [name for name in columns if name not in _IDENTITY]
        for name in self.add:
            found = private_among([*own, *private], [name])
            if not found:
                known = ", ".join(map(printable, own)) or "none; pass them with --manifest"
                raise InputError(
                    f"--private {printable(name)}: no such column; the tiles have {known}"
                )
            private.update(found)
        for name in self.drop:
            found = private_among(private, [name])
            if not found:
                known = ", ".join(map(printable, sorted(private))) or "none"
                raise InputError(f"--public {printable(name)}: not private; private are: {known}")
            private.difference_update(found)
        return sorted(private)


def private_among(columns: Iterable[str], private: Iterable[str]) -> list[str]:
    """Find the columns that are private; upper and lower case are the same, as in SQL."""
    folded = {name.casefold() for name in private}
    return [name for name in columns if name.casefold() in folded and name not in _OURS]


def refusal(column: str) -> InputError:
    """Return the error of a command that needs a private column without --private."""
    return InputError(
        f"column {printable(column)} is private; pass --private to use it, "
        "from Python open(…, private=True)"
    )


def require_public(where: str, hidden: Iterable[str]) -> None:
    """Refuse an expression that cannot be used if it names a private column.

    The expression is not repeated: it may hold a private value.

    Raises:
        InputError: it does.
    """
    for name in hidden:
        if name.casefold() in where.casefold():
            raise refusal(name) from None
