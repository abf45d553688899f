"""What `train` prints when it is done."""

from pathlib import Path

from histo_index.commands.encoders import describe_training
from histo_index.encoder.training.train import TrainReport


def test_the_time_is_the_whole_time_with_the_share_of_monitoring() -> None:
    report = TrainReport(
        encoder=Path("mine"),
        fingerprint="f" * 32,
        tiles=16,
        rejected=[],
        epochs=[{"epoch": 1, "loss": 2.5, "effective_rank": 7.25}] * 2,
        best_epoch=None,
        seconds=276.0,
        monitoring_seconds=94.0,
        is_first=True,
    )
    assert describe_training(report).splitlines()[0] == (
        "mine: 2 epochs over 16 tiles in 4 min 36 s (34 % of it monitoring), fingerprint "
        + "f" * 32
    )
