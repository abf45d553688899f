"""Check this machine: hardware, libraries, encoder. The facts behind `doctor`."""

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from histo_index.errors import HistoIndexError
from histo_index.wording import counted

_LIBRARIES: Final = (
    "torch", "torchvision", "openvino", "faiss-gpu", "faiss-cpu", "numpy", "pillow", "pyarrow",
    "safetensors", "xxhash", "typer",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The state of this machine.

    Attributes:
        facts: name to value.
        problems: what prevents histo-index from working, one line each.
    """

    facts: dict[str, Any]
    problems: list[str]


def diagnose() -> Diagnosis:
    """Describe this machine and try each library once."""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "memory": f"{_memory_bytes() / 1e9:.1f} GB",
        "free_disk": f"{shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB here",
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
    }
    problems: list[str] = []
    parts: tuple[tuple[str, Callable[[], dict[str, Any]]], ...] = (
        ("torch", _try_torch),
        ("openvino", _try_openvino),
        ("faiss", _try_faiss),
        ("encoder", _try_bundled),
    )
    for name, attempt in parts:
        try:
            facts |= attempt()
        except (ImportError, OSError, RuntimeError, HistoIndexError) as error:
            reason = " ".join(str(error).split())[:300]
            facts[name] = "not usable"
            problems.append(f"{name}: {reason}")
    return Diagnosis(facts=facts, problems=problems)


def _try_torch() -> dict[str, Any]:
    from importlib.metadata import version

    import torch

    has_gpu = torch.cuda.is_available()
    return {
        "gpu": torch.cuda.get_device_name() if has_gpu else "none that torch can use",
        "torch": f"{torch.__version__}, torchvision {version('torchvision')}",
    }


def _try_openvino() -> dict[str, Any]:
    import torch

    from histo_index.encoder.runtime.openvino import cpu_capabilities
    from histo_index.hardware import usable_cores

    formats = cpu_capabilities()
    precision = "bfloat16" if "BF16" in formats or torch.cuda.is_available() else "float32"
    encode = "torch on the GPU" if torch.cuda.is_available() else "OpenVINO on the CPU"
    return {
        "cpu": f"{counted(usable_cores(), 'core')}, fast in {', '.join(formats)}",
        "encoding": f"{encode}, {precision}",
    }


def _try_faiss() -> dict[str, Any]:
    import numpy as np

    from histo_index.hardware import has_cuda
    from histo_index.indexer.nearest.exact import ExactSearch, faiss_version
    from histo_index.indexer.nearest.gpu import gpu_count

    vectors = np.eye(4, 8, dtype=np.float16)
    found = ExactSearch(vectors).search(vectors.astype(np.float32), 1)
    if found[:, 0].tolist() != [0, 1, 2, 3]:
        raise RuntimeError(f"FAISS finds wrong neighbours: {found[:, 0].tolist()}")
    exact = "torch on the GPU for many queries" if has_cuda() else "FAISS on the CPU"
    candidates = "FAISS on the GPU for many queries" if gpu_count() else "FAISS on the CPU"
    return {
        "faiss": faiss_version(),
        "searching": exact if exact == candidates else f"exact: {exact}; candidates: {candidates}",
    }


def _try_bundled() -> dict[str, Any]:
    from histo_index.encoder.folder import bundled_encoder, load_encoder

    return {"encoder": f"bundled: {load_encoder(bundled_encoder()).fingerprint}"}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _memory_bytes() -> int:
    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
