"""What recipes say, as the model cards do, and whose choice goes before whose."""

from dataclasses import fields
from typing import Any, Final

import pytest

from histo_index.encoder.importing.options import Choices
from histo_index.encoder.importing.recipes import RECIPES
from histo_index.errors import InputError

IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
OPTIMUS: Final = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
LUNIT: Final = ((0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464))
ND: Final = "CC-BY-NC-ND-4.0"
KAIKO: Final = "kaiko non-commercial"
OWKIN: Final = "Owkin non-commercial"
# features, colours, resize, crop, interpolation, microns per pixel, licence.
CARDS: Final[dict[str, tuple[Any, ...]]] = {
    "uni": ("cls", IMAGENET, 224, 224, "bilinear", (0.5,), ND),
    "uni2-h": ("cls", IMAGENET, 224, 224, "bilinear", (0.5,), ND),
    "virchow": ("cls+mean", IMAGENET, 224, 224, "bicubic", (0.5,), "Apache-2.0"),
    "virchow2": ("cls+mean", IMAGENET, 224, 224, "bicubic", (0.5, 0.25, 1.0, 2.0), ND),
    "virchow2-cls": ("cls", IMAGENET, 224, 224, "bicubic", (0.5, 0.25, 1.0, 2.0), ND),
    "h-optimus-0": ("cls", OPTIMUS, 224, 224, "bicubic", (0.5,), "Apache-2.0"),
    "h-optimus-1": ("cls", OPTIMUS, 224, 224, "bicubic", (0.5,), ND),
    "h0-mini": ("cls", OPTIMUS, 224, 224, "bicubic", (0.5,), ND),
    "gigapath": ("cls", IMAGENET, 256, 224, "bicubic", (0.5,), "Prov-GigaPath, research only"),
    "phikon": ("cls", IMAGENET, 224, 224, None, (0.5,), OWKIN),
    "phikon-v2": ("cls", IMAGENET, 224, 224, None, (0.5,), OWKIN),
    "midnight": ("cls+mean", HALF, 224, 224, "bilinear", (), "MIT"),
    **{
        f"kaiko-vit{name}": ("cls", HALF, 224, 224, "bilinear", (), KAIKO)
        for name in ("s8", "s16", "b8", "b16", "l14")
    },
    **{
        f"lunit-vit{name}": ("cls", LUNIT, 224, 224, "bicubic", (), "Lunit non-commercial")
        for name in ("s8", "s16")
    },
    "retccl": ("mean", IMAGENET, 256, 256, "bilinear", (1.0,), "GPL-3.0, non-commercial"),
}
# What changes the numbers and not the shapes, which tests/encoder/importing/test_recipes.py checks.
ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    "uni": {"init_values": 1e-5, "img_size": 224},
    "uni2-h": {"act_layer": "silu", "mlp_layer": "SwiGLUPacked", "no_embed_class": True},
    "virchow": {"act_layer": "silu", "mlp_layer": "SwiGLUPacked", "img_size": 224},
    "virchow2": {"act_layer": "silu", "reg_tokens": 4},
    "h-optimus-0": {"init_values": 1e-5, "dynamic_img_size": False},
    "h0-mini": {"act_layer": "silu", "mlp_layer": "SwiGLUPacked"},
    "gigapath": {"patch_size": 16, "img_size": 224, "init_values": 1e-5},
    "kaiko-vitl14": {"init_values": 1e-5, "dynamic_img_size": True},
}
REPOSITORIES: Final = {
    "uni": "MahmoodLab/UNI", "uni2-h": "MahmoodLab/UNI2-h", "virchow": "paige-ai/Virchow",
    "virchow2": "paige-ai/Virchow2", "virchow2-cls": "paige-ai/Virchow2",
    "h-optimus-0": "bioptimus/H-optimus-0", "h-optimus-1": "bioptimus/H-optimus-1",
    "h0-mini": "bioptimus/H0-mini", "gigapath": "prov-gigapath/prov-gigapath",
    "phikon": "owkin/phikon", "phikon-v2": "owkin/phikon-v2", "midnight": "kaiko-ai/midnight",
    "kaiko-vits8": "1aurent/vit_small_patch8_224.kaiko_ai_towards_large_pathology_fms",
    "kaiko-vitl14": "1aurent/vit_large_patch14_reg4_224.kaiko_ai_towards_large_pathology_fms",
    "lunit-vits16": "1aurent/vit_small_patch16_224.lunit_dino", "retccl": "",
}  # fmt: skip


def test_every_recipe_has_its_card_tested() -> None:
    assert set(CARDS) == set(RECIPES)


@pytest.mark.parametrize("name", CARDS)
def test_a_recipe_prepares_and_pools_as_its_model_card(name: str) -> None:
    recipe = RECIPES[name]
    said = recipe.choices
    assert (
        said.features, (said.mean, said.std), said.resize_px, said.crop_px, said.interpolation,
        said.mpps, said.licence,
    ) == CARDS[name]  # fmt: skip
    assert said.is_gated == (said.licence not in ("Apache-2.0", "MIT"))
    assert recipe.arguments.items() >= ARGUMENTS.get(name, {}).items()
    assert recipe.source == ("hf" if name in ("phikon", "phikon-v2", "midnight") else "timm")
    if name in REPOSITORIES:
        assert recipe.repository == REPOSITORIES[name]


RECIPE: Final = Choices(
    features="cls", resize_px=256, crop_px=224, interpolation="bicubic", mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6), mpps=(0.5,), licence="MIT", is_gated=False, revision="r1",
    arguments={"depth": 2, "img_size": 224},
)  # fmt: skip


@pytest.mark.parametrize("name", [entry.name for entry in fields(Choices)])
def test_a_choice_goes_before_others_and_leaves_the_rest_to_them(name: str) -> None:
    own: dict[str, Any] = {
        "features": "mean", "resize_px": 300, "crop_px": 112, "interpolation": "lanczos",
        "mean": (0.9, 0.9, 0.9), "std": (0.8, 0.8, 0.8), "mpps": (), "licence": "other",
        "is_gated": True, "revision": "r2", "arguments": {"depth": 3},
    }  # fmt: skip
    merged = vars(Choices(**{name: own[name]}).over(RECIPE))
    expected = vars(RECIPE) | {name: own[name]}
    if name == "arguments":
        expected["arguments"] = {"depth": 3, "img_size": 224}
    if name == "crop_px":
        expected["resize_px"] = None  # 256 was for a crop of 224
    assert merged == expected


def test_a_falsy_choice_is_a_choice() -> None:
    assert Choices(is_gated=False).over(Choices(is_gated=True)).is_gated is False
    assert Choices(mpps=()).over(RECIPE).mpps == ()


def test_tiles_are_resized_to_the_crop_at_least() -> None:
    spec = Choices(crop_px=112, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)).preprocessing("x")
    assert (spec.resize_px, spec.crop_px, spec.interpolation) == (112, 112, "bilinear")
    for missing in ("crop_px", "mean", "std"):
        with pytest.raises(InputError, match=r"^x: nothing says how tiles are prepared"):
            Choices(**{**vars(RECIPE), missing: None}).preprocessing("x")
