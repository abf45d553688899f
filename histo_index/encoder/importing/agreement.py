"""Compare the runtimes of a foreign network on the self-test tiles."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from histo_index.arrays import Float32, Pixels
from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.folder import EncoderFolder
from histo_index.encoder.foreign import ForeignNetwork, pack_embeddings
from histo_index.encoder.runtime.foreign.self_test import (
    measure_runtime,
    render_self_test,
    require_agreement,
)
from histo_index.encoder.runtime.openvino import OpenVinoRuntime, build_any_graph, has_bfloat16
from histo_index.encoder.weights_file import Weights
from histo_index.errors import InputError, MismatchError

_log = logging.getLogger(__name__)


class Reference(Protocol):
    """Encodes one image."""

    def embed(self, images: Pixels) -> Float32: ...


def check_network(config: EncoderConfig, weights: Weights, reference: Reference) -> ForeignNetwork:
    """Compute the reference's embeddings of the self-test tiles and compare OpenVINO's.

    Args:
        config: of the network; embedding size, self-test and cosines are replaced.
        weights: of the network.
        reference: the slow runtime in float32.

    Returns:
        The description of the network, complete.

    Raises:
        InputError: an embedding is not finite or 0, or all tiles have the same one.
        MismatchError: OpenVINO does not agree in float32. If it does not in bfloat16, a line is
            logged, and that precision is never used.
    """
    assert config.foreign is not None
    tiles = render_self_test(config.preprocessing.crop_px)
    expected = np.concatenate([reference.embed(tile[None]) for tile in tiles])
    _require_usable(expected, config.architecture)
    foreign = replace(
        config.foreign, embedding_size=expected.shape[1], self_test=pack_embeddings(expected)
    )
    cosines: dict[str, float] = {}
    network = EncoderFolder(
        path=Path(config.architecture),
        config=replace(config, foreign=foreign),
        weights=weights,
        fingerprint="",
    )
    graph = build_any_graph(network)
    for precision in ("float32", "bfloat16") if has_bfloat16() else ("float32",):
        runtime = OpenVinoRuntime(network, precision=precision, graph=graph)
        found = measure_runtime(runtime, foreign, side=config.preprocessing.crop_px)
        cosines[precision] = round(found, 6)
        try:
            require_agreement(precision, found, name=config.architecture)
        except MismatchError as error:
            if precision == "float32":
                raise
            _log.warning("%s; it will run in float32", error)
    return replace(foreign, cosines=cosines)


def _require_usable(embeddings: Float32, name: str) -> None:
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise InputError(
            f"{name}: embeddings that are not finite or 0, of length {lengths.min():g} to "
            f"{lengths.max():g}; check weights, --mean and --std"
        )
    if np.ptp(embeddings, axis=0).max() == 0:
        raise InputError(f"{name}: the same embedding for every tile; check weights and --features")
