"""Choose which sources a build lists: those that the index remembers and those that are named now.

An index keeps what it was built from. A later build lists all of it again, so that a forgotten
option drops nothing: tiles leave an index only when their files are gone, or when the user asks.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from histo_index.errors import InputError
from histo_index.indexer.inputs.tiles import split_manifest
from histo_index.indexer.sources.source import Source
from histo_index.slides.tiling.options import SlideSource


@dataclass(frozen=True, kw_only=True)
class NamedSources:
    """What the user named for one build.

    Attributes:
        paths: folders, image files, or one manifest; empty to list the remembered sources.
        manifest: the table that lists the tiles.
        add: add what is named to the sources of the index.
        replace: make what is named the only source of the index.
        no_manifest: list the folders without their manifest, and drop its columns.
        slides: how slides are cut; None is as remembered.
        drop_missing: drop sources that are missing, unreadable or empty.
    """

    paths: Sequence[Path] = ()
    manifest: Path | None = None
    add: bool = False
    replace: bool = False
    no_manifest: bool = False
    slides: SlideSource | None = None
    drop_missing: bool = False

    def __post_init__(self) -> None:
        if self.add and self.replace:
            raise InputError("--add and --replace contradict each other; pass one of them")
        if self.manifest and self.no_manifest:
            raise InputError("--manifest and --no-manifest contradict each other; pass one of them")
        if (self.add or self.replace) and not self.paths and not self.manifest:
            raise InputError(
                f"--{'add' if self.add else 'replace'} needs a folder, image files or a manifest"
            )


def choose_sources(
    named: NamedSources, remembered: Sequence[Source], index: Path
) -> tuple[Source, ...]:
    """Choose the sources of a build.

    Args:
        named: what the user named.
        remembered: the sources of the index; empty in a first build.
        index: the index folder, for messages.

    Returns:
        The sources to list, in order.

    Raises:
        InputError: nothing is named and nothing remembered, or something is named that is not a
            source of the index yet and neither `add` nor `replace` is given.
    """
    paths, manifest = split_manifest(named.paths, named.manifest)
    new = Source(paths=tuple(paths), manifest=manifest, slides=named.slides)
    if not new.aliases and not remembered:
        raise InputError("no tiles given; pass a folder, image files or a manifest")
    if new.aliases and (not remembered or named.replace):
        return (new,)
    known = set().union(*(source.aliases for source in remembered))
    known |= {path.resolve() for path in new.paths if _is_inside(path, remembered)}
    unknown = [p for p in (*paths, *([manifest] if manifest else [])) if p.resolve() not in known]
    for path in unknown:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    updated = _update(new, remembered, known)
    if updated is not None:
        cut = [_with_slides(source, new) for source in updated]
        return tuple(_without_manifest(s, new) if named.no_manifest else s for s in cut)
    if named.add:
        # Beside a manifest a folder is where its paths start, whether it is a source or not.
        return (*remembered, new if manifest else replace(new, paths=tuple(unknown)))
    held = "; ".join(str(source) for source in remembered[:3])
    raise InputError(
        f"{unknown[0]} is not a source of {index} yet, which holds the tiles of {held}; nothing "
        "was changed: pass --add to add it, or --replace to keep only what is named"
    )


def _is_inside(path: Path, remembered: Sequence[Source]) -> bool:
    """Return whether a path lies in a remembered folder, and so is a part of it."""
    folders = [folder.resolve() for source in remembered for folder in source.paths]
    return path.exists() and any(path.resolve().is_relative_to(folder) for folder in folders)


def _update(
    new: Source, remembered: Sequence[Source], known: Collection[Path]
) -> list[Source] | None:
    """Choose the remembered sources if only those are named, maybe with another manifest."""
    if new.aliases <= set(known):
        return list(remembered)
    folders = {path.resolve() for path in new.paths}
    same = [s for s in remembered if folders and {path.resolve() for path in s.paths} == folders]
    if new.manifest is None or not same:
        return None
    return [
        replace(source, manifest=new.manifest, has_new_manifest=True)
        if source is same[0]
        else source
        for source in remembered
    ]


def _with_slides(source: Source, named: Source) -> Source:
    """Cut the slides of a source as it was named now, if it is one of the named ones."""
    is_meant = not named.aliases or bool(source.aliases & named.aliases)
    return replace(source, slides=named.slides) if named.slides and is_meant else source


def _without_manifest(source: Source, named: Source) -> Source:
    is_meant = not named.aliases or bool(source.aliases & named.aliases)
    if not is_meant or source.manifest is None:
        return source
    # Of a manifest that was named alone, the folder that its paths start from is left to list.
    assert source.base is not None
    return replace(source, manifest=None, columns=(), paths=source.paths or (source.base,))
