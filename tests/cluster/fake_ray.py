"""Ray in this process, without actors that can be lost by themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class RemoteError(Exception):
    """As Ray raises for a lost actor."""


@dataclass
class FakeRay:
    """Actors in this process; some are lost.

    Attributes:
        lost: numbers of the actors that do not answer.
    """

    lost: set[int] = field(default_factory=set)
    made: int = 0

    class exceptions:  # noqa: N801 - the name of Ray's module
        RayTaskError = KeyError
        RayError = RemoteError

    def remote(self, **options: Any) -> Any:
        assert options["max_restarts"] == -1
        return self._actor_class

    def _actor_class(self, kind: Any) -> Any:
        return _Remote(lambda *arguments: self._actor(kind(*arguments)))

    def _actor(self, part: Any) -> Any:
        number, self.made = self.made, self.made + 1

        def search(*arguments: Any) -> Any:
            return RemoteError("node died") if number in self.lost else part.search(*arguments)

        return type("Actor", (), {"search": _Remote(search), "check": _Remote(part.check)})

    def put(self, value: Any) -> Any:
        return value

    def wait(self, asked: Sequence[Any], **_: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        return asked, []

    def get(self, found: Any) -> Any:
        if isinstance(found, Exception):
            raise found
        return found


@dataclass
class _Remote:
    remote: Any
