"""Choose the runtime: a GPU, OpenVINO on the CPU, or the slow reference."""

from typing import Final, Protocol, cast

from histo_index.arrays import Float32, Pixels
from histo_index.encoder.folder import EncoderFolder
from histo_index.errors import InputError
from histo_index.hardware import has_cuda

_NO_CUDA: Final = "no CUDA device here; pass --device cpu (see `histo-index doctor`)"
DEVICES: Final = ("auto", "cpu", "cuda", "reference")
PRECISIONS: Final = ("auto", "float32", "bfloat16")


class Runtime(Protocol):
    """A network ready to run; `parallel` threads may call `embed` at a time."""

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def batch(self) -> int: ...
    @property
    def parallel(self) -> int: ...
    def embed(self, images: Pixels) -> Float32: ...


def require_possible(device: str, precision: str) -> None:
    """Check that a device and a precision fit together; a GPU must be here.

    Raises:
        InputError: one of them is unknown, they do not fit together, or there is no GPU.
    """
    if device not in DEVICES or precision not in PRECISIONS:
        raise InputError(
            f"device {device}, precision {precision}: expected one of {', '.join(DEVICES[:3])} "
            f"and one of {', '.join(PRECISIONS)}"
        )
    if device == "cuda" and not has_cuda():
        raise InputError(_NO_CUDA)
    if device == "reference" and precision not in ("auto", "float32"):
        raise InputError(f"the reference computes in float32, not {precision}; pass another device")


def start_runtime(encoder: EncoderFolder, device: str, precision: str) -> Runtime:
    """Load the network on a device; for device and precision see `require_possible`.

    Raises:
        InputError: this machine lacks the device or the precision, or a library that defines a
            foreign network.
        MismatchError: the weights do not fit the architecture, or a foreign network does not
            compute what it computed at import.
    """
    if encoder.config.foreign is not None:
        # Imported here: most encoders are our own.
        from histo_index.encoder.runtime.foreign.start import start_foreign

        return start_foreign(encoder, device, precision)
    if device == "reference":
        from histo_index.encoder.runtime.reference import ReferenceRuntime

        return ReferenceRuntime(encoder)
    if device == "cuda" or (device == "auto" and has_cuda()):
        return start_cuda(encoder, precision)
    from histo_index.encoder.runtime.openvino import OpenVinoRuntime, Precision, has_bfloat16

    if precision == "auto":
        precision = "bfloat16" if has_bfloat16() else "float32"
    return OpenVinoRuntime(encoder, precision=cast(Precision, precision))


def start_cuda(encoder: EncoderFolder, precision: str) -> Runtime:
    """Load the network on a GPU; `auto` is bfloat16."""
    from histo_index.encoder.runtime.cuda import CudaRuntime

    return CudaRuntime(encoder, precision="bfloat16" if precision == "auto" else precision)
