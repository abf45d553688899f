"""Import an encoder of another library as an encoder folder."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.folder import EncoderFolder, require_free, save_encoder
from histo_index.encoder.foreign import ALLOW_CODE, CLS, CUSTOM, ONNX, SOURCES, TIMM, ForeignNetwork
from histo_index.encoder.importing.agreement import check_network
from histo_index.encoder.importing.child import ImportLimits, run_in_child
from histo_index.encoder.importing.options import Choices, ImportOptions, refuse_unused
from histo_index.encoder.importing.recipes import find_recipe
from histo_index.encoder.importing.sources import (
    Found,
    find_custom,
    find_timm,
    find_transformers,
    split_source,
)
from histo_index.encoder.runtime.foreign.torch_network import build_backbone
from histo_index.encoder.runtime.reference import ReferenceRuntime
from histo_index.encoder.weights_file import ONNX_NAME, Weights
from histo_index.errors import InputError
from histo_index.wording import printable

Reader = Callable[..., Weights]

# What training code puts before the names of the network.
_PREFIXES: Final = ("module.", "model.", "backbone.", "encoder.")
# OpenVINO and onnxruntime reserve memory for their threads, and both run the network.
_ONNX_LIMITS = ImportLimits(max_bytes=2**31, spare_bytes=6 * 2**30, cpu_s=1800)


def import_foreign(
    source: str, output: Path, options: ImportOptions, *, read: Reader = run_in_child
) -> str:
    """Import an encoder; nothing is downloaded, and no code is run but that of `custom:`.

    Args:
        source: `timm:NAME`, `timm:DIR`, `hf:DIR`, `onnx:FILE` or `custom:FILE.py:FUNCTION`.
        output: a new encoder folder.
        options: what the source does not say.
        read: reads foreign files; the default does it in a limited child process.

    Returns:
        The fingerprint.

    Raises:
        InputError: source, options or output cannot be used, or an extra is not installed.
        MismatchError: the weights are of another network, or OpenVINO does not compute what the
            reference computes.
    """
    parts = split_source(source)
    if parts is None:
        raise InputError(f"{source}: expected one of {', '.join(f'{s}:…' for s in SOURCES)}")
    require_free(output, overwrite=options.overwrite)
    kind, place = parts
    refuse_unused(options, kind)
    with _allowing(options.allow_code):
        config, weights = (
            _read_onnx(Path(place), options, read)
            if kind == ONNX
            else _read_torch(kind, place, options, read)
        )
    return save_encoder(output, _with_licence(config, output), weights, overwrite=options.overwrite)


@contextmanager
def _allowing(is_allowed: bool) -> Iterator[None]:
    """Allow an encoder to run its code during the import, if the user does."""
    before = os.environ.get(ALLOW_CODE)
    if is_allowed:
        os.environ[ALLOW_CODE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(ALLOW_CODE, None)
        else:
            os.environ[ALLOW_CODE] = before


def _read_torch(
    kind: str, place: str, options: ImportOptions, read: Reader
) -> tuple[EncoderConfig, Weights]:
    recipe = find_recipe(options.recipe)
    if recipe is not None and recipe.source != kind:
        raise InputError(
            f"recipe {options.recipe} is for {recipe.source}:DIR; pass {recipe.source}:{place}"
        )
    if kind == CUSTOM:
        found = find_custom(place, options)
    else:
        find = find_timm if kind == TIMM else find_transformers
        found = find(place, options, recipe)
    said = found.choices
    if recipe is not None:
        said = replace(recipe.choices, arguments=recipe.arguments).over(said)
    choices = options.over(said)
    config = _describe(found, choices, options)
    weights = (
        _own_weights(config)
        if kind == CUSTOM and options.weights is None
        else _matching(config, _read_tensors(found.weights, read))
    )
    network = EncoderFolder(path=Path(place), config=config, weights=weights, fingerprint="")
    foreign = check_network(config, weights, ReferenceRuntime(network))
    return replace(config, foreign=foreign), weights


def _describe(found: Found, choices: Choices, options: ImportOptions) -> EncoderConfig:
    return EncoderConfig(
        architecture=f"{found.source}:{found.name}",
        pooling=choices.features or CLS,
        preprocessing=choices.preprocessing(found.name),
        training=_card(found.source, found.weights, options),
        mpp=choices.mpps[0] if choices.mpps else None,
        foreign=_foreign(found.source, choices),
    )


def _foreign(source: str, choices: Choices) -> ForeignNetwork:
    return ForeignNetwork(
        source=source,
        arguments=choices.arguments,
        embedding_size=1,  # measured on the self-test tiles
        mpps=choices.mpps or (),
        licence=choices.licence,
        is_gated=bool(choices.is_gated),
        revision=choices.revision,
    )


def _card(source: str, weights: Path, options: ImportOptions) -> dict[str, Any]:
    card = {"method": "imported", "source": source, "checkpoint": weights.name}
    return card if options.recipe is None else {**card, "recipe": {"name": options.recipe}}


def _read_tensors(path: Path, read: Reader) -> Weights:
    if not path.is_file():
        raise InputError(f"{printable(path)}: no such file; pass the weights by --weights FILE")
    return read("tensors", path)


def _own_weights(config: EncoderConfig) -> Weights:
    """Return the weights that the user's function gave the network itself."""
    state = build_backbone(config).network.state_dict()
    return {name: value.float().numpy() for name, value in state.items()}


def _matching(config: EncoderConfig, weights: Weights) -> Weights:
    """Remove a wrapper's prefix and the classifier; shapes are compared when it is loaded."""
    assert config.foreign is not None
    if config.foreign.source != TIMM:
        return weights
    network = build_backbone(config).network
    expected = network.state_dict().keys()
    for prefix in _PREFIXES:
        if sum(name.removeprefix(prefix) in expected for name in weights) > sum(
            name in expected for name in weights
        ):
            weights = {name.removeprefix(prefix): array for name, array in weights.items()}
    heads = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    dropped = tuple(f"{head}." for head in heads)
    return {
        name: array
        for name, array in weights.items()
        if name in expected or not name.startswith(dropped)
    }


def _read_onnx(path: Path, options: ImportOptions, read: Reader) -> tuple[EncoderConfig, Weights]:
    if not path.is_file():
        raise InputError(f"{printable(path)}: no such file; pass onnx:FILE")
    choices = options.over(Choices())
    found = read("onnx", path, [json.dumps(asdict(choices))], limits=_ONNX_LIMITS)
    document = json.loads(found.pop("config").tobytes())
    foreign = replace(_foreign(ONNX, choices), **document["foreign"])
    config = EncoderConfig(
        architecture=f"{ONNX}:{path.stem}",
        pooling=document["pooling"],
        preprocessing=Preprocessing(**document["preprocessing"]),
        training=_card(ONNX, path, options),
        mpp=choices.mpps[0] if choices.mpps else None,
        foreign=foreign,
    )
    return config, {ONNX_NAME: found[ONNX_NAME]}


def _with_licence(config: EncoderConfig, output: Path) -> EncoderConfig:
    """Where the licence forbids copies, note where the weights will lie."""
    assert config.foreign is not None
    if not config.foreign.is_gated:
        return config
    return replace(config, foreign=replace(config.foreign, weights_path=os.path.abspath(output)))
