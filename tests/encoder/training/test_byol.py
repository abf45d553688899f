"""The loss and the moving average, against their formulas spelled out."""

import math

import numpy as np
import pytest
import torch

from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.training.byol import Byol, byol_losses, momentum_at

SPEC = Preprocessing(resize_px=32, crop_px=32)


def small(pooling: str = "mean") -> Byol:
    torch.manual_seed(3)
    encoder = EncoderConfig(architecture="resnet18", pooling=pooling, preprocessing=SPEC)
    byol = Byol(encoder, hidden=16, size=8)
    byol.update_target(0.0)
    return byol


def views(count: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 32, 32, 3), generator=generator, dtype=torch.uint8)


def test_the_loss_is_the_published_formula() -> None:
    predictions = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, -2.0]])
    targets = torch.tensor([[6.0, 8.0], [0.0, 5.0], [0.0, 1.0]])
    # Cosines 1, 0 and -1: squared gaps of the unit vectors 0, 2 and 4.
    assert byol_losses(predictions, targets).tolist() == pytest.approx([0, 2, 4])


def test_both_directions_are_added_up_and_not_averaged() -> None:
    byol = small()
    images = views()
    loss, projections = byol(images)
    with torch.no_grad():
        predictions = byol.predictor(byol.online(images)).double().numpy()
        targets = byol.target(images).double().numpy()
    np.testing.assert_allclose(projections.numpy(), targets, rtol=1e-4, atol=1e-5)

    def gap(ours: np.ndarray, theirs: np.ndarray) -> float:
        a = ours / np.linalg.norm(ours, axis=1, keepdims=True)
        b = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
        return float(((a - b) ** 2).sum(axis=1).mean())

    expected = gap(predictions[:4], targets[4:]) + gap(predictions[4:], targets[:4])
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_embeddings_are_what_is_projected() -> None:
    byol, images = small("covariance").eval(), views()
    with torch.no_grad():
        embeddings = byol.online.trunk(images)
        assert embeddings.square().sum(dim=1).numpy() == pytest.approx(3)  # three stages
        assert torch.equal(byol.online(images), byol.online.projector(embeddings))


@pytest.mark.parametrize("pooling", ["mean", "covariance"])
def test_the_target_gets_no_gradient_and_every_online_weight_does(pooling: str) -> None:
    byol = small(pooling)
    loss, _ = byol(views())
    loss.backward()
    assert [
        name for name, weight in byol.target.named_parameters() if weight.grad is not None
    ] == []
    assert [name for name, weight in byol.online.named_parameters() if weight.grad is None] == []
    assert [name for name, weight in byol.predictor.named_parameters() if weight.grad is None] == []


def test_the_target_moves_by_the_momentum() -> None:
    byol = small()
    before = {name: w.clone() for name, w in byol.target.module.named_parameters()}
    with torch.no_grad():
        for weight in byol.online.parameters():
            weight.add_(1.0)
    byol.update_target(0.75)
    for name, weight in byol.target.module.named_parameters():
        torch.testing.assert_close(weight, before[name] + 0.25, msg=name)


def test_the_momentum_rises_to_one_along_a_cosine() -> None:
    assert momentum_at(0, 100, 0.99) == pytest.approx(0.99)
    assert momentum_at(50, 100, 0.99) == pytest.approx(0.995)
    assert momentum_at(25, 100, 0.99) == pytest.approx(1 - 0.01 * (math.sqrt(0.5) + 1) / 2)
    assert momentum_at(100, 100, 0.99) == 1.0
