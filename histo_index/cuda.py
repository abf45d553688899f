"""Whether there is a GPU here that torch can use."""

from pathlib import Path


def has_cuda() -> bool:
    """Tell whether torch can use a GPU here."""
    # Importing torch takes seconds; the driver's device file tells as well that there is no GPU.
    if not Path("/proc/driver/nvidia/version").exists() and not Path("/dev/nvidiactl").exists():
        return False
    import torch

    return torch.cuda.is_available()
