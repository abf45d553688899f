"""Report how far long work has come, to whoever listens.

The library calls `track`; the command line listens and draws. Nothing happens without a listener.
"""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, TypeVar

_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one stage of some work has come.

    Attributes:
        stage: what is being done, such as `encoding`.
        done: finished items.
        total: items of this stage; None if unknown.
        unit: what an item is, in the plural.
    """

    stage: str
    done: int
    total: int | None
    unit: str


_LISTENER: Final[ContextVar[Callable[[Progress], None] | None]] = ContextVar(
    "progress listener", default=None
)


@contextmanager
def listening(listener: Callable[[Progress], None]) -> Iterator[None]:
    """Call a function with the state of any work that is tracked inside the block."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def report(stage: str, done: int, total: int | None, *, unit: str = "tiles") -> None:
    """Report a state to the listener, if there is one."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(Progress(stage=stage, done=done, total=total, unit=unit))


def track(
    items: Iterable[_Item], stage: str, *, total: int | None = None, unit: str = "tiles"
) -> Iterator[_Item]:
    """Yield items, and report each one that is finished.

    Args:
        items: what is worked on.
        stage: what is being done.
        total: number of items; default: their length, if they have one.
        unit: what an item is, in the plural.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    report(stage, 0, total, unit=unit)
    for done, item in enumerate(items, start=1):
        yield item
        report(stage, done, total, unit=unit)
