"""Annotations of other programs: what has a class, and files that cannot be used."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from histo_index.errors import ImageError
from histo_index.slides.tiling.annotations import read_annotations

SQUARE = [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]


def feature(properties: Any, rings: Any = SQUARE) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": rings}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def document(*features: Any) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def read(tmp_path: Path, data: bytes, name: str = "a.geojson") -> dict[str, Any]:
    (tmp_path / name).write_bytes(data)
    return read_annotations(tmp_path / name)


def test_objects_without_a_class_are_left_out(tmp_path: Path) -> None:
    data = document(
        feature(None),
        feature({}),
        feature({"classification": None}),
        feature({"classification": {"name": "Tumor"}}),
        feature({"classification": {"names": ["Tumor", "Positive"]}}),
    )
    found = read(tmp_path, data)
    assert list(found) == ["Tumor", "Tumor: Positive"]
    assert [ring.tolist() for ring in found["Tumor"][0]] == SQUARE


def damaged_gzip() -> bytes:
    data = bytearray(gzip.compress(document(*[feature({"n": n}) for n in range(300)])))
    data[40:60] = b"\xff" * 20
    return bytes(data)


TUMOUR = {"classification": {"name": "Tumor"}}
HOSTILE: dict[str, tuple[str, bytes]] = {
    "cut off": ("a.geojson.gz", gzip.compress(document(feature(TUMOUR)))[:-9]),
    "damaged": ("a.geojson.gz", damaged_gzip()),
    "not compressed": ("a.geojson.gz", b"{}"),
    "a million brackets": ("a.geojson", b'{"features":' + b"[" * 10**6),
    "empty ring": ("a.geojson", document(feature(TUMOUR, [[]]))),
    "ring of numbers": ("a.geojson", document(feature(TUMOUR, [[1, 2, 3]]))),
    "ring of texts": ("a.geojson", document(feature(TUMOUR, [[["a", "b"]]]))),
    "not a number": ("a.geojson", document(feature(TUMOUR, [[[float("nan"), 0], [1, 1], [0, 1]]]))),
    "infinite": ("a.geojson", document(feature(TUMOUR, [[[float("inf"), 0], [1, 1], [0, 1]]]))),
    "no geometry": ("a.geojson", document({"properties": TUMOUR, "geometry": None})),
    "a class that is text": ("a.geojson", document(feature({"classification": "Tumor"}))),
    "a class of no names": ("a.geojson", document(feature({"classification": {"names": 3}}))),
    "a picture": ("a.geojson", b"\x89PNG\r\n"),
    "nothing": ("a.geojson", b""),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_cannot_be_used_is_one_line(case: str, tmp_path: Path) -> None:
    name, data = HOSTILE[case]
    with pytest.raises(ImageError, match=r"a\.geojson\S*: not usable GeoJSON \(") as caught:
        read(tmp_path, data, name)
    assert len(str(caught.value).splitlines()) == 1
