"""The networks to begin with: their tensors, their sizes, and options that make no sense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeai_keras.architectures import NAMES, build  # noqa: E402

SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"size": 28},
    "autoencoder": {"size": 16, "filters": (4, 8)},
    "rnn": {"size": 10, "features": 12},
    "unet": {"size": 32, "filters": 4, "depth": 2},
    "fcn": {"size": 32, "filters": (4, 8, 8)},
    "small-cnn": {"size": 32, "filters": (4, 8)},
    "small-unet": {"size": 32, "filters": 4, "depth": 2},
}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("centre-head", "rcnn")])
@pytest.mark.parametrize("head", ["logits", "sigmoid", "softmax"])
def test_every_network_takes_image_and_gives_one_named_output(name: str, head: str) -> None:
    keras.utils.set_random_seed(1)
    several = {"channels": 2} if name == "autoencoder" else {"labels": 2}
    model = build(name, head=head, **SMALL[name], **several)
    assert [tensor.name for tensor in model.inputs] == ["image"]
    assert model.output_names == ["logits" if head == "logits" else "probabilities"]
    image = np.random.default_rng(0).random((2, *model.input_shape[1:]), np.float32)
    answer = np.asarray(model(image))
    assert np.isfinite(answer).all()
    if head == "softmax":
        np.testing.assert_allclose(answer.sum(axis=-1), 1, atol=1e-5)
    if head == "sigmoid":
        assert ((answer >= 0) & (answer <= 1)).all()


@pytest.mark.parametrize("name", ["autoencoder", "unet", "fcn", "small-unet"])
@pytest.mark.parametrize("size", [32, 48])
def test_maps_have_the_extent_of_the_image(name: str, size: int) -> None:
    model = build(name, **SMALL[name] | {"size": size})
    assert model.output_shape == (None, size, size, 1)


@pytest.mark.parametrize(("size", "filters"), [(28, (8, 8)), (32, (8, 8, 8)), (150, (4, 4, 4)), (224, (4, 4, 4, 4))])
def test_cnns_of_the_usual_sizes_end_in_flatten_and_dense(size: int, filters: tuple[int, ...]) -> None:
    model = build("cnn", size=size, filters=filters, units=8, labels=3, head="softmax")
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("Conv2D") == kinds.count("MaxPooling2D") == len(filters)
    assert [kind for kind in kinds if kind in ("Flatten", "Dense")] == ["Flatten", "Dense", "Dense"]
    assert model.output_shape == (None, 3)


@pytest.mark.parametrize(("depth", "up", "places"), [(3, 0, 8), (3, 1, 16), (3, 2, 32)])
def test_a_centre_head_has_a_grid_of_scores_and_distances(depth: int, up: int, places: int) -> None:
    model = build("centre-head", size=64, filters=4, depth=depth, up=up, labels=2)
    assert (model.output_names, model.output_shape) == (["boxes"], (None, places, places, 6))
    answer = np.asarray(model(np.zeros((1, 64, 64, 1), np.float32)))
    assert (answer[..., :2] < 0).all(), "nothing is there before it is trained"
    assert (answer[..., 2:] > 0).all(), "and its boxes are boxes"


def test_students_are_smaller_than_what_they_learn_from() -> None:
    assert build("small-cnn").count_params() * 20 < build("cnn", size=224, units=32).count_params()
    assert build("small-unet").count_params() * 8 < build("unet", filters=16, most=96).count_params()


def test_the_widest_levels_stay_below_most() -> None:
    model = build("unet", size=64, filters=8, depth=4, most=20)
    assert max(layer.filters for layer in model.layers if hasattr(layer, "filters")) == 20


@pytest.mark.parametrize("up", ["transpose", "upsample"])
def test_both_ways_up(up: str) -> None:
    kinds = {type(layer).__name__ for layer in build("unet", **SMALL["unet"], up=up).layers}
    assert ("Conv2DTranspose" in kinds) == (up == "transpose")
    assert ("UpSampling2D" in kinds) == (up == "upsample")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet", {}, "no network 'resnet'"),
        ("cnn", {"colour": 3}, "no option colour"),
        ("cnn", {"head": "tanh"}, "no head 'tanh'"),
        ("rnn", {"cell": "qrnn"}, "no cell 'qrnn'"),
        ("unet", {"up": "stairs"}, "no way up 'stairs'"),
        ("centre-head", {"depth": 3, "up": 3}, "up is 3"),
        ("centre-head", {"up": -1}, "up is -1"),
    ],
)
def test_what_there_is_not_is_said(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(name, **options)


def test_a_shrunk_unet_is_the_network_on_the_smaller_plane_with_its_scores_enlarged() -> None:
    small = build("unet", size=32, filters=4, depth=2)
    large = build("unet", size=64, filters=4, depth=2, shrink=2)
    large.set_weights(small.get_weights())
    image = np.random.default_rng(1).random((1, 64, 64, 1), np.float32)
    averaged = image.reshape(1, 32, 2, 32, 2, 1).mean(axis=(2, 4))
    wanted = keras.ops.image.resize(small(averaged, training=False), (64, 64), interpolation="bilinear")
    np.testing.assert_allclose(large(image, training=False), wanted, atol=1e-5)
