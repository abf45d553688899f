"""The commands of README.md and docs/ run as they stand there and print what the pages show."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.doc_pages import (
    PAGES,
    ROOT,
    Example,
    copy_demo,
    mask,
    read_examples,
    run_example,
)
from tests.warm import Warm

DRAWN: Final = {
    "assets/preview.png",
    "assets/heatmap.png",
    "assets/serve-search.png",
    "assets/serve-mark.png",
    "assets/serve-slide.png",
}

EXAMPLES: Final = [example for page in PAGES for example in read_examples(page)]


@pytest.fixture(scope="module")
def page_folders(made_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copy the demo for each page, so that no page depends on another."""
    return {page: copy_demo(made_demo, tmp_path_factory.mktemp("page")) for page in PAGES}


@pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if not example.is_demo],
    ids=lambda example: f"{example.page}:{example.line}",
)
def test_example_prints_what_the_page_shows(
    page_folders: dict[str, Path], warm: Warm, example: Example
) -> None:
    printed = run_example(example, page_folders[example.page], warm)
    if example.shown:
        assert mask("\n".join(printed)) == mask("\n".join(example.shown)), (
            "run `make refresh-docs` if the new output is right"
        )


def test_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert 120 <= len(lines) <= 160


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue  # a model card, which no test visits
        path, _, anchor = link.partition("#")
        if path in DRAWN:
            continue  # `make docs` draws it; no clone has it
        target = page.parent / path if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """List the anchors of a page's headings, as the site spells them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    kept = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[-\s]+", "-", heading) for heading in kept}


def test_every_page_is_in_the_navigation() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("nav:\n")[1]
    assert {line.split(": ")[1] for line in nav.splitlines() if line} == pages


def test_promises_page_lists_what_is_tested() -> None:
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    tested = {int(path.name[5:7]) for path in (ROOT / "tests" / "promises").glob("test_*.py")}
    assert numbers(text) == tested == set(range(1, 34))


def numbers(text: str) -> set[int]:
    """Read the numbers in the first column of a table."""
    return {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}


def test_site_loads_nothing_from_other_hosts() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in config
    assert "://" not in config
