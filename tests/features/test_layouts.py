"""What single layouts hold, read in this process."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from histo_index.errors import InputError
from histo_index.features.containers.hdf5 import read_blocks
from histo_index.features.layouts.opening import open_parts
from histo_index.features.unit_rows import is_usable, unit_rows
from tests.features.hostile import Trap
from tests.features.writers import (
    draw_slide,
    write_atlaspatch,
    write_clam,
    write_lazyslide,
    write_slide2vec,
    write_tensor,
)

SLIDE = draw_slide("s", 12, 6)


def test_a_tensor_of_clam_needs_places_and_holds_its_features(tmp_path: Path) -> None:
    write_clam(tmp_path, SLIDE)
    with ExitStack() as stack:
        (part,) = open_parts(tmp_path / "pt_files" / "s.pt", stack)
        assert part.blocks is not None
        values = np.concatenate([block for block, _ in part.blocks()])
    assert np.array_equal(values, SLIDE.features)
    assert (part.facts.slide, part.facts.has_places, part.facts.tool) == (
        "s", False, "CLAM or TRIDENT",
    )  # fmt: skip


def test_the_json_of_slide2vec_names_the_encoder_of_a_tensor(tmp_path: Path) -> None:
    path = write_slide2vec(tmp_path, SLIDE, encoder="virchow2", form="pt")
    with ExitStack() as stack:
        (part,) = open_parts(path, stack)
    assert (part.facts.encoder, part.facts.tool) == ("virchow2", "slide2vec")


def test_embeddings_of_slide2vec_are_in_the_order_of_its_coordinates(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    np.savez(path, features=SLIDE.features, tile_index=np.arange(12))
    with ExitStack() as stack:
        assert next(open_parts(path, stack)).facts.rows == 12
    np.savez(path, features=SLIDE.features, tile_index=np.arange(12)[::-1])
    with pytest.raises(InputError, match="`tile_index` is not 0 to 11: its rows"), ExitStack() as s:
        list(open_parts(path, s))


def test_rows_that_a_file_never_got_are_zero(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "s.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 8))
        plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((8, 8))
        h5py.h5d.create(file.id, b"features", h5py.h5t.NATIVE_FLOAT, space, plist)
        file["features"][:4] = 1
        stale = np.full((8, 8), 7, np.float32)
        del stale  # its memory is what is allocated next
        ((block, _),) = read_blocks(file["features"], 8, 8)
    assert np.array_equal(block, np.repeat([[1.0], [0.0]], 4, axis=0) * np.ones(8))


def test_a_patch_file_of_clam_gives_the_size_at_level_0(tmp_path: Path) -> None:
    write_clam(tmp_path, SLIDE, tensor=False)
    with ExitStack() as stack:
        (part,) = open_parts(tmp_path / "patches" / "s.h5", stack)
        assert part.places is not None
        assert np.array_equal(part.places(), SLIDE.places)
    facts = part.facts
    assert (facts.size, facts.rows, facts.size_px, facts.span_px) == (0, 12, 256, 512.0)


def test_each_matrix_of_a_file_is_a_part(tmp_path: Path) -> None:
    paths = [
        write_atlaspatch(tmp_path, SLIDE, encoders=("a", "b")),
        write_lazyslide(tmp_path, SLIDE, models=("a", "b")),
    ]
    for path in paths:
        with ExitStack() as stack:
            parts = list(open_parts(path, stack))
        assert [part.facts.encoder for part in parts] == ["a", "b"]


def test_no_code_in_a_tensor_file_is_run(tmp_path: Path) -> None:
    import torch

    marker = tmp_path / "code_was_run"
    torch.save({"features": Trap(marker)}, tmp_path / "trap.pt")
    write_tensor(tmp_path / "slide.pt", SLIDE.features[0])
    (tmp_path / "cut.pt").write_bytes((tmp_path / "slide.pt").read_bytes()[:-40])
    for name, words in {
        "trap": "not a plain tensor (",
        "slide": "one vector of 6 for a whole slide; pass tile features",
        "cut": "not a plain tensor (",
    }.items():
        with pytest.raises(InputError) as caught, ExitStack() as stack:
            list(open_parts(tmp_path / f"{name}.pt", stack))
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_rows_of_unit_length_stay_bit_by_bit() -> None:
    rows = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    stored, lengths = unit_rows(rows)
    assert lengths == pytest.approx(np.linalg.norm(rows, axis=1), rel=1e-6)
    again, _ = unit_rows(stored.astype(np.float32))
    assert np.array_equal(stored, again)
    exact = rows / np.linalg.norm(rows.astype(np.float64), axis=1)[:, None]
    assert np.abs(stored - exact).max() <= 2**-11


def test_rows_of_any_length_are_scaled_and_others_are_told_apart() -> None:
    rows = np.array([[3e30, 4e30], [3e-40, 4e-40], [0, 0], [np.nan, 1], [np.inf, 1]])
    unit, lengths = unit_rows(rows)
    assert unit[:2] == pytest.approx(np.array([[0.6, 0.8], [0.6, 0.8]]), abs=1e-3)
    assert is_usable(lengths).tolist() == [True, True, False, False, False]
    assert not unit[2:].any()
