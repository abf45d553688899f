"""Train an encoder on unlabelled tiles, from Python. The command line calls this too."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from histo_index.api.distillation.teacher import read_teacher
from histo_index.api.training.monitor_file import read_monitor
from histo_index.api.training.places import COLUMNS, read_places
from histo_index.encoder.folder import bundled_encoder, load_encoder
from histo_index.encoder.training.batches.material import Lessons
from histo_index.encoder.training.config import TrainConfig
from histo_index.encoder.training.recipes import RECIPES, Recipe
from histo_index.encoder.training.train import TrainReport
from histo_index.encoder.training.train import train as train_encoder
from histo_index.errors import InputError
from histo_index.hardware import has_cuda
from histo_index.indexer.inputs.folders import NEEDS_MPP
from histo_index.indexer.inputs.tile_list import TileList
from histo_index.indexer.inputs.tiles import list_tiles

if TYPE_CHECKING:
    from histo_index.encoder.training.config import TrainProgress

_log = logging.getLogger(__name__)

_Paths = str | Path | Sequence[str | Path]
# Processes with a GPU; each computes about 200 pairs of 64 px views a second.
_MAX_WORKERS: Final = 16


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Settings of a training run.

    Attributes:
        recipe: `histology`, `reference`, or `distil`; None means `distil` with a teacher, else
            `histology`.
        architecture: `resnext50_32x4d`, `resnext101_32x8d` or `resnet18`.
        epochs: passes over the tiles; None here and below means the value of the recipe.
        batch: tiles per step.
        crop_px: side of a view.
        tile_px: shorter side of a tile at inference.
        learning_rate: peak value.
        momentum: start of the moving average.
        accumulate: parts of a batch, to save memory.
        seed: seed of weights, order and views.
        device: `auto`, `cpu` or `cuda`.
        workers: processes that compute views; None means none on a CPU, whose cores are busy, and
            up to sixteen with a GPU. A script with workers needs `if __name__ == "__main__"`.
        compile: compile the network with torch first.
        precision: `auto`, `bfloat16` or `float32`; auto means bfloat16 if the hardware has it.
        init: encoder folder to start from; `distil` starts from the bundled encoder by default,
            where the architecture is its own.
        teacher: features of the tiles by another network: a Parquet table with `image_id` or `path`
            and columns of vectors, or an index folder; the run learns them by the recipe `distil`.
        teacher_columns: the columns to learn; none means all.
        teacher_weight: share of the teacher in the loss, 0 to 1; the rest is BYOL's.
        balance: column of the manifest; its values are drawn evenly rather than the tiles.
        neighbours: share of tiles whose second view is of a tile that touches them on their slide,
            where places are known: of slide tiles, and of files by the columns `slide_id`, `x`,
            `y` and `span` of the manifest; 0 for none.
        monitor: labelled tiles (`path`, `label`, optional `group`) or pairs that measure the run.
        licence: licence of the tiles, for the model card.
        mpp: microns per pixel of the tiles, for the model card.
    """

    recipe: str | None = None
    architecture: str = "resnext50_32x4d"
    epochs: int | None = None
    batch: int | None = None
    crop_px: int | None = None
    tile_px: int | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    accumulate: int = 1
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    compile: bool = False
    precision: str = "auto"
    init: str | Path | None = None
    teacher: str | Path | None = None
    teacher_columns: Sequence[str] = ()
    teacher_weight: float | None = None
    balance: str | None = None
    neighbours: float | None = None
    monitor: str | Path | None = None
    licence: str | None = None
    mpp: float | None = None


def train(
    tiles: _Paths,
    output: str | Path,
    *,
    manifest: str | Path | None = None,
    options: TrainOptions | None = None,
    resume: bool = False,
    progress: "Callable[[TrainProgress], None]" = lambda state: None,
) -> TrainReport:
    """Train an encoder on unlabelled tiles, by BYOL, or by what a teacher knows of them.

    Args:
        tiles: folders (searched recursively), image files, or one manifest, also of slide tiles.
        output: the new encoder folder, with `train.jsonl`, `train.png` and, during the run, the
            checkpoint.
        manifest: CSV, TSV or Parquet with a `path` column.
        options: all other settings.
        resume: continue the interrupted run in `output`; start one if there is none.
        progress: called after every step.

    Raises:
        InputError: an argument is unusable, or there are fewer tiles than a batch, or none.
        TrainingError: the network collapsed, diverged or ran out of memory.
        IndexFormatError: the checkpoint or the initial encoder is damaged.
        MismatchError: the interrupted run had other settings.
        OSError: the disk is full or not writable; the last checkpoint is intact.

    Source: Grill et al. (2020), Bootstrap your own latent.
    """
    started = time.monotonic()
    chosen = options or TrainOptions()
    config = _config(Path(output), chosen)
    several = [tiles] if isinstance(tiles, str | Path) else tiles
    sources = [Path(path) for path in several]
    listed, unlisted = _list(sources, Path(manifest) if manifest else None)
    monitor = (
        None
        if chosen.monitor is None
        else read_monitor(Path(chosen.monitor), config.encoder.preprocessing, root=listed.root)
    )
    read = time.monotonic()
    report = train_encoder(
        [listed.root / path for path in listed.table["path"].to_pylist()],
        config,
        lessons=_read_lessons(chosen, config.recipe, listed),
        monitor=monitor,
        data={
            "source": ", ".join(path.name for path in sources),
            "licence": chosen.licence or "not stated",
            "mpp": chosen.mpp,
        },
        resume=resume,
        on_step=progress,
    )
    return replace(
        report,
        rejected=[*unlisted, *report.rejected],
        seconds=report.seconds + read - started,
    )


def _list(sources: Sequence[Path], manifest: Path | None) -> tuple[TileList, list[str]]:
    """List the tiles, and describe what cannot be listed, a line each.

    Raises:
        InputError: a source or the manifest is unusable, or there are no tiles.
    """
    listed = list_tiles(sources, manifest)
    cut_first = "a slide: cut it with `histo-index tile`, and train on the manifest"
    unlisted = [
        f"{one.path}: {cut_first if one.reason == NEEDS_MPP else one.reason}"
        for one in listed.rejected
    ]
    if not len(listed.table):
        reason = f"; the first: {unlisted[0]}" if unlisted else ""
        names = ", ".join(map(str, [*sources, *([manifest] if manifest else [])]))
        raise InputError(f"{names}: no tiles to learn from{reason}")
    for line in unlisted:
        _log.warning("%s", line)
    return listed, unlisted


def _read_lessons(options: TrainOptions, recipe: Recipe, listed: TileList) -> Lessons:
    """Read what is known of the tiles besides.

    Raises:
        InputError: the teacher or a column cannot be used, or neighbours are asked for and no
            place is known.
    """
    teacher, sources, tiles = None, None, listed.table
    if options.teacher is not None:
        teacher = read_teacher(Path(options.teacher), options.teacher_columns, tiles)
    if options.balance is not None:
        if options.balance not in tiles.column_names:
            raise InputError(
                f"no column {options.balance} to balance by; the tiles have "
                f"{', '.join(tiles.column_names)}; pass a manifest with that column"
            )
        sources = [str(value) for value in tiles[options.balance].to_pylist()]
    places = read_places(tiles, listed.root) if recipe.neighbours else []
    if options.neighbours and not any(places):
        raise InputError(
            f"neighbours {options.neighbours:g} need to know where tiles lie; pass the manifest of "
            f"`histo-index tile`, or a manifest with the columns {', '.join(COLUMNS)}"
        )
    return Lessons(teacher=teacher, sources=sources, places=places)


def _config(output: Path, options: TrainOptions) -> TrainConfig:
    from histo_index.encoder.config import ARCHITECTURES
    from histo_index.hardware import usable_cores

    if options.architecture not in ARCHITECTURES:
        raise InputError(
            f"unknown architecture {options.architecture}; one of {', '.join(ARCHITECTURES)}"
        )
    if options.device not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown device {options.device}; one of auto, cpu, cuda")
    if options.device == "cuda" and not has_cuda():
        raise InputError("no CUDA GPU here; pass --device cpu")
    is_on_gpu = options.device != "cpu" and has_cuda()
    recipe = _recipe(options)
    init = None if options.init is None else Path(options.init)
    if recipe.name == "distil" and init is None:
        recipe, init = _choose_start(recipe, options.architecture)
    spare = min(max(usable_cores() - 1, 1), _MAX_WORKERS) if is_on_gpu else 0
    return TrainConfig(
        output=output,
        recipe=recipe,
        architecture=options.architecture,
        seed=options.seed,
        device="cuda" if is_on_gpu else "cpu",
        accumulate=options.accumulate,
        workers=spare if options.workers is None else options.workers,
        init=init,
        compile=options.compile,
        precision=_precision(options.precision, is_on_gpu=is_on_gpu),
    )


def _precision(asked: str, *, is_on_gpu: bool) -> str:
    if asked not in ("auto", "bfloat16", "float32"):
        raise InputError(f"unknown precision {asked}; one of auto, bfloat16, float32")
    if asked != "auto":
        return asked
    if is_on_gpu:
        return "bfloat16"
    # Imported here: training needs OpenVINO for nothing else, and a GPU machine may lack it.
    from histo_index.encoder.runtime.openvino import has_bfloat16

    return "bfloat16" if has_bfloat16() else "float32"


def _recipe(options: TrainOptions) -> Recipe:
    """Return the named recipe with the changes of the user."""
    name = options.recipe or ("histology" if options.teacher is None else "distil")
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name}; one of {', '.join(RECIPES)}")
    if (options.teacher is not None) != (name == "distil"):
        raise InputError("the recipe distil and --teacher belong together; pass both or neither")
    names = (
        "epochs", "batch", "crop_px", "tile_px", "learning_rate", "momentum", "teacher_weight",
        "neighbours",
    )  # fmt: skip
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    recipe = replace(RECIPES[name], **given)
    if recipe.crop_px > recipe.tile_px and recipe.name != "reference":
        raise InputError(
            f"a crop of {recipe.crop_px} px is larger than the tile of {recipe.tile_px} px that "
            "it is cut from; pass a smaller --crop or a larger --tile"
        )
    return recipe


def _choose_start(recipe: Recipe, architecture: str) -> tuple[Recipe, Path | None]:
    """Start from the bundled encoder, or from random weights, which must not be kept."""
    bundled = bundled_encoder()
    if load_encoder(bundled).config.architecture == architecture:
        return recipe, bundled
    return replace(recipe, frozen_stages=0, is_norm_fixed=False), None
