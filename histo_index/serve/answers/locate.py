"""From the ids that clients send to images with vectors. No id is ever a name of a file."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from histo_index.errors import MismatchError
from histo_index.search.inputs.resolve import Located, vectors_of
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.uploads import PREFIX, Upload, Uploads


def locate(snapshot: Snapshot, uploads: Uploads, given: str) -> Located:
    """Find the vector of a tile or an upload.

    Args:
        snapshot: the index.
        uploads: those that are held.
        given: id of a tile or of an upload.

    Raises:
        RefusalError: there is no such tile, the upload is no longer held, or the image is of
            quite another scale.
    """
    if given.startswith(PREFIX):
        found = _locate_upload(snapshot, uploads.get(given))
    else:
        found = locate_row(snapshot, snapshot.row_of(given), given)
    check = snapshot.compare_scale(found)
    if check.is_refused and not snapshot.scales.any_mpp:
        raise RefusalError(422, f"another scale: {check.message}; pass an image of that scale")
    return found


def scale_notes(snapshot: Snapshot, images: Sequence[Located]) -> list[str]:
    """Return what to say about the scale of images, each line once; nothing if all agree."""
    return list(
        dict.fromkeys(filter(None, (snapshot.compare_scale(one).message for one in images)))
    )


def locate_row(snapshot: Snapshot, row: int, name: str) -> Located:
    """Read the vector of a tile of the index."""
    vector = snapshot.opened.vectors(np.array([row]))[0]
    image_id = snapshot.opened.rows["image_id"][row].as_py()
    return Located(name=name, vector=vector, image_id=image_id, row=row)


def _locate_upload(snapshot: Snapshot, upload: Upload) -> Located:
    if upload.fingerprint != snapshot.engine.fingerprint:
        raise MismatchError("the index has another encoder now; upload the image again")
    if upload.sha256:
        # The very file that was indexed is that tile, so it is not its own neighbour.
        row = int(snapshot.opened.find_contents(pa.array([upload.sha256], pa.string()))[0])
        if row >= 0:
            return locate_row(snapshot, row, upload.upload_id)
    vector = vectors_of(snapshot.opened, upload.embedding[None])[0]
    scale = snapshot.scales.at(upload.mpp, upload.width, upload.height)
    return Located(
        name=upload.upload_id, vector=vector, embedding=upload.embedding, um_per_px=scale
    )
