"""Write slides that consist of several files: DICOM and MIRAX."""

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from tests.slide_files import Pixels, shrink

_SLIDE_CLASS: Final = UID("1.2.840.10008.5.1.4.1.1.77.1.6")


def write_dicom(folder: Path, plane: Pixels, *, mpp: float, downsamples: Sequence[int]) -> Path:
    """Write a DICOM slide, uncompressed: a file a level in a folder."""
    folder.mkdir(parents=True)
    uids = {name: generate_uid() for name in ("series", "study", "frame")}
    for number, downsample in enumerate(downsamples):
        level = _level(shrink(plane, downsample), mpp * downsample)
        level.SeriesInstanceUID, level.StudyInstanceUID = uids["series"], uids["study"]
        level.FrameOfReferenceUID = uids["frame"]
        level.InstanceNumber = number + 1
        level.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def _level(pixels: Pixels, mpp: float, *, side: int = 256) -> Dataset:
    height, width = pixels.shape[:2]
    rows, columns = -(-height // side), -(-width // side)
    padded = np.full((rows * side, columns * side, 3), 255, np.uint8)
    padded[:height, :width] = pixels
    frames = padded.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = _SLIDE_CLASS
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = generate_uid()
    found.Modality = "SM"
    found.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE" if mpp < 1 else "RESAMPLED"]
    found.DimensionOrganizationType = "TILED_FULL"
    found.TotalPixelMatrixColumns, found.TotalPixelMatrixRows = width, height
    found.Rows = found.Columns = side
    found.NumberOfFrames = rows * columns
    found.SamplesPerPixel, found.PhotometricInterpretation = 3, "RGB"
    found.BitsAllocated = found.BitsStored = 8
    found.HighBit, found.PixelRepresentation, found.PlanarConfiguration = 7, 0, 0
    measures, group = Dataset(), Dataset()
    measures.PixelSpacing = [mpp / 1000, mpp / 1000]
    group.PixelMeasuresSequence = [measures]
    found.SharedFunctionalGroupsSequence = [group]
    found.PixelData = frames.tobytes()
    return found


_SLIDEDAT: Final = """[GENERAL]
SLIDE_VERSION = 01.02
SLIDE_ID = 1
IMAGENUMBER_X = {columns}
IMAGENUMBER_Y = {rows}
CURRENT_SLIDE_VERSION = 2.1
CameraImageDivisionsPerSide = 1
OBJECTIVE_MAGNIFICATION = 20

[HIERARCHICAL]
HIER_COUNT = 1
NONHIER_COUNT = 0
INDEXFILE = Index.dat
HIER_0_NAME = Slide zoom level
HIER_0_COUNT = 1
HIER_0_VAL_0 = ZoomLevel_0
HIER_0_VAL_0_SECTION = LAYER_0_LEVEL_0_SECTION

[DATAFILE]
FILE_COUNT = 1
FILE_0 = Data0000.dat

[LAYER_0_LEVEL_0_SECTION]
IMAGE_CONCAT_FACTOR = 0
OVERLAP_X = 0
OVERLAP_Y = 0
MICROMETER_PER_PIXEL_X = {mpp}
MICROMETER_PER_PIXEL_Y = {mpp}
IMAGE_FILL_COLOR_BGR = 16777215
DIGITIZER_WIDTH = {side}
DIGITIZER_HEIGHT = {side}
IMAGE_FORMAT = PNG
"""


def write_mirax(path: Path, plane: Pixels, *, mpp: float, side: int = 256) -> Path:
    """Write a MIRAX slide of one level: an empty `.mrxs` file and the folder with its pixels."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True)
    path.write_bytes(b"")
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    (folder / "Slidedat.ini").write_text(
        "\ufeff" + _SLIDEDAT.format(rows=rows, columns=columns, mpp=mpp, side=side), "utf-8"
    )
    head = b"01.021" + bytes(15)
    data, entries = bytearray(head), []
    for number in range(rows * columns):
        top, left = number // columns * side, number % columns * side
        coded = io.BytesIO()
        Image.fromarray(plane[top : top + side, left : left + side]).save(coded, "PNG")
        entries.append((number, len(data), coded.tell(), 0))
        data += coded.getvalue()
    (folder / "Data0000.dat").write_bytes(data)
    (folder / "Index.dat").write_bytes(_mirax_index(entries))
    return path


def _mirax_index(entries: Sequence[tuple[int, int, int, int]]) -> bytes:
    """Lay out the index: version and id, where the levels are, one level, its only page."""
    head = b"01.021"
    level, page = len(head) + 12, len(head) + 20
    numbers = [level - 4, 0, level, 0, page, len(entries), 0]
    numbers += [value for entry in entries for value in entry]
    return head + struct.pack(f"<{len(numbers)}i", *numbers)
