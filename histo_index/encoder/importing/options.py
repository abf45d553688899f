"""What a user, a recipe or a folder chooses about an encoder that is imported."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from histo_index.encoder.config import MEAN
from histo_index.encoder.decode.preprocessing import BILINEAR, Preprocessing
from histo_index.encoder.foreign import ONNX
from histo_index.errors import IndexFormatError, InputError

Channels = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How tiles are prepared and what is kept of the network; None is left to others.

    Attributes:
        features: `cls`, `mean`, `cls+mean`, `map:STAGE`, or an output of an ONNX file.
        resize_px: shorter side after resizing.
        crop_px: side of the square from the centre, the input of the network.
        interpolation: bilinear, bicubic or lanczos.
        mean: per channel in 0…1.
        std: per channel in 0…1.
        mpps: microns per pixel that the network was trained for, the best first.
        licence: of the weights.
        is_gated: the licence forbids copies of the weights.
        revision: of the weights.
        arguments: further ones of the network's constructor.
    """

    features: str | None = None
    resize_px: int | None = None
    crop_px: int | None = None
    interpolation: str | None = None
    mean: Channels | None = None
    std: Channels | None = None
    mpps: tuple[float, ...] | None = None
    licence: str | None = None
    is_gated: bool | None = None
    revision: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def over(self, other: "Choices") -> "Choices":
        """Return these choices, and those of another where these leave it open."""
        merged = {
            entry.name: getattr(other, entry.name)
            if getattr(self, entry.name) is None
            else getattr(self, entry.name)
            for entry in fields(Choices)
        }
        if self.crop_px is not None:
            merged["resize_px"] = self.resize_px  # of another input size the resizing means nothing
        merged["arguments"] = {**other.arguments, **self.arguments}
        return Choices(**merged)

    def preprocessing(self, name: str) -> Preprocessing:
        """Return the preprocessing.

        Raises:
            InputError: a part is unknown, or a value is out of range.
        """
        if self.crop_px is None or self.mean is None or self.std is None:
            raise InputError(
                f"{name}: nothing says how tiles are prepared; pass --crop, --mean and --std (of "
                "ImageNet: 224, 0.485,0.456,0.406 and 0.229,0.224,0.225), or a --recipe"
            )
        try:
            return Preprocessing(
                resize_px=max(self.resize_px or 0, self.crop_px),
                crop_px=self.crop_px,
                mean=self.mean,
                std=self.std,
                interpolation=self.interpolation or BILINEAR,
            )
        except IndexFormatError as error:
            raise InputError(f"{name}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class ImportOptions(Choices):
    """How to import an encoder: the choices of the user, which go before all others.

    Attributes:
        weights: file with the weights, for `timm:NAME`.
        recipe: name of a recipe for a published encoder.
        architecture: of a torchvision checkpoint.
        pooling: of a torchvision checkpoint: `mean` or `covariance`.
        threshold: stored with a torchvision checkpoint.
        allow_code: run the code of `custom:FILE.py:FUNCTION`.
        overwrite: replace an existing encoder.
    """

    weights: Path | None = None
    recipe: str | None = None
    architecture: str = "resnext50_32x4d"
    pooling: str = MEAN
    threshold: float | None = None
    allow_code: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.weights is not None:
            object.__setattr__(self, "weights", Path(self.weights))  # text is accepted too


# Options of a torchvision checkpoint, and their names on the command line where these differ.
_OF_CHECKPOINT: Final = ("architecture", "pooling", "threshold")
_OF_NETWORKS: Final = ("recipe", "weights", "arguments")
_FLAGS: Final = {
    "architecture": "arch", "crop_px": "crop", "resize_px": "resize", "mpps": "mpp",
    "is_gated": "gated",
}  # fmt: skip


def refuse_unused(options: ImportOptions, source: str | None) -> None:
    """Refuse options that the import of a source would leave out.

    Args:
        options: of the user.
        source: a key of SOURCES; None for a torchvision checkpoint.

    Raises:
        InputError: an option is set that does not apply.
    """
    unused: tuple[str, ...] = _OF_CHECKPOINT
    if source == ONNX:
        unused += _OF_NETWORKS
    elif source is None:
        unused = (*_OF_NETWORKS, *(entry.name for entry in fields(Choices)))
    kept = ("mpps",) if source is None else ()
    default = ImportOptions()
    for name in unused:
        if name not in kept and getattr(options, name) != getattr(default, name):
            kind = f"{source}:" if source else "a torchvision checkpoint (timm:NAME may use it)"
            raise InputError(f"--{_FLAGS.get(name, name)} is no option of {kind}; leave it out")


def parse_channels(text: str | None, flag: str) -> Channels | None:
    """Read three numbers, separated by commas.

    Raises:
        InputError: they are not three numbers.
    """
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{flag} {text}: expected three numbers, such as 0.485,0.456,0.406"
        ) from error
    return red, green, blue


def parse_arguments(text: str | None) -> dict[str, Any]:
    """Read further arguments of a network from JSON.

    Raises:
        InputError: it is not a JSON object.
    """
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise InputError(f"arguments {text}: no JSON ({error}); expected an object") from error
    if not isinstance(found, dict):
        raise InputError(
            f'arguments {text}: expected a JSON object such as {{"init_values": 1e-5}}'
        )
    return found
