"""Whether there is a GPU here that torch can use."""

import os
from pathlib import Path


def has_cuda() -> bool:
    """Tell whether torch can use a GPU here."""
    # Importing torch takes seconds; the driver's device file tells as well that there is no GPU.
    if not Path("/proc/driver/nvidia/version").exists() and not Path("/dev/nvidiactl").exists():
        return False
    import torch

    return torch.cuda.is_available()


def usable_cores() -> int:
    """Count the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
