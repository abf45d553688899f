"""The GPU runtime: torch in bfloat16, channels-last, compiled."""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from histo_index.arrays import Pixels
from histo_index.encoder.folder import EncoderFolder
from histo_index.encoder.runtime.reference import load_network
from histo_index.encoder.runtime.resnet import ResNet


class CudaRuntime:
    """One CUDA device. Batches have a fixed size, so that an embedding does not depend on them.

    The network is compiled at the first full batch, because compilation takes longer than a few
    images. Compiled and eager results agree within the precision of bfloat16.
    """

    device: Final = "cuda"
    # Not yet measured; large enough to fill a GPU, 40 MB of pixels at 224 px.
    batch: Final = 256
    parallel: Final = 1

    def __init__(self, encoder: EncoderFolder, *, precision: str) -> None:
        self.precision = precision
        self.name = f"torch {torch.__version__} on {torch.cuda.get_device_name()}"
        kind = torch.float32 if precision == "float32" else torch.bfloat16
        trunk = round_network(load_network(encoder), kind)
        self._trunk = trunk.to("cuda").to(memory_format=torch.channels_last)
        self._is_compiled = False

    @torch.inference_mode()
    def embed(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Encode uint8 RGB [B, S, S, 3] to float32 [B, D]; fewer than `batch` are padded."""
        padding = self.batch - len(images)
        if not padding and not self._is_compiled:
            self._trunk.compile()
            self._is_compiled = True
        if padding:
            images = np.concatenate([images, np.zeros((padding, *images.shape[1:]), np.uint8)])
        pixels = torch.from_numpy(images).pin_memory().to("cuda", non_blocking=True)
        embeddings: npt.NDArray[np.float32] = self._trunk(pixels).float().cpu().numpy()
        return embeddings[: self.batch - padding]


def round_network(trunk: torch.nn.Module, kind: torch.dtype) -> torch.nn.Module:
    """Let a network compute in a precision.

    Normalisation, pooling, projection and second network stay in float32.

    Args:
        trunk: as `load_network` builds it; changed in place.
        kind: of its weights and features.

    Returns:
        The same network.
    """
    network = trunk.get_submodule("network")
    if isinstance(network, ResNet):
        network.round_weights(kind)
    else:
        network.to(kind)
    return trunk
