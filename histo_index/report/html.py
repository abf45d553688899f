"""Render the templates. All data is escaped, and no page loads anything from a network."""

from collections.abc import Mapping
from functools import cache
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from histo_index.indexer.format.encoder_card import DeclaredEncoder
from histo_index.indexer.format.records import read_record
from histo_index.search.bootstrap import Estimate
from histo_index.wording import counted, printable

UNKNOWN: Final = "–"
# Parts of a calibration that are too long for the page, and warnings, which name tiles.
_LONGEST_NAME: Final = 42
_LEFT_OUT: Final = ("curve", "histogram", "contents", "classes", "warnings")


@cache
def environment(package: str = "histo_index.report") -> Environment:
    """Return the templates of a package; those of the reports can be used by all."""
    loaders = [PackageLoader(name) for name in dict.fromkeys((package, "histo_index.report"))]
    found = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
    )
    found.filters |= {
        "counted": counted,
        "number": number,
        "ends": ends,
        "percent": percent,
        "brief": brief,
        "breakable": breakable,
    }
    return found


def fill(template: str, **values: Any) -> str:
    """Render a template; text in `values` is escaped."""
    return environment().get_template(template).render(**values)


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """Format a number; None is a dash."""
    # z: a number that rounds to zero has no sign.
    return UNKNOWN if value is None else f"{value:{'+' if sign else '-'}z.{digits}f}"


def ends(figure: Estimate | None) -> str:
    """Format the interval of an estimate; empty without one."""
    if figure is None or figure.low is None or figure.high is None:
        return ""
    return f"{figure.low:z.3f}…{figure.high:z.3f}"


def brief(name: str) -> str:
    """Shorten a name from its middle, so that it takes at most four lines below a tile."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME // 3]}…{name[1 + _LONGEST_NAME // 3 - _LONGEST_NAME :]}"


def breakable(name: object) -> Markup:
    """Escape a name, and allow a line to end after each underscore of it."""
    return Markup("_<wbr>").join(printable(name).split("_"))


def percent(value: float | None) -> str:
    """Format a share: `3 %`, `0.4 %`, `<0.1 %`; only 0 and 1 themselves are 0 % and 100 %."""
    if value is None:
        return UNKNOWN
    if 0.005 < value < 0.995 or value in (0, 1):
        return f"{100 * value:.0f} %"
    if not 0.001 <= value <= 0.999:
        return "<0.1 %" if value < 0.5 else ">99.9 %"
    return f"{100 * value:.1f} %"


def encoder_facts(card: Mapping[str, Any]) -> dict[str, Any]:
    """Select the facts about an encoder: no thresholds, since the page shows the one in use."""
    left_out = ("threshold", "diffused_threshold", "declared")
    shown = {name: value for name, value in card.items() if name not in left_out}
    if declared := card.get("declared"):
        found = read_record(DeclaredEncoder, declared)
        shown |= {"name": found.name, "status": found.status}
    return shown


def facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Flatten nested facts to names and texts; absolute paths lose their folder."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if name in _LEFT_OUT:
            continue
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            found += [(f"{label}: {inner}", text) for inner, text in facts(value)]
        else:
            found.append((label, _fact(value)))
    return found


def _fact(value: Any) -> str:
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_fact(item) for item in value) or UNKNOWN
    return without_folder(str(value))


def without_folder(text: str) -> str:
    """Return the last part of an absolute path, or the text itself."""
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(text).is_absolute():
            return kind(text).name
    return text
