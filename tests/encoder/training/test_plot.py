"""`train.png`: axes do not exaggerate, and thresholds are not drawn as if they were quality."""

from pathlib import Path

from histo_index.encoder.training.checkpoint import Stopwatch
from histo_index.encoder.training.monitor import PLOT_NAME, Plot, draw_epochs


def test_axes_are_honest() -> None:
    epochs = [
        {"epoch": n, "loss": 2.0, "pair_auc": auc, "threshold": 0.4, "neighbour_accuracy": 0.7}
        for n, auc in ((1, 0.9068), (2, 0.9076))
    ]
    axes = {each.get_title(): each for each in draw_epochs(epochs).axes}
    assert axes.keys() == {"loss", "pair auc", "neighbour accuracy"}
    assert axes["pair auc"].get_ylim() == (0.5, 1.0)
    assert axes["neighbour accuracy"].get_ylim() == (0.0, 1.0)
    assert axes["loss"].get_ylim()[0] == 0


def test_plot_is_drawn_once_a_minute_at_most(tmp_path: Path) -> None:
    now = [100.0]
    plot, path = Plot(tmp_path, Stopwatch(lambda: now[0])), tmp_path / PLOT_NAME
    epochs = [{"epoch": 1, "loss": 2.0}]
    drawn = []
    for _ in range(6):
        now[0] += 25
        plot.draw_if_due(epochs)
        drawn.append(path.exists())
        path.unlink(missing_ok=True)
    assert drawn == [False, False, True, False, False, True]
    plot.draw(epochs)
    assert path.exists()
