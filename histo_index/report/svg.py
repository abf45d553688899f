"""Charts as SVG inside the page: matplotlib draws, the page's style sheet chooses the colours.

User text never enters a chart: matplotlib would parse `$` as a formula.
"""

import io
import re
from collections.abc import Callable
from typing import Any, Final

from markupsafe import Markup

# Placeholder colours for matplotlib. Each becomes a variable of the style sheet, so that one chart
# is legible in light mode, in dark mode and in print.
_NAMES: Final = (
    "ink", "muted", "grid", "same", "different", "accent", "paper", "band",
    "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7",
)  # fmt: skip
COLOURS: Final = {name: f"#0f0f{0xA0 + number:02x}" for number, name in enumerate(_NAMES)}
_VARIABLES: Final = {code: f"var(--{name})" for name, code in COLOURS.items()}

# matplotlib types this by the names of its parameters, which differ between its versions.
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "figure.facecolor": "none",
    "legend.frameon": False,
}
_NO_METADATA: Final = {"Creator": None, "Date": None, "Format": None, "Type": None}

# Axes of matplotlib, whose own types are partial.
Paint = Callable[..., None]


def draw(
    name: str, alternative: str, paint: Paint, *, size: tuple[float, float] = (9.6, 3.8)
) -> Markup:
    """Draw a chart.

    Args:
        name: name of the chart, unique on a page.
        alternative: text alternative of the chart.
        paint: draws on the axes it receives.
        size: width and height in inches of 72 px; the page scales it.

    Returns:
        An `svg` element with a title, for use in a page.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # The salt makes the ids of charts distinct, and equal in every run.
    with rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=_NO_METADATA)
    return _inlined(written.getvalue(), alternative)


def _inlined(svg: str, alternative: str) -> Markup:
    """Convert an SVG file for a page: no header, no style, colours of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for code, variable in _VARIABLES.items():
        svg = svg.replace(code, variable)
    start, rest = svg.split(">", 1)
    start = re.sub(r' (width|height|version)="[^"]*"', "", start)
    # Safe to mark: every character comes from matplotlib, apart from the title, which is escaped.
    title = Markup("<title>{}</title>").format(alternative)
    return Markup(f'{start} role="img">{title}{rest}')
