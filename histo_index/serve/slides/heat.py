"""Values of the tiles of a slide: how like examples they are, or how likely of a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlencode

from histo_index.api.slides.class_map import class_probabilities
from histo_index.api.slides.heatmap import Heatmap, measure_tiles
from histo_index.errors import InputError
from histo_index.search.classification.answer import ClassAnswer
from histo_index.serve.answers.asked import Asked, Fields, one_text
from histo_index.serve.answers.locate import locate, scale_notes
from histo_index.serve.config import Limits
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.slides.recent import Recent
from histo_index.serve.state.slide_list import IndexedSlide
from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.uploads import Uploads

# What messages call the slide: they must not name its file.
_THIS: Final = "this slide"
_KEPT: Final = 16
# Viridis, the colours of `draw_heatmap`, from the lowest value to the highest.
COLOURS: Final = (
    "#440154", "#481a6c", "#472f7d", "#414487", "#39568c", "#31688e", "#2a788e", "#23888e",
    "#1f988b", "#22a884", "#35b779", "#54c568", "#7ad151", "#a5db36", "#d2e21b", "#fde725",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class HeatAsked:
    """What is drawn over a slide.

    Attributes:
        like: ids of tiles and uploads that are meant.
        unlike: ids of those that are not meant.
        label: a class, instead of examples; empty for none.
    """

    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    label: str = ""

    @classmethod
    def read(cls, fields: Fields, limits: Limits) -> Self:
        """Read the fields `id`, `unlike` and `class`.

        Raises:
            RefusalError: there are too many, or they do not go together.
        """
        asked = Asked.read(fields, (), limits)
        label = one_text(fields, "class")
        if label and (asked.like or asked.unlike):
            raise RefusalError(422, "expected examples or a class, one of the two")
        if asked.unlike and not asked.like:
            raise RefusalError(422, "no example: pass `id` of what is meant besides `unlike`")
        return cls(like=asked.like, unlike=asked.unlike, label=label)

    def __bool__(self) -> bool:
        return bool(self.like or self.label)

    def query(self) -> str:
        """Write it as the query of an address."""
        pairs = [("id", one) for one in self.like] + [("unlike", one) for one in self.unlike]
        return urlencode(pairs + ([("class", self.label)] if self.label else []))


@dataclass(frozen=True, kw_only=True)
class ClassChoice:
    """The classes whose probability can be drawn over a slide.

    Attributes:
        labels: the classes; empty if there is none.
        problem: why there is none; None if nothing was calibrated on classes.
    """

    labels: Sequence[str] = ()
    problem: str | None = None


class Heats:
    """Measures the tiles of slides; the last answers are kept."""

    def __init__(self, uploads: Uploads) -> None:
        """Know the uploads that examples may name."""
        self._uploads = uploads
        self._kept: Recent[Heatmap] = Recent(_KEPT)

    def measure(self, snapshot: Snapshot, slide: IndexedSlide, asked: HeatAsked) -> Heatmap:
        """Measure each tile of a slide; see `histo_index.slides.heatmap`.

        Raises:
            RefusalError: there is no example, or one is not there.
            InputError: the class has no probability for this slide.
        """
        if not asked:
            raise RefusalError(422, "no example: pass `id` of a tile, or `class`")
        key = snapshot.tag, slide.slide_id, asked
        return self._kept.get(key, lambda: self._measure(snapshot, slide, asked))

    def scale_notes(self, snapshot: Snapshot, asked: HeatAsked) -> list[str]:
        """Return what to say about the scale of the examples, a line each."""
        given = (*asked.like, *asked.unlike)
        return scale_notes(snapshot, [locate(snapshot, self._uploads, one) for one in given])

    def _measure(self, snapshot: Snapshot, slide: IndexedSlide, asked: HeatAsked) -> Heatmap:
        if asked.label and (refused := _other_scale(snapshot, slide)) is not None:
            raise RefusalError(422, refused)
        like, unlike = (
            [locate(snapshot, self._uploads, given) for given in ids]
            for ids in (asked.like, asked.unlike)
        )
        return measure_tiles(
            snapshot.index, slide.rows, slide=_THIS, examples=like, unlike=unlike,
            label=asked.label or None,
        )  # fmt: skip


def _other_scale(snapshot: Snapshot, slide: IndexedSlide) -> str | None:
    """Return why the calibration does not decide about a slide of its scale; None if it does."""
    if snapshot.scales.any_mpp:
        return None
    calibration = snapshot.index.threshold(is_decisive=False).calibration
    checks = snapshot.scales.compare_rows(slide.rows, calibration)
    return next((f"another scale: {one.message}" for one in checks if one.is_refused), None)


def limits_of(heat: Heatmap) -> tuple[float, float]:
    """Return the values of the lowest and the highest colour."""
    return heat.limits or (float(heat.values.min()), float(heat.values.max()))


def list_classes(snapshot: Snapshot, slide: IndexedSlide) -> ClassChoice:
    """List the classes whose probability can be drawn, judged by the first tile of a slide."""
    index = snapshot.index
    if index.threshold(is_decisive=False).calibration is None or index.classifier is None:
        return ClassChoice()
    if (refused := _other_scale(snapshot, slide)) is not None:
        return ClassChoice(problem=refused)
    first = [snapshot.opened.rows["image_id"][int(slide.rows[0])].as_py()]
    (answer,) = index.classify_each(first, {})
    assert isinstance(answer, ClassAnswer)
    labels = sorted(chance.label for chance in answer.chances)
    if not labels:
        return ClassChoice(problem=answer.problem)
    try:
        class_probabilities(index, first, labels[0], slide=_THIS)
    except InputError as error:
        return ClassChoice(problem=str(error))
    return ClassChoice(labels=labels)
