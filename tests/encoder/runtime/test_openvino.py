"""The fast CPU runtime against the slow obvious one: the same features, whatever the company."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from histo_index.arrays import Float32, Pixels
from histo_index.encoder.config import PROJECTION, PROJECTION_SIZE
from histo_index.encoder.covariance_sketch import draw_sketch
from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.decode.preprocessing import fit_tile
from histo_index.encoder.folder import EncoderFolder, used_weights
from histo_index.encoder.runtime import openvino
from histo_index.encoder.runtime.openvino import (
    OpenVinoRuntime,
    Precision,
    build_graph,
    cpu_capabilities,
    has_bfloat16,
)
from histo_index.encoder.runtime.openvino_import import ov
from histo_index.encoder.runtime.reference import ReferenceRuntime, Trunk
from histo_index.encoder.runtime.untrained import projection_shapes, weight_shapes
from histo_index.errors import InputError, MismatchError
from tests.conftest import is_long
from tests.encoder.conftest import REAL_TILES, MakeEncoder, cosines, settle

needs_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")


def embed(runtime: OpenVinoRuntime | ReferenceRuntime, tiles: Pixels) -> Float32:
    """Features [B, D], one image at a time."""
    return np.concatenate([runtime.embed(tile[None]) for tile in tiles])


def require_equal_features(fast: Float32, slow: Float32) -> None:
    """Float32 on both sides: equal but for the order of additions."""
    assert fast.shape == slow.shape
    assert fast.dtype == np.float32
    assert cosines(fast, slow).min() >= 0.99999
    assert np.abs(fast - slow).max() <= 1e-4 * np.abs(slow).max()


@pytest.fixture(scope="module")
def resnext(make_encoder: MakeEncoder) -> EncoderFolder:
    return make_encoder("resnext50_32x4d")


@pytest.fixture(scope="module")
def resnext_features(resnext: EncoderFolder, fresh_tiles: Pixels) -> Float32:
    return embed(ReferenceRuntime(resnext), fresh_tiles)


@pytest.fixture(scope="module")
def settled_features(settled: EncoderFolder, fresh_tiles: Pixels) -> Float32:
    return embed(ReferenceRuntime(settled), fresh_tiles)


def test_settled_encoder_separates_tiles(settled_features: Float32) -> None:
    # Else agreement would be no feat: with random weights all tiles have a cosine of 0.97.
    assert cosines(settled_features[:-1], settled_features[1:]).mean() < 0.9


def test_resnet18_in_float32_gives_the_features_of_the_reference(
    settled: EncoderFolder, fresh_tiles: Pixels, settled_features: Float32
) -> None:
    fast = embed(OpenVinoRuntime(settled, precision="float32"), fresh_tiles)
    require_equal_features(fast, settled_features)


def test_the_first_convolution_is_given_numbers_that_bfloat16_holds_exactly(
    settled: EncoderFolder, fresh_tiles: Pixels
) -> None:
    # Normalised pixels were wrong by up to half a grey level, which is much in a pale tile; and so
    # was what a rounded kernel makes of them.
    graph = build_graph(settled)
    first = next(node for node in graph.get_ordered_ops() if node.get_type_name() == "Convolution")
    before = ov.Model([first.input_value(0)], graph.get_parameters(), "before")
    run = ov.Core().compile_model(before, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = run({0: fresh_tiles[:1]})[0][:, :, 3:-3, 3:-3]  # less the padding
    pixels = np.moveaxis(fresh_tiles[:1].astype(np.float32), 3, 1)
    expected = pixels - np.array([124, 116, 104], np.float32)[:, None, None]
    np.testing.assert_array_equal(given, np.concatenate([expected, expected], axis=1))
    assert np.abs(given).max() <= 256
    coarse, rest = np.split(first.input_value(1).get_node().data, 2, axis=1)
    assert not (coarse.view(np.uint32) & 0xFFFF).any()  # the bits that bfloat16 lacks
    assert 0 < np.abs(rest).max() <= np.abs(coarse).max() / 2**8


def test_resnext50_in_float32_gives_the_features_of_the_reference(
    resnext: EncoderFolder, fresh_tiles: Pixels, resnext_features: Float32
) -> None:
    fast = embed(OpenVinoRuntime(resnext, precision="float32"), fresh_tiles)
    assert fast.shape == (len(fresh_tiles), 2048)
    require_equal_features(fast, resnext_features)


@needs_bfloat16
def test_resnext50_in_bfloat16_agrees_with_the_reference(
    resnext: EncoderFolder, fresh_tiles: Pixels, resnext_features: Float32
) -> None:
    fast = embed(OpenVinoRuntime(resnext, precision="bfloat16"), fresh_tiles)
    assert cosines(fast, resnext_features).min() >= 0.99


@needs_bfloat16
def test_bfloat16_agrees_to_0_999_where_features_differ(
    settled: EncoderFolder, fresh_tiles: Pixels, settled_features: Float32
) -> None:
    fast = embed(OpenVinoRuntime(settled, precision="bfloat16"), fresh_tiles)
    assert cosines(fast, settled_features).min() >= 0.999
    assert not np.array_equal(fast, settled_features)


@pytest.mark.parametrize(
    ("precision", "least"),
    [("float32", 0.99999), pytest.param("bfloat16", 0.999, marks=needs_bfloat16)],
)
def test_covariances_agree_with_the_reference(
    settled: EncoderFolder, fresh_tiles: Pixels, precision: Precision, least: float
) -> None:
    encoder = replace(settled, config=replace(settled.config, pooling="covariance"))
    slow = embed(ReferenceRuntime(encoder), fresh_tiles)
    fast = embed(OpenVinoRuntime(encoder, precision=precision), fresh_tiles)
    assert fast.shape == slow.shape == (len(fresh_tiles), 3 * 512)
    assert cosines(fast, slow).min() >= least


@pytest.mark.parametrize(
    ("precision", "least"),
    [("float32", 0.99999), pytest.param("bfloat16", 0.999, marks=needs_bfloat16)],
)
def test_a_learned_projection_agrees_with_the_reference(
    settled: EncoderFolder, fresh_tiles: Pixels, precision: Precision, least: float
) -> None:
    random = np.random.default_rng(3)
    weights = {
        name: (random.normal(0, 0.1, shape) + name.endswith("running_var")).astype(np.float32)
        for name, shape in projection_shapes("resnet18").items()
    }
    name = "projection.norm.running_var"
    weights[name] = np.abs(weights[name])
    encoder = replace(
        settled,
        config=replace(settled.config, pooling=PROJECTION),
        weights={**settled.weights, **weights},
    )
    slow = embed(ReferenceRuntime(encoder), fresh_tiles)
    fast = embed(OpenVinoRuntime(encoder, precision=precision), fresh_tiles)
    assert fast.shape == slow.shape == (len(fresh_tiles), 3 * 512 + PROJECTION_SIZE)
    np.testing.assert_allclose(np.linalg.norm(slow[:, 1536:], axis=1), 3**0.5, rtol=1e-5)
    assert cosines(fast, slow).min() >= least
    assert cosines(fast[:, 1536:], slow[:, 1536:]).min() >= least


def test_a_projection_that_is_missing_is_refused(settled: EncoderFolder) -> None:
    encoder = replace(settled, config=replace(settled.config, pooling=PROJECTION))
    with pytest.raises(MismatchError, match="projection"):
        ReferenceRuntime(encoder)
    with pytest.raises(MismatchError, match="weights do not belong to resnet18"):
        OpenVinoRuntime(encoder, precision="float32")


def test_stages_that_are_not_pooled_change_nothing(
    settled: EncoderFolder, fresh_tiles: Pixels
) -> None:
    whole = replace(settled, config=replace(settled.config, pooling="covariance"))
    cut = replace(whole, weights=used_weights(whole.weights, "covariance"))
    assert len(cut.weights) < len(whole.weights)
    for make in (ReferenceRuntime, partial(OpenVinoRuntime, precision="float32")):
        assert np.array_equal(embed(make(cut), fresh_tiles), embed(make(whole), fresh_tiles))


def test_a_mean_of_a_stage_that_is_missing_is_refused(settled: EncoderFolder) -> None:
    cut = replace(settled, weights=used_weights(settled.weights, "covariance"))
    with pytest.raises(MismatchError, match="25 missing"):
        ReferenceRuntime(cut)
    with pytest.raises(MismatchError, match="they give 256 features"):
        OpenVinoRuntime(cut, precision="float32")


def test_covariances_are_those_of_sums_of_channels_in_hashed_sums(settled: EncoderFolder) -> None:
    trunk = Trunk("resnet18", settled.config.preprocessing, pooling="covariance").eval()
    stages: list[Float32] = []
    for name in ("layer1", "layer2", "layer3"):
        stage = trunk.network.get_submodule(name)
        stage.register_forward_hook(lambda _module, _given, out: stages.append(out.numpy()[0]))
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    with torch.no_grad():
        found = trunk(torch.from_numpy(image)).numpy()[0]
    parts = []
    for features in stages:
        sketch = draw_sketch(len(features))
        full = np.cov(features.reshape(len(features), -1).astype(np.float64), bias=True)
        summed = (sketch.sums.T @ full @ sketch.sums).ravel()
        part = (summed[sketch.order] * sketch.signs).sum(axis=1)
        parts.append(part / np.linalg.norm(part))
    assert [len(features) for features in stages] == [64, 128, 256]
    assert np.allclose(found, np.concatenate(parts), atol=1e-5)


def test_resnext101_gives_the_features_of_the_reference(
    settled: EncoderFolder, fresh_tiles: Pixels, request: pytest.FixtureRequest
) -> None:
    if not is_long(request.config):
        pytest.skip("the graph is that of ResNeXt-50 with more blocks: make test-long")
    # Some numbers over and over: drawing 87 million takes longer than all the rest.
    numbers = np.random.default_rng(1).standard_normal(100_003, np.float32)
    weights = {
        name: np.resize(numbers, shape) * np.float32((2 / (shape[0] * shape[2] ** 2)) ** 0.5)
        if len(shape) > 1
        else np.full(shape, name.endswith((".weight", ".running_var")), np.float32)
        for name, shape in weight_shapes("resnext101_32x8d").items()
    }
    config = replace(settled.config, architecture="resnext101_32x8d")
    encoder = replace(settled, config=config, weights=weights)
    one = fresh_tiles[:1]
    fast = embed(OpenVinoRuntime(encoder, precision="float32"), one)
    require_equal_features(fast, embed(ReferenceRuntime(encoder), one))


def test_normalisation_and_size_are_the_encoders_own(
    settled: EncoderFolder, fresh_tiles: Pixels
) -> None:
    spec = replace(
        settled.config.preprocessing,
        mean=(0.7, 0.5, 0.1),
        std=(0.1, 0.5, 0.9),
        crop_px=48,
        resize_px=48,
    )
    other = replace(settled, config=replace(settled.config, preprocessing=spec))
    cut = np.ascontiguousarray(fresh_tiles[:4, :48, :48])
    fast = embed(OpenVinoRuntime(other, precision="float32"), cut)
    require_equal_features(fast, embed(ReferenceRuntime(other), cut))


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_an_embedding_depends_on_its_image_alone(
    settled: EncoderFolder,
    fresh_tiles: Pixels,
    monkeypatch: pytest.MonkeyPatch,
    precision: Precision,
) -> None:
    first = OpenVinoRuntime(settled, precision=precision)
    expected = embed(first, fresh_tiles)
    backwards = embed(first, fresh_tiles[::-1].copy())[::-1]
    assert np.array_equal(backwards, expected)
    # Other positions, other images in the batch, and a last request that is not full.
    cuts = range(first.batch, len(fresh_tiles), first.batch)
    for order in (slice(None), slice(None, None, -1), slice(1, None)):
        batches = np.split(fresh_tiles[order], cuts)
        together = np.concatenate([first.embed(batch) for batch in batches if len(batch)])
        assert np.array_equal(together, expected[order])
    for cores in (1, 3):
        monkeypatch.setattr(openvino, "usable_cores", lambda cores=cores: cores)
        runtime = OpenVinoRuntime(settled, precision=precision)
        assert runtime.parallel == cores
        with ThreadPoolExecutor(cores) as threads:
            rows = list(threads.map(runtime.embed, [tile[None] for tile in fresh_tiles]))
        assert np.array_equal(np.concatenate(rows), expected)


def test_later_images_do_not_change_earlier_answers(
    settled: EncoderFolder, fresh_tiles: Pixels
) -> None:
    runtime = OpenVinoRuntime(settled, precision="float32")
    first = runtime.embed(fresh_tiles[:1])
    kept = first.copy()
    embed(runtime, fresh_tiles[1:4])
    assert np.array_equal(first, kept)


def test_bfloat16_is_refused_where_the_cpu_has_it_not(
    settled: EncoderFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "cpu_capabilities", lambda: ["FP32", "INT8"])
    with pytest.raises(InputError, match="this CPU has no bfloat16; pass --precision auto or flo"):
        OpenVinoRuntime(settled, precision="bfloat16")


def test_runtime_describes_itself(settled: EncoderFolder) -> None:
    runtime = OpenVinoRuntime(settled, precision="float32")
    assert (runtime.device, runtime.precision, runtime.batch) == ("cpu", "float32", 4)
    assert runtime.name == f"openvino {ov.__version__.split('-')[0]}"
    assert "FP32" in cpu_capabilities()


def test_large_images_are_encoded_one_at_a_time(settled: EncoderFolder) -> None:
    spec = replace(settled.config.preprocessing, crop_px=224, resize_px=224)
    large = replace(settled, config=replace(settled.config, preprocessing=spec))
    assert OpenVinoRuntime(large, precision="float32").batch == 1


def test_weights_of_another_architecture_are_refused(
    settled: EncoderFolder, resnext: EncoderFolder
) -> None:
    swapped = replace(resnext, weights=settled.weights)
    with pytest.raises(MismatchError) as caught:
        OpenVinoRuntime(swapped, precision="float32")
    assert str(caught.value) == (
        f"{resnext.path}: weights do not belong to resnext50_32x4d: they give 512 features; "
        "import the checkpoint again with its own --arch"
    )
    for name in ("conv1.weight", "layer3.1.bn2.running_var"):
        weights = {key: array for key, array in settled.weights.items() if key != name}
        with pytest.raises(MismatchError, match=f"'{name}' is missing"):
            OpenVinoRuntime(replace(settled, weights=weights), precision="float32")


def test_the_reference_refuses_weights_of_another_architecture(
    settled: EncoderFolder, resnext: EncoderFolder
) -> None:
    with pytest.raises(MismatchError, match="weights do not belong to resnext50_32x4d: "):
        ReferenceRuntime(replace(resnext, weights=settled.weights))


@pytest.mark.real
@needs_bfloat16
def test_bfloat16_agrees_to_0_999_on_real_tiles(
    settled: EncoderFolder, make_encoder: MakeEncoder
) -> None:
    if not REAL_TILES.is_dir():
        pytest.skip(f"no real tiles at {REAL_TILES}")
    spec = settled.config.preprocessing
    paths = sorted(REAL_TILES.iterdir())[:48]
    assert len(paths) == 48
    tiles = np.stack([fit_tile(read_tile(path, DecodeLimits()).pixels, spec) for path in paths])
    encoder = settle(make_encoder("resnet18"), tiles[::2])
    slow = embed(ReferenceRuntime(encoder), tiles[1::2])
    fast = embed(OpenVinoRuntime(encoder, precision="bfloat16"), tiles[1::2])
    assert cosines(fast, slow).min() >= 0.999
