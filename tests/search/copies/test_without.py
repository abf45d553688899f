"""Search without copies: those of the query, and all but the nearest of others."""

from pathlib import Path

import numpy as np
import pytest

import histo_index
from histo_index.errors import InputError
from histo_index.indexer.embeddings import read_embeddings
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.searching import SearchOptions
from histo_index.search.copies.tile_files import TileFiles
from histo_index.search.copies.without import nearest_without_copies
from histo_index.search.inputs.resolve import Located, vectors_of
from histo_index.search.neighbours.filters import Filters
from histo_index.search.neighbours.nearest import nearest_rows
from tests.search.copies.pictures import numbered_pictures
from tests.vectors import build_numbered, unit_vectors

N, D = 300, 24


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> OpenIndex:
    """Tiles 1 to 59 are copies of 0, 61 to 89 of 60; 91 has the content of 90."""
    vectors = unit_vectors(N, D, seed=3)
    vectors[1:60] = vectors[0] + unit_vectors(59, D, seed=4) * 0.01
    vectors[61:90] = vectors[60] + unit_vectors(29, D, seed=5) * 0.01
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    contents = [90 if tile == 91 else tile for tile in range(N)]
    names = [f"{n:03}.png" for n in range(N)]
    folder, _ = build_numbered(tmp_path_factory.mktemp("copies"), vectors, names, contents=contents)
    histo_index.reindex(folder, distance="diffused")
    return OpenIndex(folder)


def row(index: OpenIndex, number: int) -> Located:
    return Located(name=f"{number:03}.png", vector=index.matrix[number], row=number)


def foreign(index: OpenIndex, number: int, file: Path | None = None) -> Located:
    """Ask as if an indexed tile were an image outside the index."""
    embedding = read_embeddings(index, np.array([number]))
    vector = vectors_of(index, embedding)[0]
    return Located(name="new.png", vector=vector, embedding=embedding[0], file=file)


def without(
    index: OpenIndex, *queries: Located, k: int, files: TileFiles | None = None
) -> list[list[int]]:
    found = nearest_without_copies(index, queries, k=k, filters=Filters(), files=files)
    return [rows[rows >= 0].tolist() for rows in found.rows]


def in_order(index: OpenIndex, number: int) -> list[int]:
    """List all other tiles, nearest first."""
    found = nearest_rows(index, index.matrix[[number]], k=N, own_rows=[number])
    return [int(tile) for tile in found.rows[0] if tile >= 0]


def test_copies_are_dropped_and_replaced(index: OpenIndex) -> None:
    assert index.manifest.distance_kind == "diffused"
    order = in_order(index, 0)
    assert set(order[:59]) == set(range(1, 60))
    first = next(tile for tile in order if 60 <= tile < 90)
    same = next(tile for tile in order if tile in {90, 91})
    expected = [tile for tile in order[59:] if tile in {first, same} or tile > 91]
    assert without(index, row(index, 0), k=250) == [expected]
    both = without(index, row(index, 0), row(index, 200), k=20)
    assert both[0] == expected[:20]
    assert len(both[1]) == 20


def test_an_image_outside_the_index_has_copies_too(index: OpenIndex) -> None:
    (own,) = without(index, row(index, 0), k=20)
    assert without(index, foreign(index, 0), row(index, 0), k=20) == [own, own]
    # It ends where no further tile is left.
    (everything,) = without(index, foreign(index, 0), k=N)
    assert everything[:20] == own
    assert len(everything) < N - 59


def test_pixels_decide_where_the_files_are(index: OpenIndex, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (N, 32, 32), np.uint8)
    pictures[7] = np.rot90(pictures[0])
    files = numbered_pictures(index, pictures)
    order = [tile for tile in in_order(index, 0) if tile != 7]
    assert without(index, row(index, 0), k=30, files=files) == [order[:30]]
    new = tmp_path / "new.png"
    new.write_text("7")
    found = without(index, foreign(index, 0, new), k=30, files=files)
    expected = [0, *order] if order[0] else order
    assert found == [[tile for tile in expected if tile not in {0, 7}][:30]]


def test_agreeing_pixels_are_copies_however_far_apart(index: OpenIndex) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (N, 32, 32), np.uint8)
    pictures[200] = pictures[0]
    pictures[210] = pictures[220]
    files = numbered_pictures(index, pictures)
    (found,) = without(index, row(index, 0), k=N, files=files)
    nearer, further = sorted([210, 220], key=in_order(index, 0).index)
    # 90 and 91 have one content.
    missing = {0, 200, further, *{90, 91} - set(found)}
    assert set(found) == set(range(N)) - missing
    assert nearer in found


def test_equal_bytes_are_copies_however_blank(index: OpenIndex) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (N, 32, 32), np.uint8)
    # Blank tiles do not correlate with anything.
    pictures[[90, 91]] = 240
    files = numbered_pictures(index, pictures)
    (found,) = without(index, row(index, 0), k=N, files=files)
    assert len({90, 91} & set(found)) == 1


def test_a_missing_file_leaves_the_distance(index: OpenIndex) -> None:
    files = numbered_pictures(index, np.zeros((0, 32, 32), np.uint8))
    assert without(index, row(index, 0), k=20, files=files) == without(index, row(index, 0), k=20)


def test_other_words_than_keep_and_drop_are_refused() -> None:
    with pytest.raises(InputError, match=r"^--near-duplicates hide: expected keep or drop$"):
        SearchOptions(near_duplicates="hide")
