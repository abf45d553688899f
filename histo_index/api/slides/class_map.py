"""How likely each tile of a slide is of a class."""

from typing import TYPE_CHECKING

import numpy as np

from histo_index.api.images import raise_errors
from histo_index.arrays import Float64
from histo_index.errors import InputError

if TYPE_CHECKING:
    from histo_index.api.index import Index
    from histo_index.search.classification.answer import ClassAnswer


def class_probabilities(index: "Index", image_ids: list[str], label: str, *, slide: str) -> Float64:
    """Compute the probability of a class for each tile of a slide.

    The probabilities are true for tiles of new groups only, so the slide's group must not have
    taken part in the calibration.

    Args:
        index: calibrated on classes.
        image_ids: the tiles, T of them.
        label: the class.
        slide: the slide, for messages.

    Returns:
        float64 [T], each 0 to 1, if its class is among those of the calibration.

    Raises:
        InputError: there is no class model, the class has no probability, or tiles of the slide's
            group took part in the calibration.
    """
    answers = raise_errors(index.classify_each(image_ids, {}))
    taught = set().union(*(answer.own_rows for answer in answers))
    if taught:
        raise InputError(
            f"{slide}: {len(taught):,} labelled tiles of its group took part in the calibration, "
            f"which knows them; draw a slide of another group, or pass an example tile instead of "
            "--class"
        )
    chances = [_probability(answer, label) for answer in answers]
    return np.array(chances, np.float64)


def _probability(answer: "ClassAnswer", label: str) -> float:
    if answer.problem is not None:
        raise InputError(f"--class {label}: {answer.problem}")
    chance = answer.chance_of(label)
    if chance is None:
        why = "occurs in one group only" if label in answer.unscored else "is no class"
        names = ", ".join(sorted(chance.label for chance in answer.chances))
        raise InputError(f"--class {label}: {why} of the calibration; pass one of: {names}")
    return chance.probability
