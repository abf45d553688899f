"""What a manifest says of the encoder of an index."""

from collections.abc import Mapping
from dataclasses import dataclass

from histo_index.indexer.format.records import THRESHOLDS


@dataclass(frozen=True, kw_only=True)
class ThresholdRecord:
    """A threshold that an encoder publishes.

    Attributes:
        value: distance up to which a pair is the same, 0 to 4.
        origin: on what it was chosen.
    """

    value: float
    origin: str


@dataclass(frozen=True, kw_only=True)
class VerifiedEncoder:
    """How well an encoder reproduced embeddings that were computed elsewhere.

    Attributes:
        fingerprint: of the encoder, which the index holds from then on.
        tiles: how many were encoded again.
        slides: of how many slides.
        cosines: quantile to cosine of stored and new embedding: `lowest`, `5 %`, `median`, `95 %`.
    """

    fingerprint: str
    tiles: int
    slides: int
    cosines: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class DeclaredEncoder:
    """An encoder of embeddings that were computed elsewhere.

    Attributes:
        name: what the user calls it; embeddings of one name and size can be compared.
        verified: by which encoder it was verified; None if by none: the index encodes no image.
    """

    name: str
    verified: VerifiedEncoder | None = None

    @property
    def status(self) -> str:
        """Say what is known of the encoder."""
        if self.verified is None:
            return "declared, not verified"
        return (
            f"declared, verified on {self.verified.tiles:,} tiles "
            f"(median cosine {self.verified.cosines['median']:.4f})"
        )


@dataclass(frozen=True, kw_only=True)
class EncoderCard:
    """The encoder of an index, as it described itself in the first build.

    Attributes:
        fingerprint: embeddings with another one must not be compared with these.
        architecture: the network.
        embedding_size: D.
        is_trained: false for random weights.
        mpp: microns per pixel of the training images, if known.
        threshold: published for plain distances, if any.
        diffused_threshold: published for diffused distances, if any.
        licence: of the weights, if known.
        declared: set if embeddings were computed elsewhere.
    """

    fingerprint: str
    architecture: str
    embedding_size: int
    is_trained: bool
    mpp: float | None
    threshold: ThresholdRecord | None
    diffused_threshold: ThresholdRecord | None
    licence: str | None
    declared: DeclaredEncoder | None

    @property
    def title(self) -> str:
        """What people call the encoder: the declared name, else the network."""
        return self.declared.name if self.declared else self.architecture

    @property
    def note(self) -> str | None:
        """What every answer says of an encoder that was not verified; None of any other."""
        if self.declared is None or self.declared.verified is not None:
            return None
        return f"{self.declared.name}: {self.declared.status}"

    def threshold_for(self, distance: str) -> ThresholdRecord | None:
        """Return the threshold published for a distance, if any."""
        found: ThresholdRecord | None = getattr(self, THRESHOLDS[distance])
        return found
