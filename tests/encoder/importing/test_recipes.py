"""Recipes of published encoders: sizes without memory, numerics at a depth of two blocks."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import torch

from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.folder import EncoderFolder
from histo_index.encoder.foreign import TIMM, ForeignNetwork
from histo_index.encoder.importing.agreement import check_network
from histo_index.encoder.importing.options import ImportOptions
from histo_index.encoder.importing.recipes import RECIPES, find_recipe
from histo_index.encoder.importing.sources import find_timm
from histo_index.encoder.runtime.foreign.torch_network import build_backbone
from histo_index.encoder.runtime.reference import ReferenceRuntime
from histo_index.errors import InputError
from tests.conftest import is_long

# Millions of parameters and the size of a token, as the model cards and papers state them.
SIZES: Final = {
    "uni": (303, 1024), "uni2-h": (681, 1536), "virchow": (631, 1280), "virchow2": (631, 1280),
    "virchow2-cls": (631, 1280), "h-optimus-0": (1135, 1536), "h-optimus-1": (1135, 1536),
    "h0-mini": (86, 768), "gigapath": (1135, 1536), "kaiko-vits8": (21.7, 384),
    "kaiko-vits16": (21.7, 384), "kaiko-vitb8": (85.8, 768), "kaiko-vitb16": (85.8, 768),
    "kaiko-vitl14": (304, 1024), "retccl": (23.5, 2048),
    "lunit-vits8": (21.7, 384), "lunit-vits16": (21.7, 384),
}  # fmt: skip
# One of each kind of network.
KINDS: Final = ("uni", "uni2-h", "virchow2", "h-optimus-0", "h0-mini", "gigapath", "kaiko-vitl14")


def described(name: str, *, depth: int | None = None) -> EncoderConfig:
    recipe = RECIPES[name]
    arguments = {**recipe.arguments, **({"depth": depth} if depth else {})}
    foreign = ForeignNetwork(source=TIMM, arguments=arguments, embedding_size=1)
    return EncoderConfig(
        architecture=f"timm:{recipe.network}",
        pooling=recipe.choices.features or "cls",
        preprocessing=recipe.choices.preprocessing(name),
        foreign=foreign,
    )


@pytest.mark.parametrize("name", SIZES)
def test_a_recipe_builds_the_network_of_its_model_card(name: str) -> None:
    millions, width = SIZES[name]
    with torch.device("meta"):
        network = build_backbone(described(name)).network
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.01)
    assert network.num_features == width


def test_every_recipe_of_timm_has_its_size_tested() -> None:
    assert {name for name, recipe in RECIPES.items() if recipe.source == TIMM} == SIZES.keys()


def test_positions_are_those_of_the_published_weights() -> None:
    """Kaiko's large network was published for 518 pixels, 37 × 37 patches, and runs at 224."""
    with torch.device("meta"):
        network = build_backbone(described("kaiko-vitl14")).network
    assert network.get_parameter("pos_embed").shape == (1, 37 * 37, 1024)
    assert described("kaiko-vitl14").preprocessing.crop_px == 224


def test_weights_that_lie_elsewhere_are_asked_for() -> None:
    options = ImportOptions(recipe="retccl")
    with pytest.raises(InputError, match=r": pass timm:resnet50 --weights FILE$"):
        find_timm("RetCCL", options, RECIPES["retccl"])


def test_only_permissive_licences_are_copied() -> None:
    copied = {name for name, recipe in RECIPES.items() if not recipe.choices.is_gated}
    assert copied == {"virchow", "h-optimus-0", "midnight"}


@pytest.mark.parametrize("name", KINDS)
def test_openvino_agrees_at_a_depth_of_two_blocks(
    name: str, request: pytest.FixtureRequest
) -> None:
    if name != "h0-mini" and not is_long(request.config):
        pytest.skip("two blocks of a giant take seconds: make test-long")
    torch.manual_seed(0)
    config = described(name, depth=2)
    state = build_backbone(config).network.state_dict()
    # LayerScale as trained networks have it: at its first value the blocks would do nothing.
    weights = {
        key: (value.fill_(0.5) if key.endswith("gamma") else value).numpy()
        for key, value in state.items()
    }
    encoder = EncoderFolder(path=Path(name), config=config, weights=weights, fingerprint="")
    found = check_network(config, weights, ReferenceRuntime(encoder))
    assert found.cosines["float32"] > 0.9999
    width = SIZES[name][1]
    assert found.embedding_size == (2 * width if config.pooling == "cls+mean" else width)


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(InputError, match=r"^unknown recipe ctranspath; expected one of gigapath, "):
        find_recipe("ctranspath")
    assert replace(RECIPES["uni"], network="") != find_recipe("uni")
