"""Features written in every layout come back as an index that answers as the original does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import histo_index
from histo_index.api.features.import_features import import_features
from histo_index.api.features.options import FeatureOptions, ImportReport
from histo_index.slides.reading.identity import SlideTile
from tests.features.writers import (
    Array,
    SlideFeatures,
    draw_slide,
    write_atlaspatch,
    write_clam,
    write_h5ad,
    write_lazyslide,
    write_npy,
    write_parquet,
    write_slide2vec,
    write_trident,
    write_trident_patches,
)

D = 24
# Features alone, places in another file.
NAMES = ("atlas", "clam", "lazy", "lazy2", "s2v", "trident", "wide")
SLIDES = [draw_slide(name, 25 + at, D, seed=at) for at, name in enumerate(NAMES)]
LABELS = {name: "ab"[at % 2] for at, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> histo_index.Index:
    """An index of all slides, in the order of their names."""
    ids = [name for slide in SLIDES for name in tile_names(slide)]
    slide_ids = [slide.name for slide in SLIDES for _ in slide.features]
    return histo_index.from_embeddings(
        ids, np.concatenate([slide.features for slide in SLIDES]),
        tmp_path_factory.mktemp("original") / "x.hx",
        {"slide_id": slide_ids, "label": [LABELS[name] for name in slide_ids]}, encoder="uni_v2",
    )  # fmt: skip


def tile_names(slide: SlideFeatures, *, slide_mpp: float | None = None) -> list[str]:
    return [
        str(SlideTile(slide=slide.name, x=x, y=y, mpp=0.5, size=256, slide_mpp=slide_mpp))
        for x, y in slide.places.tolist()
    ]


def stored(index: histo_index.Index) -> list[SlideFeatures]:
    """What is stored of each slide, as another program would have computed it."""
    ends = np.cumsum([len(slide.features) for slide in SLIDES])
    parts = np.split(index.embeddings(), ends[:-1])
    return [
        SlideFeatures(name=slide.name, features=part, places=slide.places)
        for slide, part in zip(SLIDES, parts, strict=True)
    ]


@pytest.fixture(scope="module")
def imported(
    original: histo_index.Index, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ImportReport, histo_index.Index]:
    """An import of seven slides in the layouts of five programs."""
    root = tmp_path_factory.mktemp("imported")
    atlas, clam, lazy, lazy2, s2v, trident, wide = stored(original)
    write_atlaspatch(root / "a", atlas)
    write_clam(root / "c", clam, tensor=False)
    write_lazyslide(root, lazy)
    write_lazyslide(root, lazy2, zarr_format=2, with_places=False)
    write_slide2vec(root / "s", s2v)
    write_trident(root / "t", trident)
    write_trident(root / "t", wide, nested=True)
    write_trident_patches(root / "t", wide)
    metadata = root / "cases.csv"
    rows = [f"{name}.svs,{label}" for name, label in LABELS.items()]
    metadata.write_text("\n".join(["slide,label", *rows]))
    options = FeatureOptions(
        metadata=metadata,
        slide_mpp=dict.fromkeys(("atlas", "clam", "trident", "wide"), 0.25),
    )
    report = import_features(root, root / "x.hx", options)
    return report, histo_index.open(root / "x.hx")


def test_layouts_of_five_programs_give_the_same_answers(
    original: histo_index.Index, imported: tuple[ImportReport, histo_index.Index]
) -> None:
    report, index = imported
    assert report.reasons == ()
    assert (report.tiles, report.slides, report.size) == (len(original), len(SLIDES), D)
    assert (report.encoder, report.status) == ("uni_v2", "declared, not verified")
    assert report.tools == {
        "AtlasPatch": 1, "CLAM or TRIDENT": 1, "LazySlide": 2, "slide2vec": 1, "TRIDENT": 2,
    }  # fmt: skip
    given = {"atlas", "clam", "trident", "wide"}  # their scale was given by the user
    expected = {
        name: row
        for slide in SLIDES
        for row, name in enumerate(
            tile_names(slide, slide_mpp=0.25 if slide.name in given else None)
        )
    }
    assert sorted(index) == sorted(expected)
    by_slide = dict(zip([slide.name for slide in SLIDES], stored(original), strict=True))
    table = index.table(["image_id", "slide_id", "x", "y", "mpp", "size", "label"])
    embeddings = index.embeddings()
    for row, tile in enumerate(table.to_pylist()):
        at, slide = expected[tile["image_id"]], by_slide[tile["slide_id"]]
        assert np.array_equal(embeddings[row], slide.features[at])
        assert [tile["x"], tile["y"]] == slide.places[at].tolist()
        assert (tile["mpp"], tile["size"], tile["label"]) == (0.5, 256, LABELS[slide.name])


def test_pairs_and_neighbours_are_equal(
    original: histo_index.Index, imported: tuple[ImportReport, histo_index.Index]
) -> None:
    index = imported[1]
    ids, own = list(original), list(index)
    place = {name.partition(",mpp")[0]: at for at, name in enumerate(own)}
    same = [own[place[name.partition(",mpp")[0]]] for name in ids]
    for a, b in ((0, 1), (3, 90), (40, 170)):
        first, second = original.pair(ids[a], ids[b]), index.pair(same[a], same[b])
        assert second.distance == pytest.approx(first.distance, abs=2e-3)
    (near,), (found,) = original.search(ids[5], k=5), index.search(same[5], k=5)
    assert [same[ids.index(n.image_id)] for n in near] == [n.image_id for n in found]


@pytest.fixture(scope="module")
def own_ids(
    original: histo_index.Index, tmp_path_factory: pytest.TempPathFactory
) -> histo_index.Index:
    """An import of tiles with their own ids: a third in AnnData, NumPy and Parquet each."""
    root = tmp_path_factory.mktemp("own")
    table = original.table(["image_id", "label"])
    rows, thirds = original.embeddings(), np.array_split(np.arange(len(original)), 3)
    writers: list[tuple[str, Callable[[Path, Array, pa.Table], Path]]] = [
        ("a.h5ad", write_h5ad), ("b.npy", write_npy), ("c.parquet", write_parquet),
    ]  # fmt: skip
    for at, (name, write) in zip(thirds, writers, strict=True):
        # Names of slide tiles have commas, which our writer of CSV does not quote.
        ids = [name.replace(",", ";") for name in table["image_id"].take(pa.array(at)).to_pylist()]
        own = table.take(pa.array(at)).set_column(0, "image_id", pa.array(ids))
        write(root / name, rows[at], own)
    import_features(root, root / "x.hx", FeatureOptions(encoder_name="uni_v2"))
    return histo_index.open(root / "x.hx")


def test_anndata_numpy_and_parquet_give_equal_answers(
    original: histo_index.Index, own_ids: histo_index.Index
) -> None:
    assert [name.replace(";", ",") for name in own_ids] == list(original)
    assert np.array_equal(own_ids.embeddings(), original.embeddings())
    assert own_ids.table(["label"]) == original.table(["label"])
    assert np.array_equal(own_ids.vectors(), original.vectors())
    ids, own = list(original), list(own_ids)
    assert own_ids.pair(own[3], own[90]).distance == original.pair(ids[3], ids[90]).distance
    near = [(n.image_id, n.distance) for n in original.search(ids[9], k=7)[0]]
    found = [(n.image_id.replace(";", ","), n.distance) for n in own_ids.search(own[9], k=7)[0]]
    assert found == near
