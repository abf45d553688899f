"""Read a foreign checkpoint in a process of its own, with limited memory and time.

Whatever the file does to its reader, the caller gets the weights or one line that says why not.
"""

import json
import math
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from histo_index.encoder.config import MEAN
from histo_index.encoder.decode.image_file import one_line
from histo_index.encoder.folder import Weights, pack_weights, unpack_weights
from histo_index.errors import HistoIndexError, InputError, MismatchError
from histo_index.wording import printable

# As in the decode pool: nothing in the working directory can take the place of a module, and the
# child finds the package where the parent did.
_CHILD: Final = (
    "import sys; root = sys.argv[1]; root in sys.path or sys.path.insert(0, root); "
    "from histo_index.encoder.import_child import main; main()"
)
_PACKAGE_ROOT: Final = Path(__file__).parents[2]
# How the child ends when it has understood the file and refuses it; Python's own are 1 and 2.
_REFUSED: Final = 3
_KINDS: Final = {kind.__name__: kind for kind in (InputError, MismatchError)}


@dataclass(frozen=True, kw_only=True)
class ImportLimits:
    """What a checkpoint may cost before it is refused.

    Attributes:
        max_bytes: size of the file. The largest network (88 million weights) in float64, online
            and target, with both moments of Adam, has 4.2 GB.
        spare_bytes: memory beyond what a file of its size may need, most of it for libraries.
        cpu_s: computing time; a checkpoint of 2 GB takes some seconds.
        wait_s: time until it is given up, which a stalled network folder may come to.
    """

    max_bytes: int = 8 * 2**30
    spare_bytes: int = 2 * 2**30
    cpu_s: int = 300
    wait_s: float = 1800.0

    def memory(self, size: int) -> int:
        """Say how many bytes a child may set aside for a file."""
        # A half-precision file is held once, and then twice as large in float32.
        return self.spare_bytes + 3 * size


def read_in_child(
    path: Path, architecture: str, limits: ImportLimits | None = None, *, pooling: str = MEAN
) -> Weights:
    """Read the trunk's weights out of a `.pth` file; see `importing.read_checkpoint`.

    Args:
        path: a file written by `torch.save`, by anybody.
        architecture: which network the weights belong to.
        limits: what it may cost; on systems without such limits it may cost more.
        pooling: what embeddings will be made by; see `EncoderConfig`.

    Returns:
        Parameter name to float32 array, of the stages that are pooled and those before.

    Raises:
        InputError: the file is missing, too large, not a checkpoint, holds more than tensors, or
            ended the process that read it.
        MismatchError: the weights are not of this architecture, or not finite.
    """
    limits = limits or ImportLimits()
    name = printable(path)
    if not path.is_file():
        raise InputError(f"{name}: no such file; pass a checkpoint written by torch.save")
    size = path.stat().st_size
    if size > limits.max_bytes:
        raise InputError(
            f"{name}: too large: {size:,} bytes, the limit is {limits.max_bytes:,}; "
            "save its state_dict() alone"
        )
    work = [str(path), architecture, pooling, str(limits.memory(size)), str(limits.cpu_s)]
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
            f"{name}: the process that read it died ({_cause(ran.returncode, ran.stderr)}); "
            "the file is damaged, hostile or too large for this machine"
        )
    return unpack_weights(ran.stdout)


def main() -> None:
    """Read the checkpoint that the arguments name and write its weights to stdout."""
    path, architecture, pooling, memory, cpu_s = sys.argv[2:]
    # Anything a library prints must not end up among the weights.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import torch

    from histo_index.encoder.checkpoint_import import read_checkpoint

    # Each thread sets memory aside that the limit counts.
    torch.set_num_threads(1)
    _limit(memory=int(memory), cpu_s=int(cpu_s))
    with answers:
        try:
            weights = read_checkpoint(Path(path), architecture, pooling=pooling)
        except HistoIndexError as error:
            refusal = {"kind": type(error).__name__, "message": str(error)}
            answers.write(json.dumps(refusal).encode())
            sys.exit(_REFUSED)
        # The file has had its say. Short of memory, safetensors would wait for itself for ever.
        _lift_memory_limit()
        answers.write(pack_weights(weights))


def _limit(*, memory: int, cpu_s: int) -> None:
    """Bound what this process may take from now on, where the system can."""
    # Windows has no such limits; what a process has mapped so far is told by Linux alone.
    with suppress(ImportError, FileNotFoundError):
        import resource

        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        used = os.times()
        limits = (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_CPU, math.ceil(used.user + used.system) + cpu_s),
            (resource.RLIMIT_AS, mapped + memory),
        )
        for kind, wanted in limits:
            # The hard limit stays: it is the user's, and what is below it can be lifted again.
            _, most = resource.getrlimit(kind)
            is_free = most == resource.RLIM_INFINITY
            resource.setrlimit(kind, (wanted if is_free else min(wanted, most), most))


def _lift_memory_limit() -> None:
    with suppress(ImportError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _cause(status: int, stderr: bytes) -> str:
    """Say in a few words how a process ended."""
    if status < 0:
        return f"killed by signal {-status}: {signal.strsignal(-status)}"
    last = stderr.decode(errors="replace").strip().splitlines()[-1:]
    return one_line(RuntimeError(*last)) if last else f"status {status}"
