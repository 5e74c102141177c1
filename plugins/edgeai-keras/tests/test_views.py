"""``views``: the mean of a picture and of the picture mirrored, out of weights that are there once."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import CompressionFailed, CompressRequest, Objective

pytest.importorskip("tensorflow")


@pytest.fixture
def viewed(keras, tmp_path):
    """``viewed(model, mirror="both")`` -> the request, what was made of it, and the model that was written."""
    from edgeai_keras.model_file import load
    from edgeai_keras.saving import save
    from edgeai_keras.views import compress

    def made(model, **options):
        save(model, tmp_path / "one.keras")
        request = CompressRequest(
            model=tmp_path / "one.keras",
            output=tmp_path / "out.keras",
            objective=Objective(loss="dice-binary-crossentropy"),
            options=options,
        )
        compressed = compress(request)
        return request, compressed, load(compressed.model)

    return made


@pytest.fixture
def pictures(blobs):
    return blobs(3, 1)[0]


ALL, BACK = slice(None), slice(None, None, -1)
FLIPS = {
    "horizontal": [(ALL, ALL, BACK)],
    "vertical": [(ALL, BACK)],
    "both": [(ALL, ALL, BACK), (ALL, BACK), (ALL, BACK, BACK)],
}


@pytest.mark.parametrize("mirror", list(FLIPS))
def test_the_answer_is_the_mean_of_the_views_mirrored_back(build, viewed, pictures, mirror):
    network = build("segmenter")
    _, compressed, model = viewed(network, mirror=mirror)
    answers = [np.asarray(network(pictures))] + [np.asarray(network(pictures[way]))[way] for way in FLIPS[mirror]]
    mean = np.asarray(model(pictures))
    np.testing.assert_allclose(mean, np.mean(answers, axis=0), atol=1e-6)
    assert np.abs(mean - answers[0]).max() > 0.01  # an untrained network is no mirror of itself
    for way in FLIPS[mirror]:  # and a mirrored picture has the answer mirrored
        np.testing.assert_allclose(np.asarray(model(pictures[way]))[way], mean, atol=1e-6)
    assert f"{len(answers)} views" in compressed.notes[0]


@pytest.mark.parametrize("shrink", [1, 2])
def test_pixels_are_averaged_and_scores_enlarged_once_for_all_views(keras, viewed, shrink):
    """A U-Net on a smaller plane: its views are of that plane, and what it answers is the mean as of whole ones."""
    from edgeai_keras.architectures import build

    keras.utils.set_random_seed(4)
    network = build("unet", size=16, filters=4, depth=1, shrink=shrink)
    model = viewed(network)[2]
    picture = np.random.default_rng(4).random((2, 16, 16, 1)).astype("float32")
    back = np.asarray(network(picture[:, :, ::-1]))[:, :, ::-1]
    np.testing.assert_allclose(np.asarray(model(picture)), (np.asarray(network(picture)) + back) / 2, atol=1e-5)
    assert model.get_layer("unet").input.shape[1:3] == (16 // shrink, 16 // shrink)
    assert model.output_names == ["logits"]


@pytest.mark.parametrize(("size", "pool", "strides"), [(15, 2, 2), (16, 3, 2)])
def test_averages_that_a_mirror_does_not_exchange_whole_are_taken_of_each_view(keras, viewed, size, pool, strides):
    image = keras.Input((size, size, 1), name="image")
    x = keras.layers.AveragePooling2D(pool, strides=strides, padding="same")(image)
    x = keras.layers.Conv2D(4, 3, padding="same")(keras.layers.UpSampling2D(2)(x))
    if size % 2:
        x = keras.layers.Cropping2D(((0, 1), (0, 1)))(x)
    network = keras.Model(image, keras.layers.Conv2D(1, 1, name="mask")(x), name="net")
    model = viewed(network)[2]
    picture = np.random.default_rng(4).random((2, size, size, 1)).astype("float32")
    back = np.asarray(network(picture[:, :, ::-1]))[:, :, ::-1]
    np.testing.assert_allclose(np.asarray(model(picture)), (np.asarray(network(picture)) + back) / 2, atol=1e-6)


def test_the_weights_are_in_the_file_once_and_the_names_stay(build, viewed):
    from edgeai_keras.model_file import tensor_names

    request, compressed, model = viewed(build("segmenter"), mirror="both")
    assert model.count_params() == build("segmenter").count_params()
    assert compressed.facts["parameters"] == compressed.facts["parameters_before"]
    assert request.output.stat().st_size < request.model.stat().st_size + 15_000  # of layers' descriptions
    assert tensor_names(model, "input") == ["image"]
    assert tensor_names(model, "output") == ["mask"]


def test_the_work_of_each_view_is_counted(build, viewed):
    from edgeai_keras.channels.counting import cost

    one = cost(build("segmenter")).macs
    assert cost(viewed(build("segmenter"))[2]).macs == 2 * one
    assert cost(viewed(build("segmenter"), mirror="both")[2]).macs == 4 * one


def test_names_of_the_file_do_not_depend_on_what_was_built_before(keras, build, viewed):
    first = viewed(build("segmenter"))[0].output.read_bytes()
    keras.ops.flip(keras.Input((4, 4, 1)), axis=1)
    assert viewed(build("segmenter"))[0].output.read_bytes() == first


def test_views_of_views_are_all_of_them(build, viewed, pictures):
    both = np.asarray(viewed(build("segmenter"), mirror="both")[2](pictures))
    in_turn = viewed(viewed(build("segmenter"), mirror="horizontal")[2], mirror="vertical")[2]
    np.testing.assert_allclose(np.asarray(in_turn(pictures)), both, atol=1e-6)


def _planes(keras, shape=(16, 16, 1), *, batch=None, **options):
    image = keras.Input(shape, batch_size=batch, name="image")
    return keras.Model(image, keras.layers.Conv2D(1, 3, padding="same", name="mask", **options)(image), name="planes")


def _two(keras):
    images = [keras.Input((16, 16, 1), name=name) for name in ("a", "b")]
    return keras.Model(images, keras.layers.Conv2D(1, 1)(keras.layers.Add()(images)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        ("classifier", "no plane"),
        ("regressor", "no plane"),
        (lambda keras: _planes(keras, strides=2), "no plane"),
        (_two, "2 inputs"),
        (lambda keras: _planes(keras, (None, None, 1)), "its input is"),
        (lambda keras: _planes(keras, batch=4), "batches of 4"),
        (lambda keras: _planes(keras, (1, 16, 1), data_format="channels_first"), "channels come first"),
    ],
    ids=["classes", "value", "smaller", "two", "open", "batch", "channels-first"],
)
def test_what_has_no_plane_to_mirror_back_is_refused(keras, build, viewed, tmp_path, make, words):
    with pytest.raises(CompressionFailed, match=words) as refused:
        viewed(build(make) if isinstance(make, str) else make(keras))
    assert refused.value.code == "compress.not-a-plane"
    assert refused.value.remedy
    assert not (tmp_path / "out.keras").exists()


def test_an_unknown_mirror_is_refused(build, viewed):
    with pytest.raises(CompressionFailed, match="diagonal") as refused:
        viewed(build("segmenter"), mirror="diagonal")
    assert refused.value.code == "compress.options"
