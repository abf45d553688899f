"""Options of an import: values out of range, and options that a source would leave out."""

from pathlib import Path
from typing import Any

import pytest

import histo_index
from histo_index.encoder.importing.options import parse_channels
from histo_index.errors import InputError
from tests.encoder.importing.conftest import ImportHere, WriteOnnx

HALF: dict[str, Any] = {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.5, 0.2)}


@pytest.mark.parametrize(
    "wrong",
    [{"std": (0.5, 0.0, 0.5)}, {"mean": (float("nan"), 0.5, 0.5)}, {"interpolation": "cubic"}],
)
def test_preprocessing_out_of_range_is_the_users_fault(
    wrong: dict[str, Any], write_onnx: WriteOnnx, import_here: ImportHere
) -> None:
    with pytest.raises(InputError, match=r"^\S+tiny.onnx: Preprocessing\(.* is not usable; expec"):
        import_here(f"onnx:{write_onnx()}", **{**HALF, **wrong})


@pytest.mark.parametrize(
    ("source", "options", "line"),
    [
        ("onnx:{onnx}", {"recipe": "uni2-h"}, "--recipe is no option of onnx:; leave it out"),
        ("onnx:{onnx}", {"arguments": {"depth": 2}}, "--arguments is no option of onnx:; leave"),
        ("onnx:{onnx}", {"threshold": 0.5}, "--threshold is no option of onnx:; leave it out"),
        ("timm:vit", {"architecture": "resnet18"}, "--arch is no option of timm:; leave it out"),
        ("{pth}", {"licence": "MIT"}, "--licence is no option of a torchvision checkpoint (timm"),
        ("{pth}", {"crop_px": 96}, "--crop is no option of a torchvision checkpoint (timm:NAME "),
        ("{onnx}", {}, "no torchvision checkpoint; pass onnx:{onnx}"),
        ("{safe}", {}, "no torchvision checkpoint; pass timm:NAME --weights {safe}"),
        ("{here}", {}, "a folder; pass timm:{here} or hf:{here}"),
    ],
)
def test_an_option_that_would_be_left_out_is_refused(
    source: str, options: dict[str, Any], line: str, write_onnx: WriteOnnx, tmp_path: Path
) -> None:
    places = {
        "onnx": write_onnx(), "pth": tmp_path / "net.pth", "safe": tmp_path / "net.safetensors",
        "here": tmp_path,
    }  # fmt: skip
    with pytest.raises(InputError) as caught:
        histo_index.import_encoder(
            source.format(**places), tmp_path / "encoder", histo_index.ImportOptions(**options)
        )
    assert line.format(**places) in str(caught.value)
    assert not (tmp_path / "encoder").exists()


def test_the_weights_may_be_named_by_text() -> None:
    named: Any = "folder/net.pth"
    assert histo_index.ImportOptions(weights=named).weights == Path("folder/net.pth")


def test_channels_are_three_numbers() -> None:
    assert parse_channels(None, "--mean") is None
    assert parse_channels("0.485, 0.456,0.406", "--mean") == (0.485, 0.456, 0.406)
    for text in ("0.5", "0.5,0.5", "a,b,c", "0.5 0.5 0.5"):
        with pytest.raises(InputError, match=f"^--std {text}: expected three numbers, such as "):
            parse_channels(text, "--std")
