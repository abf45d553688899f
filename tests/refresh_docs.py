"""Write what the commands of README and docs print now; `make refresh-docs` runs this.

An output is replaced where the page shows one and more than the times of this machine differ, so
that all figures of a page are of one run. The option tables of docs/cli.md and the outputs of
docs/tour.ipynb are written again too.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests import cli_page, tour
from tests.doc_pages import (
    PAGES,
    ROOT,
    copy_demo,
    make_demo,
    mask_times,
    read_examples,
    run_example,
)
from tests.warm import Warm


def refresh_page(page: str, folder: Path, warm: Warm) -> None:
    """Run the examples of a page and replace outputs that are out of date."""
    path = ROOT / page
    lines = path.read_text(encoding="utf-8").splitlines()
    shift = 0
    for example in read_examples(page):
        printed = [] if example.is_demo else run_example(example, folder, warm)
        if example.shown and _differ(printed, example.shown):
            start = example.line + shift
            lines[start : start + len(example.shown)] = printed
            shift += len(printed) - len(example.shown)
            print(f"{page}:{example.line}: output written again")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _differ(printed: list[str], shown: list[str]) -> bool:
    return mask_times("\n".join(printed)) != mask_times("\n".join(shown))


def main() -> None:
    """Refresh every page."""
    text = cli_page.PAGE.read_text(encoding="utf-8")
    cli_page.PAGE.write_text(cli_page.refresh(text), encoding="utf-8")
    with tempfile.TemporaryDirectory() as name, Warm() as warm:
        made = Path(name) / "made"
        made.mkdir()
        make_demo(made, warm)
        for number, page in enumerate(PAGES):
            folder = Path(name) / str(number)
            folder.mkdir()
            refresh_page(page, copy_demo(made, folder), warm)
        tour.write(tour.execute(Path(name)))


if __name__ == "__main__":
    main()
