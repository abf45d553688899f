"""Fill the templates: everything that comes from data is escaped, and no page needs a network."""

from collections.abc import Mapping
from functools import cache
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from histo_index.search.bootstrap import Estimate
from histo_index.wording import counted, printable

UNKNOWN: Final = "–"
# What the index knows of its calibration beyond what a reader can take in; its warnings name tiles.
_LEFT_OUT: Final = ("curve", "histogram", "contents", "warnings")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("histo_index.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
    )
    environment.filters |= {"counted": counted, "number": number, "ends": ends, "percent": percent}
    return environment


def fill(template: str, **values: Any) -> str:
    """Fill a template of this piece; what is text in `values` is text on the page."""
    return _environment().get_template(template).render(**values)


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """Write a figure; an unknown one is a dash."""
    # z: what rounds to nothing has no sign.
    return UNKNOWN if value is None else f"{value:{'+' if sign else '-'}z.{digits}f}"


def ends(figure: Estimate | None) -> str:
    """Write the interval of a figure; nothing where there is none."""
    if figure is None or figure.low is None or figure.high is None:
        return ""
    return f"{figure.low:z.3f}…{figure.high:z.3f}"


def percent(value: float | None) -> str:
    """Write a share; what is not quite all or none does not look so."""
    if value is None:
        return UNKNOWN
    if 0.005 < value < 0.995 or value in (0, 1):
        return f"{100 * value:.0f} %"
    return f"{100 * min(max(value, 0.001), 0.999):.1f} %"


def facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lay out nested facts as names and texts; of a whole path only its end is told."""
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
    """Cut a whole path down to its last part; other text stays as it is."""
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(text).is_absolute():
            return kind(text).name
    return text
