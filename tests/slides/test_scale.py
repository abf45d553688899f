import pytest

from histo_index.slides.scale import compare_scales, network_scale


@pytest.mark.parametrize(
    ("own", "other", "is_warned", "is_refused"),
    [
        (0.5, 0.5, False, False),
        (0.5, 0.525, False, False),
        (0.5, 0.53, True, False),
        (0.75, 0.5, True, False),
        (0.5, 0.76, True, True),
        (2.0, 0.5, True, True),
    ],
)
def test_scales_are_compared_by_their_ratio(
    own: float, other: float, is_warned: bool, is_refused: bool
) -> None:
    check = compare_scales(own, (other, other), name="a", other_name="b")
    assert (bool(check.message), check.is_refused) == (is_warned, is_refused)
    assert check.ratio == pytest.approx(max(own, other) / min(own, other))


@pytest.mark.parametrize(
    ("own", "ratio"), [(0.5, 1.0), (0.7, 1.0), (1.0, 1.0), (2.0, 2.0), (0.25, 2.0)]
)
def test_a_scale_between_the_finest_and_the_coarsest_agrees(own: float, ratio: float) -> None:
    check = compare_scales(own, (0.5, 1.0), name="a", other_name="b")
    assert check.ratio == ratio
    assert check.message == (
        ""
        if ratio == 1
        else f"a has {own:.3g} µm per pixel as the encoder sees it, "
        "b has 0.5 to 1: a factor of 2.00"
    )


def test_an_unknown_scale_is_said_to_be_unchecked() -> None:
    check = compare_scales(0.5, None, name="the index", other_name="the encoder")
    assert check.message == "scale unchecked: microns per pixel of the encoder are unknown"
    assert not check.is_refused


def test_the_network_sees_the_resized_tile() -> None:
    assert network_scale(0.5, 256, 300, resize_px=224) == pytest.approx(0.5 * 256 / 224)
    # Half the resolution, half the pixels: the same to the network.
    assert network_scale(1.0, 128, 128, resize_px=224) == network_scale(
        0.5, 256, 256, resize_px=224
    )


def test_the_public_names_are_there() -> None:
    import histo_index.slides

    names = histo_index.slides.__all__
    assert {name: getattr(histo_index.slides, name).__name__ for name in names} == {
        name: name for name in names
    }
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = histo_index.slides.nothing  # type: ignore[attr-defined]
