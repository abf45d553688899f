"""Compare two images without an index."""

from pathlib import Path

from histo_index.api.encoders import open_encoder, warn_if_untrained
from histo_index.api.images import ImageLike, encode_image
from histo_index.indexer.format.encoder_card import EncoderCard
from histo_index.indexer.format.records import read_record
from histo_index.search.answers.pair import PairAnswer, answer_pair
from histo_index.search.calibration.threshold import Threshold


def compare(
    a: ImageLike,
    b: ImageLike,
    *,
    encoder: str | Path | None = None,
    threshold: float | None = None,
    device: str = "auto",
) -> PairAnswer:
    """Compare two images without an index, by the bundled encoder or the one given.

    Raises:
        InputError: no encoder is given and none is bundled.
        ImageError: an image cannot be used.
    """
    runner = open_encoder(encoder, device=device)
    card = read_record(EncoderCard, runner.card())
    warn_if_untrained(runner.folder, is_trained=card.is_trained)
    chosen = Threshold.choose(threshold, card.threshold)
    return answer_pair(encode_image(runner, a), encode_image(runner, b), chosen)
