"""`train.png`: axes do not exaggerate, and thresholds are not drawn as if they were quality."""

from histo_index.encoder.training.monitor import draw_epochs


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
