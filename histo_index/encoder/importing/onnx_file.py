"""Read a foreign ONNX file, reduce it to the chosen output, and compare two runtimes on it.

Runs in the limited child process.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.foreign import ONNX, ForeignNetwork, load_extra, parse_features
from histo_index.encoder.importing.agreement import check_network
from histo_index.encoder.importing.options import Choices
from histo_index.encoder.runtime.foreign.onnx_reference import OnnxReference
from histo_index.encoder.weights_file import ONNX_NAME, Weights
from histo_index.errors import InputError
from histo_index.wording import printable

# The largest file that protobuf can hold.
_MOST_BYTES: Final = 2**31 - 1
_STANDARD: Final = ("", "ai.onnx")
_LARGEST_SIDE: Final = 4096


def read_onnx(path: Path, request: str) -> Weights:
    """Read an ONNX file and check that onnxruntime and OpenVINO agree on it.

    Args:
        path: the file; tensors of its may lie in plain files beside it.
        request: an `Choices` as JSON.

    Returns:
        `ONNX_NAME`: the bytes of one file with all tensors and only the chosen outputs;
        `config`: the fields of its `EncoderConfig` as JSON bytes.

    Raises:
        InputError: the file or the request cannot be used.
        MismatchError: OpenVINO does not compute what onnxruntime computes.
    """
    onnx, name = load_extra("onnx", "onnx"), printable(path)
    given = Choices(**json.loads(request))
    try:
        model = onnx.load(path, load_external_data=False)
        _require_plain_tensors(onnx, model, path)
        onnx.load_external_data_for_model(model, str(path.parent))
    except InputError:
        raise
    except Exception as error:  # protobuf's and onnx's errors have no base class of their own
        reason = printable(" ".join(str(error).split()))[:300]
        raise InputError(f"{name}: no usable ONNX file ({reason}); export it again") from error
    _require_standard(model, name)
    features, outputs = _choose_outputs(model, given.features or "", name)
    arguments, spec = _read_input(model, given, name)
    data = _reduce(onnx, model, outputs, name)
    config = EncoderConfig(
        architecture=f"onnx:{path.stem}",
        pooling=features,
        preprocessing=spec,
        foreign=ForeignNetwork(source=ONNX, arguments=arguments, embedding_size=1),
    )
    weights: Weights = {ONNX_NAME: np.frombuffer(data, np.uint8)}
    foreign = check_network(config, weights, OnnxReference(config, weights))
    checked = replace(config, foreign=foreign)
    return {**weights, "config": _as_json(checked)}


def _as_json(config: EncoderConfig) -> Any:
    assert config.foreign is not None
    foreign = config.foreign
    document = {
        "pooling": config.pooling,
        "preprocessing": vars(config.preprocessing),
        "foreign": {
            "arguments": foreign.arguments,
            "embedding_size": foreign.embedding_size,
            "self_test": foreign.self_test,
            "cosines": foreign.cosines,
        },
    }
    return np.frombuffer(json.dumps(document).encode(), np.uint8)


def _require_plain_tensors(onnx: Any, model: Any, path: Path) -> None:
    """Check that tensors in other files lie in plain files beside this one."""
    for tensor in _all_tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        place = next((e.value for e in tensor.external_data if e.key == "location"), "")
        other = path.parent / place
        if place != Path(place).name or place in ("", ".", "..") or other.is_symlink():
            raise InputError(
                f"{printable(path)}: tensor {printable(tensor.name)} lies in {printable(place)!r}; "
                "expected a plain file in the same folder: export with all tensors in one file"
            )
        if not other.is_file():
            raise InputError(
                f"{printable(other)}: no such file; {printable(path.name)} keeps its tensors "
                "there: copy both"
            )


def _all_tensors(graph: Any) -> Any:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
        for inner in _graphs_in(node):
            yield from _all_tensors(inner)


def _graphs_in(node: Any) -> Any:
    """Yield the graphs that are attributes of a node, such as the branches of an `If`."""
    return (graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs))


def _require_standard(model: Any, name: str) -> None:
    for node in _all_nodes(model.graph):
        if node.domain not in _STANDARD:
            raise InputError(
                f"{name}: operator {printable(node.domain)}.{printable(node.op_type)} is not part "
                "of ONNX; export with standard operators alone"
            )


def _all_nodes(graph: Any) -> Any:
    for node in graph.node:
        yield node
        for inner in _graphs_in(node):
            yield from _all_nodes(inner)


def _choose_outputs(model: Any, text: str, name: str) -> tuple[str, tuple[str, ...]]:
    """Return the features with the names of the tensors they are of."""
    known = [output.name for output in model.graph.output]
    inner = {tensor for node in model.graph.node for tensor in node.output}
    features = parse_features(text) if text else None
    if features is None or not features.names:
        if len(known) != 1:
            raise InputError(
                f"{name}: {len(known)} outputs ({_listed(known)}); choose one by --features NAME"
            )
        return (known[0] if features is None else f"{features.kind}:{known[0]}"), (known[0],)
    missing = [wanted for wanted in features.names if wanted not in inner]
    if missing:
        raise InputError(
            f"{name}: no output {printable(missing[0])}; its outputs are {_listed(known)}, and any "
            "inner tensor can be named too"
        )
    return text, features.names


def _listed(names: list[str]) -> str:
    return printable(", ".join(names[:8]) + (", …" if len(names) > 8 else ""))


def _read_input(model: Any, given: Choices, name: str) -> tuple[dict[str, Any], Preprocessing]:
    """Read layout, type and size of the image input."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in stored]
    if len(inputs) != 1:
        raise InputError(f"{name}: {len(inputs)} inputs; expected one image")
    kind = inputs[0].type.tensor_type
    shape = [axis.dim_value or None for axis in kind.shape.dim]
    types = {1: "float32", 2: "uint8"}
    layout = {3: "NHWC"}.get(shape[3] or 0, "NCHW") if len(shape) == 4 else ""
    if layout == "NCHW" and shape[1] not in (3, None):
        layout = ""
    if kind.elem_type not in types or not layout:
        raise InputError(
            f"{name}: input {printable(inputs[0].name)} is {shape} of type {kind.elem_type}; "
            "expected an RGB image [N, 3, H, W] or [N, H, W, 3] of float32 or uint8"
        )
    sides = shape[2:] if layout == "NCHW" else shape[1:3]
    spec = _preprocessing(given, sides, types[kind.elem_type], name)
    return {"layout": layout, "type": types[kind.elem_type]}, spec


def _preprocessing(given: Choices, sides: list[int | None], kind: str, name: str) -> Preprocessing:
    crop = given.crop_px or sides[0]
    if crop is None:
        raise InputError(f"{name}: its input has no fixed size; pass --crop PIXELS")
    if any(side not in (crop, None) for side in sides) or crop > _LARGEST_SIDE:
        raise InputError(f"{name}: its input is {sides} pixels; expected squares of {crop}")
    mean, std = given.mean, given.std
    if kind == "uint8":
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if mean is None or std is None:
        raise InputError(
            f"{name}: an ONNX file does not hold how pixels are normalised; pass --mean and --std "
            "(of ImageNet: 0.485,0.456,0.406 and 0.229,0.224,0.225)"
        )
    return replace(given, crop_px=crop, mean=mean, std=std).preprocessing(name)


def _reduce(onnx: Any, model: Any, outputs: tuple[str, ...], name: str) -> bytes:
    """Keep what the outputs need, with all tensors in one file."""
    graph = model.graph
    needed, nodes = set(outputs), []
    for node in reversed(graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input)
            for inner in _graphs_in(node):
                needed |= {tensor for each in _all_nodes(inner) for tensor in each.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in needed]
    types = {entry.name: entry for entry in (*graph.value_info, *graph.output)}
    results = [types.get(each) or onnx.ValueInfoProto(name=each) for each in outputs]
    copies = [type(entry).FromString(entry.SerializeToString()) for entry in results]
    ordered = list(reversed(nodes))
    for field, values in (("node", ordered), ("initializer", kept), ("output", copies)):
        chosen = [type(value).FromString(value.SerializeToString()) for value in values]
        del getattr(graph, field)[:]
        getattr(graph, field).extend(chosen)
    for tensor in graph.initializer:
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    if model.ByteSize() > _MOST_BYTES:
        raise InputError(f"{name}: {model.ByteSize():,} bytes; ONNX files end at {_MOST_BYTES:,}")
    data: bytes = model.SerializeToString()
    return data
