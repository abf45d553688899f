"""The layers of the second network and the shapes of their weights, without torch.

Its form is that of EfficientNet-Lite0 up to its eleventh block, the end of stage 3. Norms are
folded into the convolutions, and each has a bias.

Source: Tan & Le (2019), EfficientNet; Sandler et al. (2018), MobileNetV2, for the blocks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from histo_index.encoder.config import SECOND_CHANNELS, SECOND_PREFIX

# What a layer puts out is at most this; its Lite form has no other activation.
MOST: Final = 6.0


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution with bias.

    Attributes:
        name: of its weights, less SECOND_PREFIX.
        inputs: channels in.
        outputs: channels out.
        kernel: its side in pixels.
        stride: in pixels.
        is_depthwise: each channel has its own kernel.
        is_clipped: what it puts out is clipped to 0 to MOST.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    is_depthwise: bool = False
    is_clipped: bool = True

    @property
    def padding(self) -> tuple[int, int]:
        """Pixels of zeros before and after: the output has a pixel for each stride of the input."""
        both = self.kernel - self.stride if self.kernel > 1 else 0
        return both // 2, both - both // 2

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the kernel."""
        return self.outputs, 1 if self.is_depthwise else self.inputs, self.kernel, self.kernel


@dataclass(frozen=True, kw_only=True)
class Block:
    """Convolutions in turn; with `has_shortcut` the input is added to what they give."""

    layers: tuple[Layer, ...]
    has_shortcut: bool


def _blocks() -> Iterator[Block]:
    stem = Layer(name="stem", inputs=3, outputs=32, kernel=3, stride=2)
    yield Block(layers=(stem,), has_shortcut=False)
    channels, number = stem.outputs, 0
    for outputs, kernel, stride, expansion, repeats in _STAGES:
        for repeat in range(repeats):
            name, inner = f"blocks.{number}", channels * expansion
            first_stride = 1 if repeat else stride
            expand = Layer(name=f"{name}.expand", inputs=channels, outputs=inner)
            spread = Layer(
                name=f"{name}.spread", inputs=inner, outputs=inner, kernel=kernel,
                stride=first_stride, is_depthwise=True,
            )  # fmt: skip
            reduce = Layer(name=f"{name}.reduce", inputs=inner, outputs=outputs, is_clipped=False)
            layers = (expand, spread, reduce) if expansion > 1 else (spread, reduce)
            yield Block(layers=layers, has_shortcut=channels == outputs and first_stride == 1)
            channels, number = outputs, number + 1


# Output channels, kernel, stride, expansion and number of the blocks of a kind.
_STAGES: Final = (
    (16, 3, 1, 1, 1), (24, 3, 2, 6, 2), (40, 5, 2, 6, 2), (80, 3, 2, 6, 3),
    (SECOND_CHANNELS, 5, 1, 6, 3),
)  # fmt: skip
BLOCKS: Final = tuple(_blocks())


def second_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of the second network."""
    shapes: dict[str, tuple[int, ...]] = {}
    for block in BLOCKS:
        for layer in block.layers:
            shapes[f"{SECOND_PREFIX}{layer.name}.weight"] = layer.shape
            shapes[f"{SECOND_PREFIX}{layer.name}.bias"] = (layer.outputs,)
    return shapes
