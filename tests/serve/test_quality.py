"""The page of what may be wrong with an index."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from histo_index.api.build import build
from histo_index.api.declared.from_embeddings import from_embeddings
from histo_index.api.index import Index
from histo_index.errors import InputError
from histo_index.serve.answers.survey import Surveys, make_survey
from tests.serve.site import PATIENT, Client, Site, serving


def test_copies_across_groups_come_first_and_outliers_are_those_of_the_command(
    own_site: Site,
) -> None:
    first, *_, last = sorted(own_site.tiles.rglob("*.png"))
    labels = own_site.tiles / "labels.csv"
    lines = labels.read_text().splitlines()
    copy = last.with_name("copy.png")
    shutil.copyfile(first, copy)
    (row,) = (
        line for line in lines if line.startswith(last.relative_to(own_site.tiles).as_posix())
    )
    name = copy.relative_to(own_site.tiles).as_posix()
    lines.append(name + row[len(last.relative_to(own_site.tiles).as_posix()) :])
    (own_site.tiles / "broken.png").write_bytes(b"no image")
    lines.append("broken.png" + row[len(last.relative_to(own_site.tiles).as_posix()) :])
    labels.write_text("\n".join(lines) + "\n")
    build(output=own_site.index)
    index = Index(own_site.index)
    with serving(own_site.config()) as client:
        page = client.get("/quality").text
        while "asks again by itself" in page:
            assert '<meta http-equiv="refresh" content="3">' in page
            page = client.get("/quality").text
        ids = client.state.current.get().ids
        outlier = index.outliers(count=1)["image_id"][0].as_py()
        expected = ids.id_of_name(outlier)
        copied = [
            ids.id_of_name(path.relative_to(own_site.tiles).as_posix()) for path in (first, copy)
        ]
    copies, _, rest = page.partition('id="outliers"')
    assert re.search(r"Copies: \d+ sets?, 1 across groups", copies)
    shown = re.findall(r"search\?id=([0-9a-f]{32})", copies)
    assert sorted(shown[:2]) == sorted(copied)
    assert copies.count("the same file") == 1
    assert re.findall(r"search\?id=([0-9a-f]{32})", rest)[0] == expected
    assert "not an image" in rest
    assert f"{PATIENT}-" not in page


def test_copies_that_are_not_shown_are_counted(own_site: Site) -> None:
    tiles = sorted(own_site.tiles.rglob("*.png"))
    lines = (own_site.tiles / "labels.csv").read_text().splitlines()
    for number, tile in enumerate(tiles[:3]):
        name = tile.relative_to(own_site.tiles).as_posix()
        (row,) = (line for line in lines if line.startswith(name))
        copy = tile.with_name(f"copy-{number}.png")
        shutil.copyfile(tile, copy)
        lines.append(copy.relative_to(own_site.tiles).as_posix() + row[len(name) :])
    (own_site.tiles / "labels.csv").write_text("\n".join(lines) + "\n")
    build(output=own_site.index)
    with serving(own_site.config()) as client:
        survey = make_survey(client.state.current.get(), most_shown=1)
    assert (len(survey.copies), survey.sets >= 3) == (1, True)


def test_copies_on_two_slides_are_across_slides(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(8, 16))
    names = [f"{number % 4}.png" for number in range(4)] + ["copy.png"]
    rows = [0, 1, 2, 3, 0]
    site = Site(folder=tmp_path)
    slides = ["one", "one", "two", "two", "two"]
    from_embeddings(names, vectors[rows], site.index, {"slide_id": slides}, encoder="other")
    with serving(site.config()) as client:
        survey = make_survey(client.state.current.get())
        page = client.get("/quality").text
    assert (survey.groups, survey.sets, survey.spanning) == ("slides", 1, 1)
    assert "1 across slides" in page


def test_a_large_index_is_sent_to_the_command_line(client: Client) -> None:
    surveys = Surveys(most_tiles=47)
    with pytest.raises(InputError, match="more than 47 tiles are not surveyed here; run"):
        surveys.get(client.state.current.get(), 1.0)
    surveys.close()
