"""One-pixel convolutions as matrix products: the same network, value by value."""

import copy

import torch

from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.runtime.reference import Trunk
from histo_index.encoder.training.byol import use_matrix_products


def test_products_are_the_convolutions_forwards_and_backwards() -> None:
    torch.manual_seed(0)
    plain = Trunk("resnext50_32x4d", Preprocessing(resize_px=64, crop_px=64))
    fast = copy.deepcopy(plain)
    use_matrix_products(fast)
    images = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8)
    features = [trunk(images) for trunk in (plain, fast)]
    torch.testing.assert_close(features[1], features[0], rtol=1e-3, atol=1e-4)
    for values in features:
        values.square().mean().backward()
    # Strided ones too: the shortcut of the second stage.
    for name in ("layer1.0.conv1", "layer2.0.downsample.0", "layer4.2.conv3"):
        ours, theirs = (
            trunk.network.get_parameter(f"{name}.weight").grad for trunk in (fast, plain)
        )
        assert ours is not None
        assert theirs is not None
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2 * float(theirs.abs().max()))
    assert list(fast.state_dict()) == list(plain.state_dict())


def test_only_one_pixel_convolutions_are_changed() -> None:
    trunk = Trunk("resnext50_32x4d", Preprocessing())
    use_matrix_products(trunk)
    kinds = {
        (module.kernel_size, type(module) is torch.nn.Conv2d)
        for module in trunk.modules()
        if isinstance(module, torch.nn.Conv2d)
    }
    assert kinds == {((7, 7), True), ((3, 3), True), ((1, 1), False)}
