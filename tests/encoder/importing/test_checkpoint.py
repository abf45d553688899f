"""Foreign checkpoints: every common wrapping is understood, and none of their code runs."""

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from histo_index.encoder.importing.checkpoint import read_checkpoint
from histo_index.encoder.runtime.untrained import random_weights
from histo_index.encoder.weights_file import Weights
from histo_index.errors import InputError, MismatchError

Tensors = Mapping[str, torch.Tensor]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights("resnet18", seed=5)


@pytest.fixture(scope="module")
def plain(weights: Weights) -> dict[str, torch.Tensor]:
    """A state dict as torchvision has it, with classifier and batch counts."""
    counts = {
        name.replace("running_mean", "num_batches_tracked"): torch.tensor(7)
        for name in weights
        if name.endswith("running_mean")
    }
    head = {"fc.weight": torch.ones(9, 512), "fc.bias": torch.ones(9)}
    return {name: torch.from_numpy(array) for name, array in weights.items()} | counts | head


def prefixed(prefix: str, tensors: Tensors) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def learner(tensors: Tensors, prefix: str = "") -> dict[str, torch.Tensor]:
    """A whole BYOL learner: the online network among others that must not be taken for it."""
    others = {name: tensor.float() + 1 for name, tensor in tensors.items()}
    extra = {
        "online_encoder.projector.0.weight": torch.ones(2, 2),
        "target_encoder.projector.0.weight": torch.ones(2, 2),
        "online_predictor.0.weight": torch.ones(2, 2),
    }
    whole = (
        prefixed("target_encoder.net.", others)
        | prefixed("net.", tensors)
        | prefixed("online_encoder.net.", tensors)
        | extra
    )
    return prefixed(prefix, whole)


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def require_equal(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, expected[name])


WRAPPINGS: dict[str, Callable[[Tensors], object]] = {
    "plain": lambda tensors: tensors,
    "ordered": OrderedDict,
    "module.": lambda tensors: prefixed("module.", tensors),
    "online_encoder.net.": lambda tensors: prefixed("online_encoder.net.", tensors),
    "module.online_encoder.net.": lambda t: prefixed("module.online_encoder.net.", t),
    "backbone.": lambda tensors: prefixed("backbone.", tensors),
    "a learner": learner,
    "a parallel learner": lambda tensors: learner(tensors, "module."),
    "a lightning learner": lambda tensors: {
        "state_dict": learner(tensors, "learner."),
        "epoch": 3,
        "optimizer_states": [{"lr": 0.1}],
    },
    "state_dict": lambda tensors: {"state_dict": tensors, "epoch": 3},
    "model": lambda tensors: {"model": tensors, "optimizer": {"state": {}}},
    "model_state_dict": lambda tensors: {"model_state_dict": prefixed("module.", tensors)},
    "parameters": lambda tensors: {
        name: torch.nn.Parameter(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    },
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_wrapping_gives_the_same_weights(
    wrapping: str, plain: Tensors, weights: Weights, tmp_path: Path
) -> None:
    path = saved(tmp_path / "a.pth", WRAPPINGS[wrapping](plain))
    require_equal(read_checkpoint(path, "resnet18"), weights)


def test_classifier_and_batch_counts_may_be_missing(
    plain: Tensors, weights: Weights, tmp_path: Path
) -> None:
    bare = {name: plain[name] for name in weights}
    require_equal(read_checkpoint(saved(tmp_path / "a.pth", bare), "resnet18"), weights)


def test_stages_that_are_not_pooled_may_be_missing_and_are_left_out(
    plain: Tensors, weights: Weights, tmp_path: Path
) -> None:
    pooled = {name: array for name, array in weights.items() if not name.startswith("layer4.")}
    whole = saved(tmp_path / "whole.pth", plain)
    cut = saved(tmp_path / "cut.pth", {name: plain[name] for name in pooled})
    for path in (whole, cut):
        require_equal(read_checkpoint(path, "resnet18", pooling="covariance"), pooled)
    with pytest.raises(MismatchError, match="25 missing"):
        read_checkpoint(cut, "resnet18")


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_other_float_types_become_float32(
    kind: torch.dtype, plain: Tensors, tmp_path: Path
) -> None:
    other = {name: tensor.to(kind) for name, tensor in plain.items()}
    found = read_checkpoint(saved(tmp_path / "a.pth", other), "resnet18")
    expected = {name: other[name].float().numpy() for name in found}
    require_equal(found, expected)


def test_the_old_file_format_is_read(plain: Tensors, weights: Weights, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", dict(plain), _use_new_zipfile_serialization=False)
    assert not path.read_bytes().startswith(b"PK")
    require_equal(read_checkpoint(path, "resnet18"), weights)


def test_another_architecture_is_refused(plain: Tensors, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", dict(plain))
    with pytest.raises(MismatchError) as caught:
        read_checkpoint(path, "resnext50_32x4d")
    message = str(caught.value)
    assert message.startswith(f"{path} is not a resnext50_32x4d: ")
    # ResNeXt-50 has 53 convolutions with batch norm, ResNet-18 has 20.
    assert "165 missing ['layer1.0.bn3.bias'], 0 unknown [], " in message
    assert "of another shape ['layer1.0.bn1.bias [64] for [128]']" in message
    assert message.endswith("; pass the checkpoint's own --arch")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer5.0.conv1.weight": torch.ones(1)}, "0 missing [], 1 unknown ['layer5.0.conv1.wei"),
        ({"conv1.weight": torch.ones(64, 1, 7, 7)}, "['conv1.weight [64, 1, 7, 7] for [64, 3, 7,"),
        ({"module.conv1.weight": torch.ones(64, 3, 7, 7)}, "holds conv1.weight twice; save the "),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    change: Tensors, words: str, plain: Tensors, tmp_path: Path
) -> None:
    path = saved(tmp_path / "a.pth", {**plain, **change})
    with pytest.raises(MismatchError) as caught:
        read_checkpoint(path, "resnet18")
    assert words in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    value: float, plain: Tensors, tmp_path: Path
) -> None:
    broken = dict(plain)
    broken["layer2.0.bn1.bias"] = torch.full((128,), value)
    with pytest.raises(MismatchError) as caught:
        read_checkpoint(saved(tmp_path / "a.pth", broken), "resnet18")
    assert str(caught.value) == (
        f"{tmp_path}/a.pth: 1 weight with values that are not finite, layer2.0.bn1.bias first; "
        "training diverged, pass an earlier checkpoint"
    )


class Trap:
    """Unpickled, it touches a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_checkpoint(path, "resnet18")
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize("form", ["zip", "old", "raw"])
def test_code_in_a_checkpoint_is_not_run(form: str, plain: Tensors, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "a.pth"
    content = {"state_dict": dict(plain), "hook": Trap(marker)}
    if form == "raw":
        path.write_bytes(pickle.dumps(content["hook"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    message = refusal(path)
    assert "not a checkpoint of plain tensors (" in message
    assert "weights_only" not in message  # no advice on how to run it after all
    assert not marker.exists()
    if form != "raw":
        assert "unsupported GLOBAL posix.system" in message
    # The trap is a real one.
    pickle.loads(pickle.dumps(Trap(marker)))
    assert marker.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", torch.nn.Sequential(torch.nn.Linear(1, 1)))
    message = refusal(path)
    assert "Unsupported global: GLOBAL torch.nn.modules." in message
    assert message.endswith("; save its state_dict() alone")


def test_a_flipped_bit_among_the_weights_is_found(plain: Tensors, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", plain)
    data = bytearray(path.read_bytes())
    values = plain["conv1.weight"].numpy().tobytes()
    data[data.index(values) + len(values) // 2] ^= 1
    path.write_bytes(data)
    assert "(damaged: a/data/" in refusal(path)
    assert "in it has another checksum)" in refusal(path)


@pytest.mark.parametrize(
    "content", [{}, [], 3, {"epoch": 3}, {"state_dict": {}}, torch.ones(3), {3: torch.ones(3)}]
)
def test_a_file_without_a_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", content)
    assert refusal(path) == f"{path}: holds no state dict; save its state_dict() alone"


@pytest.mark.parametrize("is_zip", [True, False])
def test_truncated_and_damaged_files_are_refused(is_zip: bool, tmp_path: Path) -> None:
    small = {"conv1.weight": torch.ones(4, 3), "bn1.bias": torch.zeros(4)}
    path = saved(tmp_path / "a.pth", small, _use_new_zipfile_serialization=is_zip)
    data = path.read_bytes()
    for length in range(0, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:length])
        assert "not a checkpoint of plain tensors" in refusal(path)
    for offset in range(0, len(data), max(1, len(data) // 40)):
        changed = bytearray(data)
        changed[offset] ^= 1 << offset % 8
        path.write_bytes(changed)
        # Undamaged it is too small for any network, so that nothing may pass.
        with pytest.raises((InputError, MismatchError)):
            read_checkpoint(path, "resnet18")


@pytest.mark.parametrize("content", [b"", b"no checkpoint\n", b"PK\3\4", b"\x80\2}q\0."])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    refusal(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    words = "no such file; pass a checkpoint written by torch.save"
    assert refusal(tmp_path / "none.pth") == f"{tmp_path}/none.pth: {words}"
    assert refusal(tmp_path) == f"{tmp_path}: {words}"


@pytest.mark.parametrize("error", [KeyError(0), KeyError(-17), KeyError("0"), ValueError(3)])
def test_reason_that_is_a_number_is_replaced_by_the_error_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", fail)
    path = tmp_path / "a.pth"
    path.touch()
    assert refusal(path) == (
        f"{path}: not a checkpoint of plain tensors ({type(error).__name__}); "
        "save its state_dict() alone"
    )
