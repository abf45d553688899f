"""The hardware of this machine: GPUs and usable CPU cores."""

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Final

# How many cores a process may use, where several share a machine.
CORES_VARIABLE: Final = "HISTO_INDEX_CORES"
# Instructions that change what a network computes, the newest last; x86-64, then arm64.
_INSTRUCTIONS: Final = (
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "sve", "bf16", "sve2",
)  # fmt: skip
# Environment variables that make torch and OpenVINO use fewer.
_LIMITS: Final = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "OV_CPU_MAX_ISA")


def has_cuda() -> bool:
    """Return whether torch can use a GPU on this machine."""
    # Importing torch takes seconds; without the device files of the driver there is no GPU.
    if not Path("/proc/driver/nvidia/version").exists() and not Path("/dev/nvidiactl").exists():
        return False
    import torch

    return torch.cuda.is_available()


def count_gpus() -> int:
    """Return the number of GPUs that torch can use."""
    if not has_cuda():
        return 0
    import torch

    return int(torch.cuda.device_count())


def name_gpus(count: int, visible: str | None) -> tuple[str, ...]:
    """Name GPUs as CUDA_VISIBLE_DEVICES does, so that a process can be limited to one of them.

    Args:
        count: how many can be used.
        visible: CUDA_VISIBLE_DEVICES of this process, None if it is not set.
    """
    chosen = [name.strip() for name in (visible or "").split(",") if name.strip()]
    return tuple(chosen[:count] or map(str, range(count)))


def usable_cores() -> int:
    """Return the number of cores this process may use: its affinity, and HISTO_INDEX_CORES."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    with suppress(KeyError, ValueError):
        return max(min(int(os.environ[CORES_VARIABLE]), cores), 1)
    return cores


def cpu_kind() -> str:
    """Name what decides the last bits of an embedding: architecture, instructions, limits set."""
    flags: set[str] = set()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.split(":", 1)[1].split())
                break
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if name in os.environ]
    known = [name for name in _INSTRUCTIONS if name in flags]
    return " ".join([platform.machine(), *known, *limits])
