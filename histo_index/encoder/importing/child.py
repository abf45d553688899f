"""Read a foreign file in a child process with limited memory and time.

Whatever the file does to the child, the caller gets arrays or an error of one line.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from histo_index.encoder.config import MEAN
from histo_index.encoder.weights_file import Weights, pack_weights, unpack_weights
from histo_index.errors import HistoIndexError, InputError
from histo_index.limits import describe_end, lift_memory_limit, limit_process
from histo_index.wording import printable

# As in the decode pool: nothing in the working directory can replace a module, and the child finds
# the package where the parent did.
_CHILD: Final = (
    "import sys; root = sys.argv[1]; root in sys.path or sys.path.insert(0, root); "
    "from histo_index.encoder.importing.child import main; main()"
)
_PACKAGE_ROOT: Final = Path(__file__).parents[3]
# Exit status of a child that refuses the file; Python uses 1 and 2.
_REFUSED: Final = 3
_KINDS: Final = {kind.__name__: kind for kind in HistoIndexError.__subclasses__()}


@dataclass(frozen=True, kw_only=True)
class ImportLimits:
    """The memory and time that reading a file may take.

    Attributes:
        max_bytes: size of the file. The largest networks have 1.1 billion weights: 4.5 GB in
            float32.
        spare_bytes: memory beyond that for the file, mostly for libraries.
        cpu_s: CPU time; a checkpoint of 2 GB takes some seconds.
        wait_s: wall time, for example of a stalled network folder.
    """

    max_bytes: int = 8 * 2**30
    spare_bytes: int = 2 * 2**30
    cpu_s: int = 300
    wait_s: float = 1800.0

    def memory(self, size: int) -> int:
        """Return how many bytes a child may allocate for a file of that size."""
        # A half-precision file is held as it is, and once in float32, twice as large.
        return self.spare_bytes + 3 * size


def read_in_child(
    path: Path, architecture: str, limits: ImportLimits | None = None, *, pooling: str = MEAN
) -> Weights:
    """Read the weights of the trunk from a `.pth` file; see `checkpoint.read_checkpoint`.

    Args:
        path: a file written by `torch.save`, by anybody.
        architecture: of the weights.
        limits: memory and time; some systems cannot enforce all of them.
        pooling: of the new encoder; see `EncoderConfig`.

    Returns:
        Parameter name to float32 array, of the stages that are pooled and those before.

    Raises:
        InputError: the file is missing, too large, not a checkpoint, holds more than tensors, or
            ended the process that read it.
        MismatchError: the weights do not fit the architecture, or are not finite.
    """
    if not path.is_file():
        raise InputError(
            f"{printable(path)}: no such file; pass a checkpoint written by torch.save"
        )
    return run_in_child("checkpoint", path, [architecture, pooling], limits=limits)


def run_in_child(
    job: str, path: Path, words: Sequence[str] = (), *, limits: ImportLimits | None = None
) -> Weights:
    """Run a job on a foreign file in a child.

    Args:
        job: `checkpoint`, `tensors` or `onnx`, see `_job`.
        path: the file.
        words: further arguments of the job.
        limits: memory and time; some systems cannot enforce all of them.

    Returns:
        Name to array, as the job returned them.

    Raises:
        InputError: the file is too large, or ended the process that read it, or the job refused it.
        MismatchError: the job refused it.
    """
    limits = limits or ImportLimits()
    name = printable(path)
    size = path.stat().st_size
    if size > limits.max_bytes:
        raise InputError(
            f"{name}: too large: {size:,} bytes, the limit is {limits.max_bytes:,}; "
            "save its state_dict() alone"
        )
    work = [job, str(path), str(limits.memory(size)), str(limits.cpu_s), *words]
    command = [sys.executable, "-P", "-c", _CHILD, str(_PACKAGE_ROOT), *work]
    try:
        ran = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limits.wait_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{name}: reading took over {limits.wait_s:g} s; copy the file to this machine, or "
            "save its state_dict() alone"
        ) from error
    if ran.returncode == _REFUSED:
        refusal = json.loads(ran.stdout)
        raise _KINDS[refusal["kind"]](refusal["message"])
    if ran.returncode != 0:
        raise InputError(
            f"{name}: the process that read it died ({describe_end(ran.returncode, ran.stderr)}); "
            "the file is damaged, hostile or too large for this machine"
        )
    return unpack_weights(ran.stdout)


def main() -> None:
    """Run the job that the arguments name and write its arrays to stdout."""
    job, path, memory, cpu_s, *words = sys.argv[2:]
    # Output of libraries must not mix with the arrays.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    run = _job(job)
    limit_process(memory=int(memory), cpu_s=int(cpu_s))
    status = 0
    with answers:
        try:
            arrays = run(Path(path), words)
        except HistoIndexError as error:
            refusal = {"kind": type(error).__name__, "message": str(error)}
            answers.write(json.dumps(refusal).encode())
            status = _REFUSED
        else:
            # The file is read. With too little memory, safetensors would hang.
            lift_memory_limit()
            answers.write(pack_weights(arrays))
    # The answer is complete. Threads of torch, OpenVINO and onnxruntime may hang as they end.
    os._exit(status)


def _job(name: str) -> Callable[[Path, Sequence[str]], Weights]:
    """Load the libraries of a job before the limits apply."""
    import torch

    from histo_index.encoder.importing.checkpoint import read_checkpoint
    from histo_index.encoder.importing.tensors import read_tensors

    # Each thread reserves memory that counts towards the limit.
    torch.set_num_threads(1)
    if name == "onnx":
        from histo_index.encoder.importing.onnx_file import read_onnx

        return lambda path, words: read_onnx(path, *words)
    if name == "tensors":
        return lambda path, words: read_tensors(path)
    return lambda path, words: read_checkpoint(path, words[0], pooling=words[1])
