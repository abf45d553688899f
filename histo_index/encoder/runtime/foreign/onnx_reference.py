"""The reference of an ONNX network: onnxruntime on the CPU in float32, one image at a time."""

from typing import Final

import numpy as np
import torch

from histo_index.arrays import Float32, Pixels
from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.foreign import CLS, CLS_MEAN, load_extra, parse_features
from histo_index.encoder.runtime.foreign.features import (
    MapPooling,
    pool_features,
    require_maps,
)
from histo_index.encoder.weights_file import ONNX_NAME, Weights
from histo_index.errors import InputError
from histo_index.wording import printable


class OnnxReference:
    """Slow and obvious; needs the extra `onnx`."""

    precision: Final = "float32"
    device: Final = "cpu"
    batch: Final = 1
    parallel: Final = 1

    def __init__(self, config: EncoderConfig, weights: Weights) -> None:
        """Read the network.

        Raises:
            InputError: onnxruntime is not installed, or cannot read it.
        """
        assert config.foreign is not None
        onnxruntime = load_extra("onnxruntime", "onnx")
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self._config, self._arguments = config, config.foreign.arguments
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                weights[ONNX_NAME].tobytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no base class of their own
            raise _refusal(config, error) from error

    def embed(self, images: Pixels) -> Float32:
        """Encode uint8 RGB [1, S, S, 3] to float32 [1, D].

        Raises:
            InputError: onnxruntime cannot run the network, or its output cannot be pooled.
        """
        spec, pixels = self._config.preprocessing, images
        if self._arguments["type"] == "float32":
            mean, std = (np.array(values, np.float32) * 255 for values in (spec.mean, spec.std))
            pixels = ((images - mean) / std).astype(np.float32)
        if self._arguments["layout"] == "NCHW":
            pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        name = self._session.get_inputs()[0].name
        try:
            outputs = self._session.run(None, {name: pixels})
        except Exception as error:  # its errors have no base class of their own
            raise _refusal(self._config, error) from error
        return self._pool([torch.from_numpy(np.asarray(output)).float() for output in outputs])

    def _pool(self, outputs: list[torch.Tensor]) -> Float32:
        features = parse_features(self._config.pooling)
        if features.kind == "map":
            require_maps(outputs, self._config.pooling)
            embedding = MapPooling([x.shape[1] for x in outputs])(outputs)
        else:
            prefix = int(features.kind in (CLS, CLS_MEAN))
            embedding = pool_features(outputs[0], features.kind, prefix=prefix)
        if len(embedding) != 1:
            raise _refusal(self._config, ValueError(f"it gives {len(embedding)} embeddings"))
        array: Float32 = embedding.numpy()
        return array


def _refusal(config: EncoderConfig, error: Exception) -> InputError:
    reason = printable(" ".join(str(error).split()))[-300:]
    return InputError(
        f"{config.architecture}: onnxruntime cannot run it on one image ({reason}); export it with "
        "a dynamic batch, or a batch of 1"
    )
