"""Ctrl-C in every kind of command: exit code 130 and one line that fits the command."""

import signal
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from histo_index.cli import describe_interruption
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.training.byol import Byol
from histo_index.encoder.training.checkpoint import load_checkpoint
from tests.cli.conftest import Run, Workshop
from tests.cli.test_train import SMALL
from tests.cli_page import list_commands

BUILD = "the next build continues from the last finished shard"
WHOLE = "the index changed completely or not at all; repeat the command"
MAP = "no map was stored, or all of it; repeat the command"
NOTHING = "no index was changed and no output file is incomplete"


def interrupt(*arguments: object, **options: object) -> NoReturn:
    signal.raise_signal(signal.SIGINT)
    pytest.fail("not interrupted")


@pytest.mark.parametrize(
    ("called", "arguments", "standing"),
    [
        ("api.build.build", ("build", "tiles", "-o", "tiles.hx"), BUILD),
        ("api.build.reindex", ("reindex", "-i", "tiles.hx"), WHOLE),
        ("api.build.compact", ("compact", "-i", "tiles.hx"), WHOLE),
        ("api.index.Index.calibrate", ("calibrate", "-i", "tiles.hx"), WHOLE),
        ("api.index.Index.evaluate", ("evaluate", "-i", "tiles.hx"), NOTHING),
        ("api.index.Index.pairs", ("pairs", "pairs.csv", "-i", "tiles.hx"), NOTHING),
        ("api.index.Index.duplicates", ("duplicates", "-i", "tiles.hx"), NOTHING),
        ("api.info.index_facts", ("info", "-i", "tiles.hx"), NOTHING),
        ("api.maps.make.update_map", ("map", "-i", "tiles.hx"), MAP),
        ("api.doctor.diagnose", ("doctor",), NOTHING),
    ],
)
def test_ctrl_c_is_one_line_that_fits_the_command(
    called: str,
    arguments: tuple[str, ...],
    standing: str,
    workshop: Workshop,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"histo_index.{called}", interrupt)
    ran = run(*arguments)
    lines = [line for line in ran.err.splitlines() if "untrained" not in line]
    assert (ran.code, ran.out) == (130, "")
    assert lines == [f"histo-index: error: interrupted; {standing}"]


def test_options_before_the_command_are_skipped() -> None:
    assert describe_interruption(["--verbose", "build"]) == f"interrupted; {BUILD}"
    assert describe_interruption([]) == f"interrupted; {NOTHING}"


def test_every_interruption_message_belongs_to_a_command() -> None:
    names = {name.split()[0] for name, _ in list_commands()}
    own = {name for name in names if describe_interruption([name]) != f"interrupted; {NOTHING}"}
    assert own == {
        "build", "calibrate", "compact", "demo", "encoder", "import", "map", "reindex", "remove",
        "restore", "serve", "train",
    }  # fmt: skip


def test_training_saves_at_ctrl_c_and_its_encoder_warns_until_it_is_finished(
    workshop: Workshop,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    exact = Byol.forward

    def interrupted(self: Byol, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        if len(calls) in stops:
            signal.raise_signal(signal.SIGINT)
        return exact(self, images)

    # Two steps an epoch: stopped in the first, then in the second.
    calls: list[int] = []
    stops = {1, 3}
    monkeypatch.setattr(Byol, "forward", interrupted)
    command = ("train", "tiles", "-o", "mine", *SMALL, "--epochs", "2")
    said = (
        "histo-index: error: interrupted; the same command with --resume continues from the last "
        "saved step, or starts over"
    )
    ran = run(*command)
    assert (ran.code, ran.out, ran.err.splitlines()) == (130, "", [said])
    assert load_checkpoint(Path("mine"))["step"] == 1
    ran = run("build", "tiles", "-o", "mine.hx", "--encoder", "mine")
    assert (ran.code, ran.err) == (
        1,
        "histo-index: error: mine: no encoder yet: its training stopped in the first epoch; the "
        "same `histo-index train` command with --resume finishes it\n",
    )
    ran = run(*command, "--resume")
    assert (ran.code, ran.err.splitlines()) == (130, [said])
    assert load_checkpoint(Path("mine"))["step"] == 3
    warning = (
        "mine: epoch 1 of 2; the training was not finished; the same "
        "`histo-index train` command with --resume finishes it"
    )
    caplog.clear()
    assert run("build", "tiles", "-o", "mine.hx", "--encoder", "mine").code == 0
    assert caplog.messages.count(warning) == 1
    assert not Path("mine.hx/encoder/checkpoint.pt").exists()
    tile = sorted(workshop.tiles.rglob("*.png"))[0]
    caplog.clear()
    assert run("pair", tile, tile, "--encoder", "mine").code == 0
    assert caplog.messages == [warning]
    ran = run(*command, "--resume")
    assert ran.code == 0
    assert "% of it monitoring), fingerprint" in ran.out
    assert load_encoder(Path("mine")).config.training["epochs"] == 2
    caplog.clear()
    assert run("pair", tile, tile, "--encoder", "mine").code == 0
    assert caplog.messages == []
