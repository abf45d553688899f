"""The hardware of this machine: GPUs and usable CPU cores."""

import os
from pathlib import Path


def has_cuda() -> bool:
    """Return whether torch can use a GPU on this machine."""
    # Importing torch takes seconds; without the device files of the driver there is no GPU.
    if not Path("/proc/driver/nvidia/version").exists() and not Path("/dev/nvidiactl").exists():
        return False
    import torch

    return torch.cuda.is_available()


def usable_cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
