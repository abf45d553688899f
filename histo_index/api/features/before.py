"""What an index knows of its import before the next one: inputs, files, rows that may stay."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from histo_index.api.features.options import FeatureOptions
from histo_index.errors import InputError
from histo_index.features.containers.part import Facts
from histo_index.features.remembered import (
    FileState,
    Remembered,
    features_name,
    read_remembered,
)
from histo_index.features.sources import Job
from histo_index.features.tiles import FILE
from histo_index.indexer.declared.verified import require_declared
from histo_index.indexer.format.manifest import FEATURES, MANIFEST_NAME, Manifest, read_manifest
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.sources.source import locate, relate
from histo_index.wording import counted, printable


@dataclass(frozen=True, kw_only=True)
class Before:
    """An index that exists.

    Attributes:
        folder: the index.
        manifest: its state.
        remembered: its import.
    """

    folder: Path
    manifest: Manifest
    remembered: Remembered

    def complete(self, options: FeatureOptions) -> FeatureOptions:
        """Fill in the options that are as they were."""
        known = self.remembered
        return replace(
            options,
            slides=options.slides or _path(known.slides, self.folder),
            slide_mpp={**known.slide_mpp, **(options.slide_mpp or {})},
            metadata=options.metadata or _path(known.metadata, self.folder),
            encoder_name=options.encoder_name or known.encoder_name,
            distance=options.distance or self.manifest.settings.distance,
            search=options.search or self.manifest.settings.search,
        )

    def known_parts(self, path: Path, state: tuple[int, int]) -> list[Facts] | None:
        """Return what a file holds if it is as it was; None if it has to be opened."""
        found = self._files.get(relate(Path(path).resolve(), self.folder))
        if found is None or (found.bytes, found.times_ns) != state:
            return None
        return [replace(part, path=str(path)) for part in found.parts]

    def encoder_in(self, parts: Sequence[Facts]) -> str | None:
        """Return the encoder of the index if the files name it too."""
        name = self.manifest.encoder.title
        return name if any(part.encoder == name for part in parts) else None

    def require_kept(self, jobs: Sequence[Job]) -> None:
        """Check that at most half of the tiles leave the index.

        Raises:
            InputError: more would, because their files are gone or have fewer rows.
        """
        opened = OpenIndex(self.folder, private=True)
        live = opened.rows[FILE].take(pa.array(opened.live_rows()))
        now = {job.key: job.chosen.facts.rows for job in jobs}
        dropped = sum(
            max(entry["counts"] - now.get(entry["values"], 0), 0)
            for entry in live.value_counts().to_pylist()
        )
        if 2 * dropped > len(live):
            raise InputError(
                f"{self.folder}: this import would drop {dropped:,} of "
                f"{counted(len(live), 'tile')}; nothing was changed: check the files, or pass "
                "--allow-drop"
            )

    def incomplete(self) -> set[str]:
        """Return the keys of the matrices that lost rows since the last import.

        `compact` erases removed rows from the shards; those that were restored after that must be
        read again.
        """
        if self.manifest.files[FEATURES].path == features_name(self.manifest.generation):
            return set()
        counts = OpenIndex(self.folder, private=True).rows[FILE].value_counts().to_pylist()
        stored = {entry["values"]: entry["counts"] for entry in counts}
        return {m.key for m in self.remembered.matrices if stored.get(m.key, 0) < m.rows}

    @cached_property
    def _files(self) -> dict[str, FileState]:
        return {file.path: file for file in self.remembered.files}


def open_before(folder: Path) -> Before | None:
    """Open what is there; None without an index.

    Raises:
        InputError: no import made the index.
        IndexFormatError: it is damaged.
    """
    if not (folder / MANIFEST_NAME).exists():
        return None
    manifest = read_manifest(folder)
    require_declared(folder, manifest)
    return Before(folder=folder, manifest=manifest, remembered=read_remembered(folder, manifest))


def choose_inputs(
    named: Sequence[Path], before: Before | None, options: FeatureOptions
) -> list[Path]:
    """Choose the inputs of an import: those that the index remembers, and those named now.

    Raises:
        InputError: nothing is named and nothing remembered, or something new is named without
            `add` or `replace`.
    """
    if not named and (before is None or options.add or options.replace):
        raise InputError("no features given; pass files or folders")
    for path in named:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if before is None or options.replace:
        return list(named)
    known = [locate(path, before.folder) for path in before.remembered.inputs]
    for path in known:
        if not path.exists():
            raise InputError(
                f"{path}: an input of {before.folder} that is missing; nothing was changed: bring "
                "it back, or name the others with --replace"
            )
    folders = [path.resolve() for path in known]
    new = [p for p in named if not any(p.resolve().is_relative_to(folder) for folder in folders)]
    if new and not options.add:
        held = ", ".join(printable(path) for path in known[:3])
        raise InputError(
            f"{new[0]} is no input of {before.folder} yet, which holds the features of {held}; "
            "nothing was changed: pass --add to add it, or --replace to keep only what is named"
        )
    return known + new


def _path(path: str | None, folder: Path) -> Path | None:
    return None if path is None else locate(path, folder)
