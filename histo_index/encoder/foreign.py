"""The description of a network that this package does not define, as it was imported."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

import numpy as np

from histo_index.arrays import Float32
from histo_index.errors import InputError

TIMM: Final = "timm"
TRANSFORMERS: Final = "hf"
ONNX: Final = "onnx"
CUSTOM: Final = "custom"
# The environment variable that allows an encoder to run its own code.
ALLOW_CODE: Final = "HISTO_INDEX_ALLOW_CODE"
OUTPUT: Final = "output"
# What can build a foreign network, and the extra of this package that installs it.
SOURCES: Final = {TIMM: "timm", TRANSFORMERS: "hf", ONNX: "onnx", CUSTOM: None}

# Features that become the embedding; `map:` is followed by stages.
CLS: Final = "cls"
MEAN: Final = "mean"
CLS_MEAN: Final = "cls+mean"
MAP: Final = "map:"

# The lowest cosine between the embeddings of a runtime and of the reference.
LOWEST_COSINES: Final = {"float32": 0.999, "bfloat16": 0.99}


@dataclass(frozen=True, kw_only=True)
class ForeignNetwork:
    """A network of another library, and how far it was checked.

    Attributes:
        source: what builds it, one of SOURCES.
        arguments: of its constructor there, plain values; part of the fingerprint.
        embedding_size: D.
        self_test: the reference's embeddings of the self-test tiles, see `pack_embeddings`.
        cosines: of each precision measured at import, the lowest cosine to the reference.
        mpps: microns per pixel of the tiles it was trained for; empty if unknown.
        licence: of the weights, if known.
        is_gated: the licence forbids copies: an index then refers to the weights at `weights_path`.
        weights_path: of gated weights, the encoder folder they were written into.
        revision: of the weights, if known.

    Raises:
        InputError: a value is out of range.
    """

    source: str
    arguments: Mapping[str, Any]
    embedding_size: int
    self_test: str = ""
    cosines: Mapping[str, float] = field(default_factory=dict)
    mpps: tuple[float, ...] = ()
    licence: str | None = None
    is_gated: bool = False
    weights_path: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mpps", tuple(float(mpp) for mpp in self.mpps))
        if self.source not in SOURCES:
            raise InputError(f"unknown source {self.source}; expected one of {', '.join(SOURCES)}")
        if not (isinstance(self.embedding_size, int) and 0 < self.embedding_size <= 2**16):
            raise InputError(
                f"embeddings of {self.embedding_size} numbers; expected 1 to {2**16}: choose "
                "another output by --features"
            )
        if not all(0 < mpp < float("inf") for mpp in self.mpps):
            raise InputError(f"mpp {self.mpps}: expected microns per pixel above 0")

    @property
    def test_embeddings(self) -> Float32:
        """The reference's embeddings of the self-test tiles, float32 [5, D]."""
        return unpack_embeddings(self.self_test).reshape(-1, self.embedding_size)


@dataclass(frozen=True, kw_only=True)
class Features:
    """The choice of features.

    Attributes:
        kind: `cls`, `mean`, `cls+mean`, `map`, or `output`: the output as it is.
        names: of stages or of ONNX tensors; empty for the last features.
    """

    kind: str
    names: tuple[str, ...] = ()


def parse_features(text: str) -> Features:
    """Read `cls`, `mean`, `cls+mean`, `map:STAGE,…`, or for ONNX `NAME`, `mean:NAME`, `cls:NAME`.

    Raises:
        InputError: a name is missing.
    """
    if text in (CLS, MEAN, CLS_MEAN):
        return Features(kind=text)
    for kind in (MAP, f"{CLS}:", f"{MEAN}:", f"{CLS_MEAN}:"):
        if text.startswith(kind):
            names = tuple(name.strip() for name in text.removeprefix(kind).split(","))
            if not all(names) or (kind != MAP and len(names) > 1):
                raise InputError(f"features {text}: expected {kind}NAME")
            return Features(kind=kind.removesuffix(":"), names=names)
    if not text:
        raise InputError("features without a name; expected cls, mean, cls+mean or map:STAGE")
    return Features(kind=OUTPUT, names=(text,))


def parse_stages(features: Features, *, stages: int) -> list[int]:
    """Read the stages of `map:` as numbers, 1 to the number of stages.

    Raises:
        InputError: a stage does not exist.
    """
    numbers = [int(name) if name.isdigit() else 0 for name in features.names]
    if not all(1 <= number <= stages for number in numbers):
        raise InputError(
            f"features map:{','.join(features.names)}: this network has stages 1 to {stages}"
        )
    return numbers


def pack_embeddings(embeddings: Float32) -> str:
    """Write embeddings [N, D] as text: base64 of float32, little-endian, rows of unit length."""
    exact = embeddings.astype(np.float64)
    unit = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    return base64.b64encode(unit.astype("<f4").tobytes()).decode()


def unpack_embeddings(text: str) -> Float32:
    """Read what `pack_embeddings` wrote, as float32 [N × D]."""
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)


def lowest_cosine(left: Float32, right: Float32) -> float:
    """Compute the lowest cosine between rows [N, D] of the same number; NaN if one has none."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.min(np.einsum("nd,nd->n", a, b) / lengths))


def load_extra(library: str, extra: str) -> Any:
    """Import a library that only some users need.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(library)
    except ImportError as error:
        raise InputError(
            f"{library} is not installed; pip install 'histo-index[{extra}]'"
        ) from error
