"""A foreign checkpoint gives weights or one line; its code never runs, nor does it hold us up."""

import os
import pickle
import re
import resource
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
import torch

from histo_index.encoder.create import import_encoder
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.importing.checkpoint import read_checkpoint
from histo_index.encoder.importing.child import ImportLimits, read_in_child
from histo_index.encoder.runtime.untrained import random_weights
from histo_index.encoder.weights_file import Weights
from histo_index.errors import HistoIndexError, InputError, MismatchError
from tests.promises.conftest import Tell, Tries, processes_of

PLAIN: Final = "not a checkpoint of plain tensors ("
DIED: Final = "the process that read it died ("
MEMORY: Final = f"{PLAIN}it asks for more memory than a file of its size can need); "
Tensors = dict[str, torch.Tensor]


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights("resnet18", seed=5)


@pytest.fixture(scope="module")
def sound(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that is nothing but what it should be."""
    path = tmp_path_factory.mktemp("sound") / "sound.pth"
    torch.save(tensors_of(weights), path)
    return path


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    assert processes_of("importing.child") == []


def tensors_of(weights: Weights) -> Tensors:
    return {name: torch.from_numpy(array) for name, array in weights.items()}


def refusals(paths: list[Path], limits: ImportLimits | None = None) -> list[str]:
    """Import each file in a child, which takes seconds; each must be refused in one line."""
    return [refusal(path, lambda path: read_in_child(path, "resnet18", limits)) for path in paths]


def refusals_here(paths: list[Path]) -> list[str]:
    """Read each file as the child does, but in this process, whose torch is loaded."""
    return [refusal(path, lambda path: read_checkpoint(path, "resnet18")) for path in paths]


def refusal(path: Path, read: Callable[[Path], Weights]) -> str:
    with pytest.raises(HistoIndexError) as caught:
        read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(path))
    return message.removeprefix(f"{path}: ")


def packed(path: Path, pickled: bytes, data: bytes = b"", *, mebibytes: int = 1) -> Path:
    """A checkpoint with this pickle; `data` is its first tensor's, so many times a mebibyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/version", "3\n")
        if data:
            with archive.open("a/data/0", "w", force_zip64=True) as file:
                for _ in range(mebibytes):
                    file.write(data)
    return path


def pickled_in(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(f"{path.stem}/data.pkl")


def test_a_sound_checkpoint_comes_through_value_by_value(
    sound: Path, weights: Weights, tmp_path: Path
) -> None:
    import_encoder(sound, tmp_path / "encoder", arch="resnet18")
    found = load_encoder(tmp_path / "encoder").weights
    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


def test_code_in_a_checkpoint_does_not_run(weights: Weights, tmp_path: Path, tell: Tell) -> None:
    marker, paths = tmp_path / "marker", [tmp_path / f"{n}.pth" for n in range(4)]
    content = {"state_dict": tensors_of(weights), "hook": Trap(marker)}
    torch.save(content, paths[0])
    torch.save(content, paths[1], _use_new_zipfile_serialization=False)
    paths[2].write_bytes(pickle.dumps(Trap(marker)))
    torch.save(torch.nn.Sequential(torch.nn.Linear(1, 1)), paths[3])
    found = refusals_here(paths[1:])
    assert all(reason.startswith(PLAIN) for reason in found)
    with pytest.raises(InputError, match=re.escape(f"{paths[0]}: {PLAIN}")):
        import_encoder(paths[0], tmp_path / "encoder", arch="resnet18")
    assert not (tmp_path / "encoder").exists()
    assert not marker.exists()
    # The trap is a real one.
    pickle.loads(pickle.dumps(Trap(marker)))
    assert marker.exists()
    tell("4 checkpoints with code in them", "all refused, none ran")


def test_truncated_and_flipped_files_are_refused(
    sound: Path, tmp_path: Path, tries: Tries, tell: Tell
) -> None:
    data, dice, count = sound.read_bytes(), Random(16), tries(3, 50)
    refuse = refusals_here if count == 3 else refusals
    cut, flipped = tmp_path / "cut.pth", tmp_path / "flipped.pth"
    found = []
    for _ in range(count):
        cut.write_bytes(data[: dice.randrange(len(data))])
        changed = bytearray(data)
        # All but the last bytes, the table of contents, whose every second byte says nothing.
        changed[dice.randrange(len(data) - 20_000)] ^= 1 << dice.randrange(8)
        flipped.write_bytes(changed)
        found += refuse([cut, flipped])
    assert all(reason.startswith(PLAIN) for reason in found)
    tell(f"{count} truncated and {count} flipped checkpoints", "all refused")


def zip_bomb(folder: Path) -> Path:
    """A sixth of a megabyte that unpacks to a tensor of 157 MB."""
    small = folder / "small.pth"
    torch.save({"conv1.weight": torch.zeros(4)}, small)
    return packed(folder / "bomb.pth", pickled_in(small), bytes(2**20), mebibytes=150)


def huge_shape(folder: Path) -> Path:
    """One number that says it is a matrix of a million by a million."""
    torch.save({"conv1.weight": torch.ones(1).expand(10**6, 10**6)}, folder / "shape.pth")
    return folder / "shape.pth"


def hash_bomb(folder: Path) -> Path:
    """A tuple of tuples of tuples: as a key of a dictionary it is hashed for a thousand years."""
    twice = b"h\x00\x86q\x00"
    return packed(folder / "hash.pth", b"\x80\x02})q\x00" + twice * 60 + b"K\x01s.")


def deep_pickle(folder: Path) -> Path:
    return packed(folder / "deep.pth", b"\x80\x02" + b"(" * 10**6 + b".")


@contextmanager
def little_memory(*, spare_bytes: int) -> Iterator[None]:
    """Limit what this process may map beyond what it has mapped, as the child is limited."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + spare_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


ABSURD: Final[dict[Callable[[Path], Path], str]] = {
    zip_bomb: MEMORY,
    huge_shape: f"{huge_shape.__name__} is not a resnet18",
    deep_pickle: PLAIN,
}


def test_absurd_sizes_end_within_bounded_memory_and_time(tmp_path: Path, tell: Tell) -> None:
    found = refusals([zip_bomb(tmp_path)], ImportLimits(spare_bytes=2**27))
    with little_memory(spare_bytes=2**30):
        found += refusals_here([huge_shape(tmp_path), deep_pickle(tmp_path)])
    found[1] = found[1].replace(str(tmp_path / "shape.pth"), huge_shape.__name__)
    for reason, expected in zip(found, ABSURD.values(), strict=True):
        assert reason.startswith(expected)
    (reason,) = refusals([hash_bomb(tmp_path)], ImportLimits(cpu_s=1))
    assert reason.startswith(f"{DIED}killed by signal 24: CPU time limit exceeded); ")
    tell(f"{len(ABSURD) + 1} checkpoints of absurd sizes", "all refused in bounded memory and time")


def test_a_file_over_the_limit_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with open(path, "wb") as file:
        file.truncate(2**40)
    (reason,) = refusals([path])
    assert reason == (
        "too large: 1,099,511,627,776 bytes, the limit is 8,589,934,592; save its state_dict() "
        "alone"
    )


def test_dead_child_is_reported_in_one_line(tmp_path: Path) -> None:
    hung = hash_bomb(tmp_path)
    with ThreadPoolExecutor(1) as threads:
        refused = threads.submit(refusals, [hung], ImportLimits(cpu_s=600))
        while not (children := processes_of("importing.child")):
            assert not refused.done()
        children[0].kill()
        (reason,) = refused.result()
    assert reason == (
        f"{DIED}killed by signal 9: Killed); the file is damaged, hostile or too large for this "
        "machine"
    )


def test_memory_too_little_for_the_libraries_is_one_line(sound: Path, tries: Tries) -> None:
    if tries(0, 1) == 0:
        pytest.skip("in the long form: a zip bomb ends a child by its memory with each push")
    # Whatever they raise.
    starved = replace(ImportLimits(), spare_bytes=2**25 - 3 * sound.stat().st_size)
    with pytest.raises(InputError, match=r"sound\.pth: (the process|not a checkpoint)") as caught:
        read_in_child(sound, "resnet18", starved)
    assert len(str(caught.value).splitlines()) == 1


def test_hanging_child_is_stopped(tmp_path: Path) -> None:
    (reason,) = refusals([hash_bomb(tmp_path)], ImportLimits(cpu_s=600, wait_s=0.5))
    assert reason.startswith("reading took over 0.5 s; ")


ODD: Final[dict[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "without values": lambda tensor: torch.empty(tensor.shape, device="meta"),
    "complex": lambda tensor: tensor.to(torch.complex64),
}


@pytest.mark.parametrize("words", ODD)
def test_tensors_that_are_no_plain_numbers_are_refused(
    words: str, weights: Weights, tmp_path: Path
) -> None:
    odd = tensors_of(weights)
    odd["conv1.weight"] = ODD[words](odd["conv1.weight"])
    torch.save(odd, tmp_path / "a.pth")
    # By the child's own reader, here: what it says of a file comes through as for the others.
    with pytest.raises(InputError) as caught:
        read_checkpoint(tmp_path / "a.pth", "resnet18")
    reason = f"conv1.weight is no tensor of plain numbers (it is {words}); "
    assert str(caught.value).startswith(f"{tmp_path / 'a.pth'}: {reason}")


def test_names_of_weights_and_files_stay_on_one_line(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "two\nlines.pth"
    torch.save({**tensors_of(weights), "a\nb" * 10**6: torch.ones(1)}, path)
    with pytest.raises(MismatchError) as caught:
        read_checkpoint(path, "resnet18")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1_000
