"""Choose what is imported: one encoder, one size, one file of each slide, with its places."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from histo_index.errors import InputError
from histo_index.features.containers.part import Facts
from histo_index.indexer.format.shards import Rejection
from histo_index.wording import counted, printable

# What embeddings are called where nobody says.
UNNAMED = "embeddings"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A matrix to import, and where the places of its rows are.

    Attributes:
        facts: of the matrix, with the size of tiles from wherever it is known.
        places: another file that places or size come from; None if the matrix has both. Places
            that both have must be equal.
    """

    facts: Facts
    places: str | None = None


@dataclass(kw_only=True)
class Choice:
    """What is imported, and what is not.

    Attributes:
        chosen: in the order of the files.
        encoder: what the embeddings are called.
        rejected: matrices that cannot be used.
        ignored: copies, matrices of encoders that were not asked for, and places without features.
    """

    chosen: list[Chosen] = field(default_factory=list)
    encoder: str = UNNAMED
    rejected: list[Rejection] = field(default_factory=list)
    ignored: int = 0

    def reject(self, facts: Facts, reason: str) -> None:
        """Leave a matrix out."""
        self.rejected.append(Rejection(path=facts.path, reason=reason))


def choose_parts(parts: Sequence[Facts], encoder: str | None, size: int | None = None) -> Choice:
    """Choose what to import.

    Args:
        parts: all that the files hold.
        encoder: which encoder the user names, among those in the files or for all of them.
        size: D of the index that exists; None takes that of most rows.

    Raises:
        InputError: the files are of several encoders, and none is asked for.
    """
    choice = Choice()
    features = [part for part in parts if part.size]
    features = _of_one_encoder(features, encoder, choice)
    features = _of_one_size(features, size, choice)
    places: dict[str | None, list[Facts]] = defaultdict(list)
    for part in parts:
        if not part.size:
            places[part.slide].append(part)
    taken: dict[str, Facts] = {}
    # Of the same features the H5 file comes first: it holds the places too.
    for part in sorted(features, key=lambda part: Path(part.path).suffix == ".pt"):
        if part.slide is None:
            choice.chosen.append(Chosen(facts=part))
        elif (other := taken.get(part.slide)) is not None:
            _second(part, other, choice)
        else:
            taken[part.slide] = part
            _add_places(part, places.get(part.slide, []), choice)
    of_features = {part.slide for part in features}
    choice.ignored += sum(len(own) for slide, own in places.items() if slide not in of_features)
    order = {part.path: number for number, part in enumerate(features)}
    choice.chosen.sort(key=lambda chosen: order[chosen.facts.path])
    return choice


def _of_one_encoder(parts: Sequence[Facts], asked: str | None, choice: Choice) -> list[Facts]:
    counts = Counter(part.encoder for part in parts if part.encoder is not None)
    wanted = asked
    if asked not in counts and counts:
        ranked = counts.most_common()
        if len(ranked) > 1 and (asked is not None or ranked[0][1] == ranked[1][1]):
            names = ", ".join(printable(name) for name in sorted(counts))
            raise InputError(
                f"features of several encoders: {names[:300]}; pass one of them as --encoder-name"
            )
        wanted = ranked[0][0]
    choice.encoder = asked or wanted or UNNAMED
    kept = []
    for part in parts:
        if part.encoder in (None, wanted):
            kept.append(part)
        elif part.part and asked is not None:
            choice.ignored += 1
        else:
            other = printable(part.encoder)[:80]
            choice.reject(part, f"another encoder: {other}; the import is of {wanted}")
    return kept


def _of_one_size(parts: Sequence[Facts], size: int | None, choice: Choice) -> list[Facts]:
    sizes: Counter[int] = Counter()
    for part in parts:
        sizes[part.size] += part.rows
    if size is None:
        size = sizes.most_common(1)[0][0] if sizes else 0
    for part in parts:
        if part.size != size:
            choice.reject(part, f"another size: {part.size:,} numbers; the import has {size:,}")
    return [part for part in parts if part.size == size]


def _second(part: Facts, other: Facts, choice: Choice) -> None:
    """Leave out a second file of a slide; the `.pt` that CLAM writes beside each H5 is a copy."""
    is_copy = Path(part.path).suffix == ".pt" and Path(other.path).suffix != ".pt"
    if is_copy and (part.rows, part.size) == (other.rows, other.size):
        choice.ignored += 1
    else:
        choice.reject(part, f"two files of one slide: also {printable(other.path)}")


def _add_places(part: Facts, places: Sequence[Facts], choice: Choice) -> None:
    """Choose a matrix with the places and the size of its tiles, or say what is missing."""
    is_needed = not part.has_places or part.size_px is None
    if is_needed and len(places) > 1:
        names = " and ".join(printable(place.path) for place in places[:2])
        choice.reject(part, f"places of its slide twice: {names}; pass the folder of one")
        return
    other = places[0] if len(places) == 1 else None
    if other is not None and other.rows != part.rows:
        choice.reject(
            part,
            f"another length: {part.rows:,} rows, but {printable(other.path)} has "
            f"{counted(other.rows, 'place')}",
        )
        return
    if other is None and not part.has_places:
        choice.reject(part, "no places: pass the file with the coordinates of its tiles too")
        return
    known = part
    if other is not None:
        known = replace(
            part,
            size_px=part.size_px or other.size_px,
            span_px=part.span_px or other.span_px,
            mpp=part.mpp or other.mpp,
        )
    if known.size_px is None:
        choice.reject(
            part, "no size of a patch: pass the file with the attributes of its tiles too"
        )
        return
    used = other.path if is_needed and other is not None else None
    choice.chosen.append(Chosen(facts=known, places=used))
