"""Recipes: how published encoders of histology are loaded, from their public model cards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from histo_index.encoder.importing.options import Choices
from histo_index.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to load a published encoder.

    Attributes:
        repository: on Hugging Face; its page is the model card.
        source: a key of SOURCES.
        network: name of the network for the source.
        arguments: of its constructor.
        choices: preprocessing, features, microns per pixel and licence.
    """

    repository: str
    source: str
    network: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    choices: Choices = field(default_factory=Choices)


RECIPES: Final[dict[str, Recipe]] = {}


def find_recipe(name: str | None) -> Recipe | None:
    """Return a recipe by name; None without a name.

    Raises:
        InputError: there is none.
    """
    if name is None:
        return None
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name}; expected one of {', '.join(sorted(RECIPES))}")
    return RECIPES[name]
