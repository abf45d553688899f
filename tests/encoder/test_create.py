"""Making encoder folders: untrained ones and imported ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from histo_index.encoder import create
from histo_index.encoder.create import import_encoder, init_encoder
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.importing.checkpoint import read_checkpoint
from histo_index.encoder.runtime.untrained import random_weights
from histo_index.errors import InputError, MismatchError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "best.pth"
    weights = random_weights("resnet18", seed=3)
    torch.save({name: torch.from_numpy(array) for name, array in weights.items()}, path)
    return path


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another process spends seconds on loading torch.
    monkeypatch.setattr(create, "read_in_child", read_checkpoint)


def test_an_untrained_encoder_is_marked_as_such(tmp_path: Path) -> None:
    fingerprint = init_encoder(tmp_path / "encoder", arch="resnet18", seed=4)
    encoder = load_encoder(tmp_path / "encoder")
    assert encoder.fingerprint == fingerprint
    assert encoder.config.training == {"method": "none", "seed": 4}
    assert not encoder.config.is_trained
    assert encoder.config.preprocessing == Preprocessing(resize_px=224, crop_px=224)
    assert (encoder.config.threshold, encoder.config.mpp) == (None, None)


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = init_encoder(tmp_path / "a", arch="resnet18", seed=4)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert init_encoder(tmp_path / "b", arch="resnet18", seed=4) == first
    assert torch.equal(torch.get_rng_state(), before)  # nobody else's dice are touched
    assert init_encoder(tmp_path / "c", arch="resnet18", seed=5) != first


@pytest.mark.usefixtures("no_child")
def test_imported_encoder_records_its_source(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "encoder"
    fingerprint = import_encoder(
        checkpoint, output, arch="resnet18", pooling="covariance", threshold=0.705, mpp=0.5
    )
    encoder = load_encoder(output)
    assert encoder.fingerprint == fingerprint
    assert encoder.config.is_trained
    assert encoder.config.training == {"method": "imported", "checkpoint": "best.pth"}
    assert encoder.config.mpp == 0.5
    assert encoder.config.pooling == "covariance"
    assert encoder.config.threshold is not None
    assert encoder.config.threshold.value == 0.705
    assert encoder.config.threshold.origin == "given when encoder was made"
    expected = random_weights("resnet18", seed=3)
    # Of the stage that this pooling does not take nothing is kept.
    used = {name for name in expected if not name.startswith("layer4.")}
    assert len(expected) - len(used) == 25
    assert encoder.weights.keys() == used
    assert all(np.array_equal(encoder.weights[name], expected[name]) for name in used)


@pytest.mark.usefixtures("no_child")
def test_without_a_threshold_none_is_published(checkpoint: Path, tmp_path: Path) -> None:
    import_encoder(checkpoint, tmp_path / "encoder", arch="resnet18")
    config = load_encoder(tmp_path / "encoder").config
    assert (config.threshold, config.pooling) == (None, "mean")


def test_an_unknown_architecture_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    words = (
        "unknown architecture vgg16; expected one of resnet18, resnext50_32x4d, resnext101_32x8d"
    )
    with pytest.raises(InputError) as caught:
        init_encoder(tmp_path / "a", arch="vgg16", seed=0)
    assert str(caught.value) == words
    with pytest.raises(InputError) as caught:
        import_encoder(checkpoint, tmp_path / "a", arch="vgg16")
    assert str(caught.value) == words
    assert not (tmp_path / "a").exists()


@pytest.mark.usefixtures("no_child")
def test_a_refused_import_leaves_no_folder(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="is not a resnext50_32x4d"):
        import_encoder(checkpoint, tmp_path / "a", arch="resnext50_32x4d")
    with pytest.raises(InputError, match=r"threshold 5\.0 is not a distance"):
        import_encoder(checkpoint, tmp_path / "a", arch="resnet18", threshold=5.0)
    words = "unknown pooling max; expected one of mean, covariance"
    with pytest.raises(InputError, match=words):
        import_encoder(checkpoint, tmp_path / "a", arch="resnet18", pooling="max")
    with pytest.raises(InputError, match=r"mpp 0\.0 is not a length"):
        import_encoder(checkpoint, tmp_path / "a", arch="resnet18", mpp=0.0)
    assert not (tmp_path / "a").exists()


@pytest.mark.usefixtures("no_child")
def test_nothing_is_overwritten_without_the_option(checkpoint: Path, tmp_path: Path) -> None:
    first = init_encoder(tmp_path / "a", arch="resnet18", seed=4)
    with pytest.raises(InputError, match="exists already"):
        import_encoder(checkpoint, tmp_path / "a", arch="resnet18")
    with pytest.raises(InputError, match="exists already"):
        import_encoder(tmp_path / "never-read.pth", tmp_path / "a", arch="resnet18")
    assert load_encoder(tmp_path / "a").fingerprint == first
    second = import_encoder(checkpoint, tmp_path / "a", arch="resnet18", overwrite=True)
    assert load_encoder(tmp_path / "a").fingerprint == second != first


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_a_seed_out_of_range_is_refused(tmp_path: Path, seed: int) -> None:
    with pytest.raises(InputError) as caught:
        init_encoder(tmp_path / "a", arch="resnet18", seed=seed)
    assert str(caught.value) == f"seed {seed} is out of range; expected 0 to 9223372036854775807"
    assert not (tmp_path / "a").exists()
