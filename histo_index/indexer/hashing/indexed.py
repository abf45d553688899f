"""Compare slides with what was indexed of them."""

from histo_index.indexer.hashing.files import FileState, tile_digest
from histo_index.indexer.reader import OpenIndex
from histo_index.slides.reading.identity import parse_tile


def knows_slides(index: OpenIndex) -> bool:
    """Return whether an index knows what its slides held; not where embeddings were imported."""
    return index.manifest.encoder.declared is None


def is_indexed(index: OpenIndex, row: int, slide: FileState) -> bool:
    """Return whether a slide holds what was indexed, as the present reader reads it.

    The hash cache does not say so: an interrupted build renews it and leaves the index as it was.

    Args:
        index: holds tiles of the slide.
        row: one of them.
        slide: the state of the slide now.
    """
    path, digest = (index.rows[name][row].as_py() for name in ("path", "sha256"))
    tile = parse_tile(path)
    assert tile is not None, path
    return tile_digest(slide.sha256, tile) == str(digest)
