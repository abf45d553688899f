"""Where a foreign encoder comes from: `timm:NAME`, `timm:DIR`, `hf:DIR`, `onnx:FILE`."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from histo_index.encoder.foreign import CLS, CUSTOM, MEAN, OUTPUT, SOURCES, TIMM, TRANSFORMERS
from histo_index.encoder.importing.options import Choices, ImportOptions
from histo_index.encoder.importing.recipes import Recipe
from histo_index.encoder.runtime.foreign.timm_network import require_network
from histo_index.errors import InputError
from histo_index.wording import printable

# As `hf download` leaves them; the first that exists is read.
_WEIGHT_FILES: Final = ("model.safetensors", "pytorch_model.bin")
# Numbers of Pillow's filters in `preprocessor_config.json`.
_FILTERS: Final = {1: "lanczos", 2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True, kw_only=True)
class Found:
    """A network and its weights, as a source describes them.

    Attributes:
        source: a key of SOURCES.
        name: of the network.
        weights: the file with the weights.
        choices: what the source says about the network.
    """

    source: str
    name: str
    weights: Path
    choices: Choices


def split_source(text: str) -> tuple[str, str] | None:
    """Split `timm:NAME` into its parts; None if it is a plain path."""
    source, colon, place = text.partition(":")
    return (source, place) if colon and source in SOURCES else None


def require_checkpoint(path: Path) -> None:
    """Check that a source without `SOURCE:` may be a torchvision checkpoint.

    Raises:
        InputError: it is what another source reads.
    """
    if path.is_dir():
        raise InputError(f"{path}: a folder; pass timm:{path} or hf:{path}")
    others = {".onnx": f"onnx:{path}", ".safetensors": f"timm:NAME --weights {path}"}
    if path.suffix in others:
        raise InputError(f"{path}: no torchvision checkpoint; pass {others[path.suffix]}")


def find_timm(place: str, options: ImportOptions, recipe: Recipe | None) -> Found:
    """Find a network of timm: a name with `--weights`, or a folder as `hf download` leaves it.

    Raises:
        InputError: the folder or the weights are missing, or do not describe a network.
    """
    folder = Path(place)
    if not folder.is_dir():
        if options.weights is None:
            raise _missing(place, recipe or Recipe(repository=f"timm/{place}", source=TIMM))
        name = recipe.network if recipe else place
        return Found(
            source=TIMM,
            name=name,
            weights=options.weights,
            # Not the mean and std: weights of histology mostly have others than the network's own.
            choices=replace(
                _timm_choices(_default_config(name)), mean=None, std=None, licence=None
            ),
        )
    path = folder / "config.json"
    document = _read_json(path) if recipe is None or path.is_file() else {}
    name = recipe.network if recipe else str(document.get("architecture", ""))
    if not name:
        raise InputError(
            f"{folder / 'config.json'}: names no architecture of timm; pass --recipe, or "
            "timm:NAME --weights FILE"
        )
    _default_config(name)  # the network exists
    described = _timm_choices(document.get("pretrained_cfg", document))
    return Found(
        source=TIMM,
        name=name,
        weights=options.weights or _weights_in(folder),
        choices=replace(described, arguments=document.get("model_args") or {}),
    )


def find_transformers(place: str, options: ImportOptions, recipe: Recipe | None) -> Found:
    """Find a network of transformers: a folder as `hf download` leaves it.

    Raises:
        InputError: the folder or a file is missing, or does not describe a network.
    """
    folder = Path(place)
    if not folder.is_dir():
        raise _missing(place, recipe or Recipe(repository=place, source=TRANSFORMERS))
    document = _read_json(folder / "config.json")
    if "auto_map" in document:
        raise InputError(
            f"{folder}: brings its own code ({printable(str(document['auto_map']))[:100]}), "
            "which is never run; use custom:FILE.py:FUNCTION with --allow-code"
        )
    prepared = folder / "preprocessor_config.json"
    described = _hf_choices(_read_json(prepared)) if prepared.is_file() else Choices()
    return Found(
        source=TRANSFORMERS,
        name=str(document.get("model_type", "")),
        weights=options.weights or _weights_in(folder),
        choices=replace(described, arguments=document, features=CLS),
    )


def find_custom(place: str, options: ImportOptions) -> Found:
    """Read the code of `custom:FILE.py:FUNCTION`; it is not run here.

    Raises:
        InputError: running code is not allowed, or there is no such file.
    """
    name, _, function = place.rpartition(":")
    path = Path(name)
    if not (path.is_file() and function.isidentifier()):
        raise InputError(f"custom:{printable(place)}: no such file; pass custom:FILE.py:FUNCTION")
    if not options.allow_code:
        raise InputError(
            f"{path}: importing it runs its code with your rights, now and whenever the encoder is "
            "used; read it, then pass --allow-code"
        )
    return Found(
        source=CUSTOM,
        name=function,
        weights=options.weights or path,
        choices=Choices(features=OUTPUT, arguments={"code": path.read_text(encoding="utf-8")}),
    )


def _missing(place: str, recipe: Recipe) -> InputError:
    if not recipe.repository:
        return InputError(
            f"{printable(place)}: no such folder; nothing is downloaded: pass "
            f"timm:{recipe.network} --weights FILE"
        )
    folder = recipe.repository.rpartition("/")[2]
    return InputError(
        f"{printable(place)}: no such folder; nothing is downloaded: where there is a network, run "
        f"`hf download {printable(recipe.repository)} --local-dir {printable(folder)}`, copy it "
        f"here, and pass {recipe.source}:{printable(folder)}"
        + (" (or timm:NAME --weights FILE)" if recipe.source == TIMM else "")
    )


def _weights_in(folder: Path) -> Path:
    for name in _WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"{folder}: holds no {' or '.join(_WEIGHT_FILES)}; pass --weights FILE, or download again"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); download it again") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: not the description of a network; download it again")
    return document


def _default_config(name: str) -> Mapping[str, Any]:
    found = require_network(name).get_pretrained_cfg(name)
    return found.to_dict() if found else {}


def _timm_choices(config: Mapping[str, Any]) -> Choices:
    """Read the part of a `pretrained_cfg` that describes the input."""
    size, mean, std = config.get("input_size"), config.get("mean"), config.get("std")
    crop = int(size[-1]) if size else None
    share = float(config.get("crop_pct") or 1.0)
    pooled = config.get("pool_size") is not None  # convolutional networks have one
    return Choices(
        features=MEAN if pooled else None,
        crop_px=crop,
        resize_px=math.floor(crop / share) if crop else None,
        interpolation=config.get("interpolation"),
        mean=tuple(mean) if mean else None,
        std=tuple(std) if std else None,
        licence=config.get("license"),
    )


def _hf_choices(config: Mapping[str, Any]) -> Choices:
    """Read a `preprocessor_config.json`."""
    resized, cropped = _side(config.get("size")), _side(config.get("crop_size"))
    is_cropped = config.get("do_center_crop", cropped is not None)
    mean, std = config.get("image_mean"), config.get("image_std")
    return Choices(
        resize_px=resized,
        crop_px=cropped if is_cropped and cropped else resized,
        interpolation=_FILTERS.get(int(config.get("resample", 2))),
        mean=tuple(mean) if mean else None,
        std=tuple(std) if std else None,
    )


def _side(size: Any) -> int | None:
    if isinstance(size, dict):
        return next((int(size[key]) for key in ("shortest_edge", "height") if size.get(key)), None)
    return int(size) if size else None
