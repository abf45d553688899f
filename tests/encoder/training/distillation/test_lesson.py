"""The loss of a run with a teacher: what it rewards, and who learns from whom."""

import pytest
import torch
from torch.nn.functional import normalize

from histo_index.encoder.config import PROJECTION, PROJECTION_SIZE, EncoderConfig
from histo_index.encoder.training.byol import Byol
from histo_index.encoder.training.distillation.lesson import Lesson, distillation_loss

TILES = 3


@pytest.fixture(scope="module")
def byol() -> Byol:
    torch.manual_seed(0)
    return Byol(EncoderConfig(architecture="resnet18", pooling=PROJECTION), hidden=16, size=8)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (2 * TILES, 32, 32, 3), generator=generator, dtype=torch.uint8)


@pytest.fixture
def targets() -> torch.Tensor:
    generator = torch.Generator().manual_seed(6)
    both = torch.randn(TILES, PROJECTION_SIZE, generator=generator).repeat(2, 1)
    return normalize(both, dim=1)


def test_embeddings_that_are_the_targets_have_no_loss(targets: torch.Tensor) -> None:
    perfect = torch.cat([targets, 3 * targets], dim=1)
    assert distillation_loss(perfect, targets).item() == pytest.approx(0, abs=1e-6)


def test_the_loss_is_that_of_the_cosine_and_of_the_similarities() -> None:
    a, b = torch.eye(PROJECTION_SIZE)[:2]
    targets = torch.stack([a, a, b, b])
    # Every projection is opposite to its target: 1 − cos = 2.
    covariances = torch.stack([a, b, a, b])
    found = distillation_loss(torch.cat([covariances, -targets], dim=1), targets)
    # Centred, targets are alike in pairs (1) or opposite (−1); so are the covariances, in other
    # pairs. Of the six pairs, two agree (opposite in both) and four differ by 2: 4 · 4 / 6.
    assert found.item() == pytest.approx(2 + 2 * (4 * 4 / 6))


def test_a_teacher_alone_needs_no_second_network(
    byol: Byol, images: torch.Tensor, targets: torch.Tensor
) -> None:
    loss, projections = Lesson(byol, 1.0)(images, targets)
    embeddings = byol.online.trunk(images)
    expected = distillation_loss(embeddings, targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert projections.shape == (2 * TILES, PROJECTION_SIZE)


def test_tiles_without_features_learn_by_byol_alone(byol: Byol, images: torch.Tensor) -> None:
    nothing = torch.full((2 * TILES, PROJECTION_SIZE), float("nan"))
    loss, projections = Lesson(byol, 1.0)(images, nothing)
    expected, _ = byol(images)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert projections.shape == (2 * TILES, 8)


def test_the_weight_shares_the_loss_of_a_tile_with_features(
    byol: Byol, images: torch.Tensor, targets: torch.Tensor
) -> None:
    targets[[0, TILES]] = float("nan")
    loss, _ = Lesson(byol, 0.25)(images, targets)
    embeddings = byol.online.trunk(images)
    losses, _ = byol.compare(embeddings, images)
    known = [1, 2, 4, 5]
    taught = distillation_loss(embeddings[known], targets[known])
    weights = torch.tensor([1, 0.75, 0.75])
    expected = (weights * losses).mean() + 0.25 * 2 / 3 * taught
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_each_view_learns_the_features_of_its_own_tile(
    byol: Byol, images: torch.Tensor, targets: torch.Tensor
) -> None:
    """The second views are of neighbours: of other tiles, and the last of one without features."""
    targets[TILES:] = targets[TILES:].roll(1, dims=0)
    targets[-1] = float("nan")
    loss, _ = Lesson(byol, 0.5)(images, targets)
    embeddings = byol.online.trunk(images)
    losses, _ = byol.compare(embeddings, images)
    taught = distillation_loss(embeddings[:-1], targets[:-1])
    weights = torch.tensor([0.5, 0.5, 0.75])
    expected = (weights * losses).mean() + 0.5 * 5 / 6 * taught
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_gradient_reaches_network_and_projection(
    byol: Byol, images: torch.Tensor, targets: torch.Tensor
) -> None:
    byol.zero_grad()
    loss, _ = Lesson(byol, 1.0)(images, targets)
    loss.backward()
    trunk = byol.online.trunk
    for weight in (trunk.network.conv1.weight, trunk.projection.hidden.weight):
        assert weight.grad is not None
        assert weight.grad.abs().max() > 1e-6
    assert byol.predictor[0].weight.grad is None
