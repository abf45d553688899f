"""Who encodes the tiles of a build: this process, several of this machine, or a Ray cluster."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from histo_index.errors import InputError
from histo_index.hardware import count_gpus, name_gpus, usable_cores

if TYPE_CHECKING:
    from histo_index.encoder.encoder import Encoder
    from histo_index.indexer.encoder_protocol import Encode
    from histo_index.indexer.runner import Runner

ENGINES: Final = ("processes", "ray")
# A process without a GPU keeps so many cores busy, decoding included.
_CORES_EACH: Final = 2


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Who encodes the tiles of a build.

    Attributes:
        name: `processes`, of this machine; or `ray`.
        address: HOST:PORT of a Ray cluster; None starts one on loopback for the build.
        workers: number of workers; None is one a GPU, else as many as the cores allow.
        gpus_per_worker: GPUs of each Ray worker; None is one if the cluster has any. Processes get
            one each if there are any.
        cores_per_worker: cores of each worker; fewer if no machine of the cluster has so many.
        strict: refuse workers that compute in different ways, such as on other kinds of CPU.
    """

    name: str
    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None
    cores_per_worker: int = _CORES_EACH
    strict: bool = False

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise InputError(f"--engine {self.name}: expected {' or '.join(ENGINES)}")
        is_given = self.address or self.gpus_per_worker is not None or self.strict
        if self.name != "ray" and is_given:
            raise InputError(
                "--address, --gpus-per-worker and --strict go with --engine ray, not with "
                f"--engine {self.name}"
            )
        if (self.workers is not None and self.workers < 1) or self.cores_per_worker < 1:
            raise InputError("--workers and --cores-per-worker: expected 1 or more")


def choose_engine(
    name: str | None,
    address: str | None,
    workers: int | None,
    gpus_per_worker: float | None,
    *,
    strict: bool,
) -> Engine | None:
    """Return the engine of some options; None for this process.

    Raises:
        InputError: the options do not go together.
    """
    if name is None:
        if address or workers or gpus_per_worker is not None or strict:
            raise InputError("--address, --workers and the like go with --engine")
        return None
    return Engine(
        name=name, address=address, workers=workers, gpus_per_worker=gpus_per_worker,
        strict=strict,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EncoderSource:
    """Opens the encoder of an index in another process.

    Attributes:
        folder: the copy of the encoder in the index.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `float32` or `bfloat16`.
        max_pixels: the largest accepted images.
    """

    folder: Path
    device: str
    precision: str
    max_pixels: int

    def __call__(self) -> "Encode":
        """Open it.

        Raises:
            InputError: this machine has no such device, or not this precision.
            IndexFormatError: the folder is damaged.
        """
        from histo_index.encoder.decode.image_file import DecodeLimits
        from histo_index.encoder.encoder import open_encoder

        limits = DecodeLimits(max_pixels=self.max_pixels)
        return open_encoder(
            self.folder, device=self.device, precision=self.precision, limits=limits
        )


def make_runner(
    engine: Engine | None, output: Path, encoder: "Encoder", *, device: str, precision: str
) -> "Runner | None":
    """Return what carries out the tasks of a build; None for this process.

    Raises:
        InputError: the address of the cluster is not safe.
    """
    if engine is None:
        return None
    source = EncoderSource(
        folder=Path(os.path.abspath(output)) / "encoder",
        device=device,
        precision=precision,
        max_pixels=encoder.max_pixels,
    )
    if engine.name == "processes":
        from histo_index.cluster.building.processes import ProcessRunner

        count = 0 if device == "cpu" else count_gpus()
        gpus = name_gpus(count, os.environ.get("CUDA_VISIBLE_DEVICES"))
        workers = engine.workers or count or max(usable_cores() // engine.cores_per_worker, 1)
        return ProcessRunner(make_encode=source, workers=workers, gpus=gpus)
    from histo_index.cluster.building.ray_runner import RayRunner
    from histo_index.cluster.ray_session import require_safe

    require_safe(engine.address)
    return RayRunner(
        make_encode=source, workers=engine.workers, address=engine.address,
        cores=engine.cores_per_worker, gpus=0 if device == "cpu" else engine.gpus_per_worker,
        is_strict=engine.strict,
    )  # fmt: skip
