"""The loss of a run with a teacher: distillation, and BYOL for the rest."""

from typing import Final

import torch
from torch.nn import functional

from histo_index.encoder.config import PROJECTION_SIZE
from histo_index.encoder.training.byol import Byol

# Weight of the similarities within a batch; that of the targets is 1.
_SIMILARITY_WEIGHT: Final = 2.0


class Lesson(torch.nn.Module):
    """Distillation with some weight, BYOL with the rest; BYOL alone without features."""

    def __init__(self, byol: Byol, weight: float) -> None:
        """Set the weight.

        Args:
            byol: the networks; the trunk has a learned projection.
            weight: share of distillation in the loss of a pair whose tiles have features, 0 to 1;
                half of it where one of two tiles has some.
        """
        super().__init__()
        self.byol = byol
        self.weight = weight

    def forward(
        self, images: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the loss of both views.

        Args:
            images: uint8 RGB [2B, H, W, 3]: the first views, then the second views in the same
                order.
            targets: float32 [2B, PROJECTION_SIZE], of the tile of each view, see `Teacher.targets`.

        Returns:
            The loss, a scalar; and projections, float [2B, size], to see a collapse by.
        """
        embeddings = self.byol.online.trunk(images)
        has_target = targets.isfinite().all(dim=1)  # [2B]
        shares = self.weight * has_target.view(2, -1).float().mean(dim=0)  # [B]
        loss = embeddings.new_zeros(())
        if has_target.any():
            taught = distillation_loss(embeddings[has_target], targets[has_target])
            loss = loss + shares.mean() * taught
        if bool((shares == 1).all()):
            return loss, embeddings[:, -PROJECTION_SIZE:].detach()
        losses, projections = self.byol.compare(embeddings, images)
        return loss + ((1 - shares) * losses).mean(), projections


def distillation_loss(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Compute how far embeddings are from what the teacher knows.

    The projection predicts the target of its tile. The similarities of the covariances within the
    batch follow those of the targets.

    Args:
        embeddings: float [N, D]: covariances, then the projection.
        targets: float32 [N, PROJECTION_SIZE], rows of unit length.

    Returns:
        A float32 scalar: 1 − cos to the target, plus twice the mean squared difference of the
        centred similarities of different rows.

    Source: Tung & Mori (2019), Similarity-preserving knowledge distillation, for the second term.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        covariances, projection = embeddings.float().tensor_split([-PROJECTION_SIZE], dim=1)
        cosines = functional.cosine_similarity(projection, targets, dim=1)
        difference = _centred_similarities(covariances) - _centred_similarities(targets)
        others = ~torch.eye(len(targets), dtype=torch.bool, device=targets.device)
        return (1 - cosines).mean() + _SIMILARITY_WEIGHT * difference[others].square().mean()


def _centred_similarities(rows: torch.Tensor) -> torch.Tensor:
    unit = functional.normalize(rows - rows.mean(dim=0), dim=1)
    return unit @ unit.T
