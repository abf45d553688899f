"""Read forms with images."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from histo_index.serve.answers.asked import read_box, read_mpp
from histo_index.serve.safety.guard import WRITE_FIELD, require_form_token
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.state import State

_FIELDS: Final = 200
_PART_BYTES: Final = 64 * 2**10

_FORM_FIELDS: Final = {
    "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
    "id": {"type": "array", "items": {"type": "string"}},
    "crop": {"type": "string", "description": "left,top,right,bottom as shares of the image"},
    "mpp": {"type": "number", "description": "microns per pixel of the images, if known"},
}
# What the description of the interface says about a form with images.
FORM: Final = {
    "requestBody": {
        "content": {"multipart/form-data": {"schema": {"properties": _FORM_FIELDS}}},
        "required": True,
    }
}


class _FormInMemory(MultiPartParser):
    """Reads a form without temporary files: images of patients do not reach a disk."""

    spool_max_size = sys.maxsize


@asynccontextmanager
async def reading_form(request: Request, state: State) -> AsyncIterator[FormData]:
    """Read a form, of a client or of one of our pages; its files are closed at the end.

    Raises:
        RefusalError: it is too large, or a browser sends it from elsewhere.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise RefusalError(422, "the body is no form; send multipart/form-data")
    parser = _FormInMemory(
        request.headers, request.stream(), max_files=state.config.limits.images,
        max_fields=_FIELDS, max_part_size=_PART_BYTES,
    )  # fmt: skip
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RefusalError(400, error.message) from error
    try:
        require_form_token(request.state.visitor, form.get(WRITE_FIELD))
        yield form
    finally:
        await form.close()


async def take_uploads(form: FormData, state: State, field: str = "image") -> list[str]:
    """Encode and keep the images of a form and return their ids.

    Raises:
        RefusalError: one is no image, too large, or too many wait.
    """
    files = [one for one in form.getlist(field) if isinstance(one, UploadFile) and one.filename]
    box = read_box(form)
    if box is not None and len(files) > 1:
        raise RefusalError(422, "crop: one image at a time")
    mpp = read_mpp(form)
    return [(await state.take_in(one.file.read, box, mpp)).upload_id for one in files]
