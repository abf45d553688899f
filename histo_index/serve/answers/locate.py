"""From the ids that clients send to images with vectors. No id is ever a name of a file."""

import numpy as np
import pyarrow as pa

from histo_index.errors import MismatchError
from histo_index.search.inputs.resolve import Located, vectors_of
from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.uploads import PREFIX, Upload, Uploads


def locate(snapshot: Snapshot, uploads: Uploads, given: str) -> Located:
    """Find the vector of a tile or an upload.

    Args:
        snapshot: the index.
        uploads: those that are held.
        given: id of a tile or of an upload.

    Raises:
        RefusalError: there is no such tile, or the upload is no longer held.
    """
    if given.startswith(PREFIX):
        return _locate_upload(snapshot, uploads.get(given))
    return locate_row(snapshot, snapshot.row_of(given), given)


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
    return Located(name=upload.upload_id, vector=vector, embedding=upload.embedding)
