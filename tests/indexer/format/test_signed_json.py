"""Sealed documents: damaged, foreign and too new are told apart, and no flip passes."""

import json
from pathlib import Path

import pytest

from histo_index.errors import IndexFormatError
from histo_index.indexer.format.checksums import DamagedError, checksum
from histo_index.indexer.format.signed_json import seal, unseal

BODY = {"count": 3, "name": 'caf\u00e9 \udce9\n"x"', "nested": {"b": [1, 0.5, None], "a": True}}
PATH = Path("folder/document.json")


def read(data: bytes, *, newest: int = 7) -> dict[str, object]:
    return unseal(PATH, data, kind="thing", newest=newest, remedy="mend it")


def test_a_document_reads_back_as_it_was_written() -> None:
    assert read(seal("thing", BODY, version=7)) == BODY
    assert read(seal("thing", BODY, version=3)) == BODY


def test_a_document_is_plain_json_with_the_three_lasting_fields() -> None:
    document = json.loads(seal("thing", BODY, version=7))
    assert list(document) == ["format", "format_version", *BODY, "checksum"]
    assert (document["format"], document["format_version"]) == ("thing", 7)
    head, end = seal("thing", BODY, version=7).split(b',\n "checksum": ')
    assert end == f'"{checksum(head)}"\n}}'.encode()
    assert document["checksum"] == checksum(head)


def test_every_flipped_bit_and_every_truncation_is_refused() -> None:
    data = seal("thing", BODY, version=7)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedError, match=r"^folder/document\.json: damaged: .*; mend it$"):
            read(bytes(flipped))
    for length in range(len(data)):
        with pytest.raises(DamagedError):
            read(data[:length])


def test_a_newer_version_is_called_newer_and_only_if_it_is_whole() -> None:
    newer = seal("thing", {"whatever": "comes"}, version=8)
    with pytest.raises(IndexFormatError) as caught:
        read(newer)
    assert str(caught.value) == (
        "folder/document.json has index format 8, this release reads up to 7; upgrade histo-index"
    )
    assert not isinstance(caught.value, DamagedError)
    with pytest.raises(DamagedError):
        read(newer.replace(b"comes", b"goes "))


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"3", b"{}", b"[" * 100_000, b"\xff\xfe", b"\x00"]
)
def test_other_document_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedError, match=r"^folder/document\.json: damaged: "):
        read(data)


def test_another_kind_of_document_is_refused() -> None:
    with pytest.raises(DamagedError) as caught:
        read(seal("other", BODY, version=7))
    assert str(caught.value) == "folder/document.json: damaged: not a thing document; mend it"
