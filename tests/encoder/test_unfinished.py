"""An encoder of a training run that was not finished opens with a warning."""

from pathlib import Path
from typing import Any

import pytest

from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.folder import load_encoder, write_encoder
from histo_index.encoder.runtime.untrained import random_weights
from histo_index.encoder.unfinished import describe_unfinished
from histo_index.errors import IndexFormatError

REMEDY = "the same `histo-index train` command with --resume finishes it"


def card(epochs: int) -> dict[str, Any]:
    return {"method": "byol", "epochs": epochs, "recipe": {"epochs": 30}}


@pytest.mark.parametrize(
    ("training", "has_checkpoint", "found"),
    [
        (card(3), True, f"epoch 3 of 30; the training was not finished; {REMEDY}"),
        (card(30), True, None),  # killed just before its checkpoint was deleted
        (card(3), False, None),  # the best epoch of a finished run
        ({"method": "none", "seed": 0}, True, None),
    ],
)
def test_a_run_is_unfinished_while_its_checkpoint_is_there(
    training: dict[str, Any], has_checkpoint: bool, found: str | None, tmp_path: Path
) -> None:
    if has_checkpoint:
        (tmp_path / "checkpoint.pt").touch()
    expected = None if found is None else f"{tmp_path}: {found}"
    assert describe_unfinished(tmp_path, training) == expected


def test_opening_an_unfinished_encoder_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = EncoderConfig(architecture="resnet18", training=card(3))
    write_encoder(tmp_path, config, random_weights("resnet18", seed=0))
    load_encoder(tmp_path)
    assert caplog.messages == []
    (tmp_path / "checkpoint.pt").touch()
    load_encoder(tmp_path)
    assert caplog.messages == [
        f"{tmp_path}: epoch 3 of 30; the training was not finished; {REMEDY}"
    ]


def test_a_training_without_an_encoder_yet_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").touch()
    with pytest.raises(IndexFormatError) as caught:
        load_encoder(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no encoder yet: its training stopped in the first epoch; {REMEDY}"
    )
