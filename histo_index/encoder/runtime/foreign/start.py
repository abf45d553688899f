"""Start the runtime of a foreign network."""

from histo_index.encoder.folder import EncoderFolder
from histo_index.encoder.foreign import LOWEST_COSINES, ONNX
from histo_index.encoder.runtime.choose import Runtime, start_cuda
from histo_index.encoder.runtime.foreign.self_test import measure_runtime, require_agreement
from histo_index.encoder.runtime.openvino import OpenVinoRuntime, has_bfloat16
from histo_index.errors import InputError
from histo_index.hardware import has_cuda


def start_foreign(encoder: EncoderFolder, device: str, precision: str) -> Runtime:
    """Load a foreign network on a device; see `start_runtime`.

    A precision that was not measured at import is measured now, on the self-test tiles.

    Raises:
        InputError: the network cannot run on this device, or an extra is not installed.
        MismatchError: a precision does not agree with the reference.
    """
    config = encoder.config
    assert config.foreign is not None
    is_onnx = config.foreign.source == ONNX
    if is_onnx and device == "cuda":
        raise InputError(f"{config.architecture} runs on CPUs only; pass --device cpu")
    if device == "reference":
        return _start_reference(encoder)
    side = config.preprocessing.crop_px
    if device == "cuda" or (device == "auto" and not is_onnx and has_cuda()):
        runtime = start_cuda(encoder, precision)
        cosine = measure_runtime(runtime, config.foreign, side=side)
        require_agreement(runtime.precision, cosine, name=config.architecture)
        return runtime
    known = config.foreign.cosines
    if precision == "auto":
        is_good = _agrees("bfloat16", known.get("bfloat16", 0.0))
        precision = "bfloat16" if is_good and has_bfloat16() else "float32"
    on_cpu = OpenVinoRuntime(
        encoder, precision="bfloat16" if precision == "bfloat16" else "float32"
    )
    measured = known.get(precision)
    if measured is None:
        measured = measure_runtime(on_cpu, config.foreign, side=side)
    require_agreement(precision, measured, name=config.architecture)
    return on_cpu


def _start_reference(encoder: EncoderFolder) -> Runtime:
    # Imported here: both bring torch, which takes seconds and which OpenVINO does not need.
    if encoder.config.foreign is not None and encoder.config.foreign.source == ONNX:
        from histo_index.encoder.runtime.foreign.onnx_reference import OnnxReference

        return OnnxReference(encoder.config, encoder.weights)
    from histo_index.encoder.runtime.reference import ReferenceRuntime

    return ReferenceRuntime(encoder)


def _agrees(precision: str, cosine: float) -> bool:
    return cosine >= LOWEST_COSINES[precision]


def verify_runtimes(encoder: EncoderFolder) -> dict[str, float]:
    """Encode the self-test tiles on every runtime of this machine.

    Returns:
        Name of the runtime to its lowest cosine to the embeddings stored at import; empty for our
        own networks, which have none.

    Raises:
        MismatchError: one does not agree.
        InputError: a library is not installed.
    """
    config = encoder.config
    if config.foreign is None:
        return {}
    wanted = [("cpu", "float32"), *([("cpu", "bfloat16")] if has_bfloat16() else [])]
    if has_cuda() and config.foreign.source != ONNX:
        wanted += [("cuda", "float32"), ("cuda", "bfloat16")]
    found = {}
    for device, precision in wanted:
        if not _agrees(precision, config.foreign.cosines.get(precision, 1.0)):
            continue  # refused at import, and never used
        runtime = start_foreign(encoder, device, precision)
        cosine = measure_runtime(runtime, config.foreign, side=config.preprocessing.crop_px)
        require_agreement(precision, cosine, name=f"{encoder.path} on {runtime.name}")
        found[f"{runtime.name}, {precision}"] = cosine
    return found
