"""Recipes: how published encoders of histology are loaded, from their public model cards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from histo_index.encoder.decode.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from histo_index.encoder.foreign import CLS, CLS_MEAN, MEAN, TIMM, TRANSFORMERS
from histo_index.encoder.importing.options import Channels, Choices
from histo_index.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to load a published encoder.

    Attributes:
        repository: on Hugging Face, where its page is the model card; empty for weights that are
            elsewhere.
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


_IMAGENET: Final[tuple[Channels, Channels]] = (IMAGENET_MEAN, IMAGENET_STD)
_HALF: Final[tuple[Channels, Channels]] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_OPTIMUS: Final[tuple[Channels, Channels]] = (
    (0.707223, 0.578729, 0.703617),
    (0.211883, 0.230117, 0.177517),
)
_LUNIT: Final[tuple[Channels, Channels]] = (
    (0.70322989, 0.53606487, 0.66096631),
    (0.21716536, 0.26081574, 0.20723464),
)
# Licences that allow copies; weights of all others are referenced.
_PERMISSIVE: Final = ("Apache-2.0", "MIT")
_NO_DERIVATIVES: Final = "CC-BY-NC-ND-4.0"
_KAIKO: Final = "kaiko_ai_towards_large_pathology_fms"
_SWIGLU: Final[dict[str, Any]] = {"mlp_layer": "SwiGLUPacked", "act_layer": "silu"}
_LAYER_SCALE: Final[dict[str, Any]] = {"img_size": 224, "init_values": 1e-5}
_VIRCHOW: Final[dict[str, Any]] = {**_LAYER_SCALE, **_SWIGLU, "mlp_ratio": 5.3375}


def _choices(
    colours: tuple[Channels, Channels],
    licence: str,
    *,
    mpps: tuple[float, ...] = (0.5,),
    features: str = CLS,
    resize_px: int = 224,
    crop_px: int = 224,
    interpolation: str | None = "bicubic",
) -> Choices:
    return Choices(
        features=features, resize_px=resize_px, crop_px=crop_px, interpolation=interpolation,
        mean=colours[0], std=colours[1], mpps=mpps, licence=licence,
        is_gated=licence not in _PERMISSIVE,
    )  # fmt: skip


def _timm(repository: str, network: str, choices: Choices, **arguments: Any) -> Recipe:
    return Recipe(
        repository=repository, source=TIMM, network=network, arguments=arguments, choices=choices
    )


def _kaiko(network: str, **arguments: Any) -> Recipe:
    name = network.replace("_dinov2", "_224")
    choices = _choices(_HALF, "kaiko non-commercial", mpps=(), interpolation="bilinear")
    return _timm(f"1aurent/{name}.{_KAIKO}", network, choices, **arguments)


def _lunit(network: str) -> Recipe:
    choices = _choices(_LUNIT, "Lunit non-commercial", mpps=())
    return _timm(f"1aurent/{network}.lunit_dino", network, choices)


def _virchow2(features: str) -> Recipe:
    choices = _choices(_IMAGENET, _NO_DERIVATIVES, features=features, mpps=(0.5, 0.25, 1.0, 2.0))
    network = "vit_huge_patch14_224"
    return _timm("paige-ai/Virchow2", network, choices, **_VIRCHOW, reg_tokens=4)


# How it interpolates is in the folder's preprocessor_config.json.
_PHIKON: Final = _choices(_IMAGENET, "Owkin non-commercial", interpolation=None)


def _transformers(repository: str, choices: Choices) -> Recipe:
    return Recipe(repository=repository, source=TRANSFORMERS, choices=choices)


RECIPES: Final[dict[str, Recipe]] = {
    "uni": _timm(
        "MahmoodLab/UNI", "vit_large_patch16_224",
        _choices(_IMAGENET, _NO_DERIVATIVES, interpolation="bilinear"),
        **_LAYER_SCALE, dynamic_img_size=True,
    ),
    "uni2-h": _timm(
        "MahmoodLab/UNI2-h", "vit_giant_patch14_224",
        _choices(_IMAGENET, _NO_DERIVATIVES, interpolation="bilinear"),
        **_LAYER_SCALE, **_SWIGLU, depth=24, num_heads=24, embed_dim=1536,
        mlp_ratio=2.66667 * 2, no_embed_class=True, reg_tokens=8, dynamic_img_size=True,
    ),
    "virchow": _timm(
        "paige-ai/Virchow", "vit_huge_patch14_224",
        _choices(_IMAGENET, "Apache-2.0", features=CLS_MEAN), **_VIRCHOW,
    ),
    "virchow2": _virchow2(CLS_MEAN),
    "virchow2-cls": _virchow2(CLS),
    "h-optimus-0": _timm(
        "bioptimus/H-optimus-0", "vit_giant_patch14_reg4_dinov2",
        _choices(_OPTIMUS, "Apache-2.0"), **_LAYER_SCALE, dynamic_img_size=False,
    ),
    "h-optimus-1": _timm(
        "bioptimus/H-optimus-1", "vit_giant_patch14_reg4_dinov2",
        _choices(_OPTIMUS, _NO_DERIVATIVES), **_LAYER_SCALE, dynamic_img_size=False,
    ),
    "h0-mini": _timm(
        "bioptimus/H0-mini", "vit_base_patch14_reg4_dinov2",
        _choices(_OPTIMUS, _NO_DERIVATIVES), **_LAYER_SCALE, **_SWIGLU, mlp_ratio=5.33334,
    ),
    "gigapath": _timm(
        "prov-gigapath/prov-gigapath", "vit_giant_patch14_dinov2",
        _choices(_IMAGENET, "Prov-GigaPath, research only", resize_px=256),
        **_LAYER_SCALE, patch_size=16,
    ),
    "phikon": _transformers("owkin/phikon", _PHIKON),
    "phikon-v2": _transformers("owkin/phikon-v2", _PHIKON),
    "midnight": _transformers(
        "kaiko-ai/midnight",
        _choices(_HALF, "MIT", features=CLS_MEAN, mpps=(), interpolation="bilinear"),
    ),
    "kaiko-vits8": _kaiko("vit_small_patch8_224"),
    "kaiko-vits16": _kaiko("vit_small_patch16_224"),
    "kaiko-vitb8": _kaiko("vit_base_patch8_224"),
    "kaiko-vitb16": _kaiko("vit_base_patch16_224"),
    # Its positions are those of 518 pixels, timm's default, unless its config.json says otherwise.
    "kaiko-vitl14": _kaiko(
        "vit_large_patch14_reg4_dinov2", init_values=1e-5, dynamic_img_size=True
    ),
    "lunit-vits8": _lunit("vit_small_patch8_224"),
    "lunit-vits16": _lunit("vit_small_patch16_224"),
    "retccl": _timm(
        "", "resnet50",
        _choices(
            _IMAGENET, "GPL-3.0, non-commercial", mpps=(1.0,), features=MEAN, resize_px=256,
            crop_px=256, interpolation="bilinear",
        ),
    ),
}  # fmt: skip


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
