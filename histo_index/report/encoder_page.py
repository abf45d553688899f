"""The page that compares encoders."""

from typing import Final

from histo_index.report.html import ends, fill, number
from histo_index.search.evaluation.encoder_metrics import EncoderComparison
from histo_index.wording import counted

_COLUMNS: Final = (
    ("roc_auc", "ROC-AUC of pairs"),
    ("balanced_accuracy", "balanced accuracy of pairs"),
    ("nearest", "nearest neighbour right"),
)


class _NoPictures:
    missing: Final = 0


def encoder_page(found: EncoderComparison) -> str:
    """Write a comparison as one self-contained HTML page, which names no tile."""
    rows = [
        {
            "name": encoder.name,
            "figures": [
                (number(getattr(encoder, key).value), ends(getattr(encoder, key)))
                for key, _ in _COLUMNS
            ],
            "speed": f"{encoder.images_per_second:,.1f}",
            "bytes": f"{encoder.bytes_per_tile:,}",
        }
        for encoder in found.encoders
    ]
    provenance = [
        (
            encoder.name,
            [
                ("network", encoder.architecture),
                ("numbers in an embedding", f"{encoder.embedding_size:,}"),
                ("licence of the weights", encoder.licence or "unknown"),
                ("fingerprint", encoder.fingerprint),
            ],
        )
        for encoder in found.encoders
    ]
    groups = "no groups" if found.groups is None else counted(found.groups, "group")
    return fill(
        "encoders.html",
        title=f"histo-index: {counted(len(found.encoders), 'encoder')}",
        found=found,
        groups=groups,
        columns=[title for _, title in _COLUMNS],
        rows=rows,
        provenance=provenance,
        pictures=_NoPictures(),
    )
