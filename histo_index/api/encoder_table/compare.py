"""Compare encoders on the same labelled tiles."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histo_index.api.build import build
from histo_index.api.evaluate import read_labelled_pairs
from histo_index.errors import InputError, MismatchError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.evaluation.encoder_metrics import (
    ComparedEncoder,
    EncoderComparison,
    measure_pairs,
)

if TYPE_CHECKING:
    from histo_index.indexer.build_config import BuildProgress, BuildReport
    from histo_index.search.inputs.labelled_pairs import LabelledPairs

# Pairs are drawn by image id, so every index must have the same ones.
_OTHER_TILES = "the encoders did not encode the same tiles"


def compare_encoders(
    encoders: Sequence[str | Path],
    tiles: str | Path,
    labels: str | Path,
    *,
    group: str | None = None,
    device: str = "auto",
    progress: "Callable[[BuildProgress], None]" = lambda state: None,
) -> EncoderComparison:
    """Evaluate several encoders on the same labelled tiles.

    For each an index is built in a temporary folder, with the default distance.

    Args:
        encoders: encoder folders; `bundled` is the bundled one.
        tiles: folder of the tiles.
        labels: table with `path`, `label` and, for honest intervals, `group`.
        group: column of patient or slide ids; default `group`.
        device: `auto`, `cpu` or `cuda`.
        progress: called while tiles are encoded.

    Returns:
        The metrics of each encoder, in the order given.

    Raises:
        InputError: no encoder is given, or tiles or labels cannot be used.
        MismatchError: an encoder rejects tiles that another accepts.
        IndexFormatError: an encoder is damaged or too new.
    """
    if not encoders:
        raise InputError("no encoder to compare; pass encoder folders, or `bundled`")
    measured: list[ComparedEncoder] = []
    dataset: LabelledPairs | None = None
    with tempfile.TemporaryDirectory(prefix="histo-index-") as scratch:
        for number, encoder in enumerate(encoders):
            folder = Path(scratch) / f"{number}.hx"
            own = None if str(encoder) == "bundled" else encoder
            report = build(tiles, folder, encoder=own, device=device, progress=progress)
            index = OpenIndex(folder)
            found = read_labelled_pairs(index, pairs=None, labels=labels, label=None, group=group)
            if dataset is not None and found.names != dataset.names:
                raise MismatchError(f"{_OTHER_TILES}; compare them on tiles that all can read")
            dataset = found
            measured.append(_measure(index, dataset, report, name=Path(encoder).name))
    assert dataset is not None
    return EncoderComparison(
        encoders=measured,
        tiles=len(dataset.rows),
        groups=len(dataset.group_names) if dataset.has_groups else None,
        pairs=len(dataset.is_same),
        labels=dataset.labels_from or "",
        distance=index.manifest.distance_kind,
    )


def _measure(
    index: OpenIndex, dataset: "LabelledPairs", report: "BuildReport", *, name: str
) -> ComparedEncoder:
    card = index.manifest.encoder
    copies = sum(path.stat().st_size for path in (index.folder / "encoder").iterdir())
    return ComparedEncoder(
        name=name,
        architecture=card.architecture,
        licence=card.licence,
        fingerprint=card.fingerprint,
        embedding_size=card.embedding_size,
        images_per_second=report.encoded / report.seconds,
        bytes_per_tile=round((report.bytes - copies) / report.tiles),
        **measure_pairs(index, dataset),
    )


def write_comparison(found: EncoderComparison, output: str | Path) -> None:
    """Write a comparison as one self-contained HTML page, which names no tile.

    Raises:
        OSError: the disk is full or not writable.
    """
    from histo_index.files import publish_bytes
    from histo_index.report.encoder_page import encoder_page

    publish_bytes(Path(output), encoder_page(found).encode())
