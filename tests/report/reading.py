"""Read a page as a browser would: its elements, its text, and the figures it shows."""

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Page(HTMLParser):
    """What stands on a page.

    Attributes:
        elements: name and attributes of each element, in order.
        figures: `data-figure` to the texts shown for it.
        values: `data-figure` to the full numbers behind them.
        text: all text outside the style sheet.
    """

    source: str
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    figures: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._open = ""
        self._is_style = False
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        self._is_style = tag == "style"
        if key := attributes.get("data-figure"):
            self._open = key
            self.figures.setdefault(key, []).append("")
            if attributes.get("value"):
                self.values.setdefault(key, []).append(float(attributes["value"]))

    def handle_endtag(self, tag: str) -> None:
        self._open, self._is_style = "", False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.figures[self._open][-1] += data
        if not self._is_style:
            self.text += data
