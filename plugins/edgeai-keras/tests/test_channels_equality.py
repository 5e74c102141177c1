"""Channels that contribute nothing are removed, and the model's outputs stay the same: layer by layer, graph by graph.

Whatever is removed by the wrong index, or not removed where it should be, moves an output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")

from edgeai_keras.channels import cost  # noqa: E402
from edgeai_keras.channels.counting import Sizes  # noqa: E402
from edgeai_keras.channels.groups import groups_of, settle  # noqa: E402
from edgeai_keras.channels.rules import rule_of  # noqa: E402
from edgeai_keras.channels.surgery import remove  # noqa: E402
from edgeai_keras.channels.trace import follow  # noqa: E402
from edgeai_keras.model_file import structure_of  # noqa: E402

L = keras.layers
RANDOM = np.random.default_rng(1)


def conv(filters: int, size: int = 3, **options: Any) -> Any:
    return L.Conv2D(filters, size, padding="same", **options)


def image(*shape: int) -> Any:
    return keras.Input(shape or (8, 8, 2))


def model(inputs: Any, outputs: Any) -> Any:
    return keras.Model(inputs, outputs)


# --- the models ---------------------------------------------------------------------------------


def sequential() -> Any:
    return keras.Sequential(
        [
            image(12, 12, 1),
            conv(6, activation="relu"),
            L.MaxPooling2D(),
            conv(5),
            L.BatchNormalization(),
            L.ReLU(),
            L.SpatialDropout2D(0.2),
            L.AveragePooling2D(2),
            L.Flatten(),
            L.Dropout(0.3),
            L.Dense(7, activation="relu"),
            L.BatchNormalization(scale=False),
            L.Dense(3, activation="softmax"),
        ]
    )


def residual() -> Any:
    x = i = image()
    x = conv(6, activation="relu")(x)
    for _ in range(2):
        y = L.BatchNormalization()(conv(6, use_bias=False)(L.ReLU()(x)))
        x = L.Add()([x, L.BatchNormalization()(conv(6)(L.LeakyReLU()(y)))])
    short = conv(8, 1)(x)
    x = L.Subtract()([short, conv(8)(x)])
    x = L.Average()([x, L.Maximum()([x, conv(8)(x)])])
    return model(i, L.Dense(2)(L.GlobalAveragePooling2D()(L.ReLU()(x))))


def dense_blocks() -> Any:
    x = i = image()
    x = conv(4)(x)
    for _ in range(3):
        y = L.ReLU()(L.BatchNormalization()(x))
        x = L.Concatenate()([x, conv(4)(y)])
    x = L.Concatenate()([i, x])
    return model(i, L.Dense(2)(L.GlobalMaxPooling2D()(conv(6, 1)(L.BatchNormalization()(x)))))


def unet(up: Callable[[int], Any]) -> Any:
    x = i = image(16, 16, 1)
    skips = []
    for width in (4, 6):
        x = conv(width, activation="relu")(x)
        skips.append(x)
        x = L.MaxPooling2D()(x)
    x = conv(8, activation="relu")(x)
    for width, skip in zip((6, 4), reversed(skips), strict=True):
        x = L.Concatenate()([skip, up(width)(x)])
        x = conv(width, activation="relu")(x)
    return model(i, conv(1, 1, activation="sigmoid")(x))


def unet_transposed() -> Any:
    return unet(lambda width: L.Conv2DTranspose(width, 2, 2))


def unet_upsampled() -> Any:
    return unet(lambda width: L.UpSampling2D(interpolation="bilinear"))


def mobile() -> Any:
    x = i = image(8, 8, 3)
    x = L.ReLU(6.0)(L.BatchNormalization()(conv(6, use_bias=False)(x)))
    for _ in range(2):
        y = L.ReLU(6.0)(L.BatchNormalization()(conv(10, 1, use_bias=False)(x)))
        y = L.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
        y = L.ReLU(6.0)(L.BatchNormalization()(y))
        x = L.Add()([x, L.BatchNormalization()(conv(6, 1, use_bias=False)(y))])
    x = L.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = L.SeparableConv2D(7, 3, depth_multiplier=2)(x)
    x = L.PReLU(shared_axes=[1, 2])(x)
    return model(i, L.Dense(2)(L.GlobalAveragePooling2D(keepdims=True)(x)))


def squeeze_excite() -> Any:
    x = i = image()
    x = conv(6, activation="relu")(x)
    s = L.GlobalAveragePooling2D(keepdims=True)(x)
    s = conv(6, 1, activation="sigmoid")(conv(4, 1, activation="relu")(s))
    x = L.Multiply()([x, s])
    s = L.Dense(6, activation="sigmoid")(L.Dense(4)(L.GlobalAveragePooling2D()(x)))
    x = L.Multiply()([x, L.Reshape((1, 1, 6))(s)])
    gate = conv(1, 1, activation="sigmoid")(x)
    return model(i, L.Dense(2)(L.Flatten()(L.Multiply()([x, gate]))))


def volumes() -> Any:
    x = i = image(6, 6, 6, 1)
    x = L.Conv3D(5, 3, padding="same", activation="relu")(x)
    x = L.ZeroPadding3D()(L.MaxPooling3D()(x))
    x = L.Conv3DTranspose(4, 2, 2)(L.Cropping3D()(x))
    x = L.GroupNormalization(groups=2)(L.UpSampling3D()(x))
    return model(i, L.Dense(2)(L.GlobalAveragePooling3D()(x)))


def signals() -> Any:
    x = i = image(16, 2)
    x = L.Conv1D(6, 3, activation="relu")(x)
    x = L.ZeroPadding1D(1)(L.MaxPooling1D()(x))
    x = L.Conv1DTranspose(5, 2, 2)(x)
    x = L.SeparableConv1D(6, 3)(L.DepthwiseConv1D(3)(L.UpSampling1D()(L.Cropping1D(1)(x))))
    x = L.GaussianNoise(0.1)(L.ELU()(x))
    return model(i, L.Dense(2)(L.GlobalAveragePooling1D()(x)))


def recurrent() -> Any:
    x = i = image(6, 8, 8, 1)
    x = L.TimeDistributed(conv(5, activation="relu"))(x)
    x = L.TimeDistributed(L.BatchNormalization())(x)
    x = L.TimeDistributed(L.MaxPooling2D())(x)
    y = L.ConvLSTM2D(4, 3, return_sequences=True)(x)
    y = L.TimeDistributed(L.Flatten())(L.TimeDistributed(conv(4))(y))
    x = L.TimeDistributed(L.Flatten())(x)
    x = L.Concatenate()([x, y])
    x = L.TimeDistributed(L.Dense(6, activation="relu"))(x)
    both = L.Bidirectional(L.GRU(3, return_sequences=True))(x)
    x = L.Concatenate()([L.LSTM(3)(x), L.SimpleRNN(3)(x), L.GRU(3)(both)])
    return model(i, L.Dense(2)(L.Dense(5)(x)))


def two_inputs_two_outputs() -> Any:
    one, two = keras.Input((8, 8, 2), name="picture"), keras.Input((5,), name="numbers")
    x = conv(6, activation="relu")(one)
    y = L.Dense(6, activation="relu")(two)
    x = L.Add()([x, y])  # broadcast over the picture
    mask = conv(2, 1, name="mask")(x)
    label = L.Dense(3, name="label")(L.Concatenate()([L.GlobalAveragePooling2D()(x), y, two]))
    return model({"picture": one, "numbers": two}, {"mask": mask, "label": label})


def shared() -> Any:
    one, two = image(), image()
    stem, twice, norm = conv(6, activation="relu"), conv(6), L.BatchNormalization()
    a, b = norm(stem(one)), norm(stem(two))
    a = twice(twice(a))
    b = twice(L.Add()([b, conv(6)(two)]))
    return model([one, two], L.Dense(2)(L.Flatten()(L.Concatenate()([a, b]))))


def nested() -> Any:
    i = image()
    x = conv(5, activation="relu")(i)
    inner = keras.Sequential([conv(6), L.BatchNormalization(), L.ReLU()], name="block")
    u = v = keras.Input((8, 8, 6))
    v = L.Add(name="sum")([u, conv(6, name="deep")(v)])
    graph = keras.Model(u, [v, L.GlobalAveragePooling2D()(v)], name="graph")
    x = inner(x)
    x, pooled = graph(x)
    _, again = graph(L.ReLU()(x))
    return model(i, L.Dense(2)(L.Concatenate()([pooled, again, L.GlobalMaxPooling2D()(x)])))


def nested_in_time() -> Any:
    frame = keras.Sequential([image(8, 8, 1), conv(5, activation="relu"), L.Flatten(), L.Dense(6)], name="frame")
    i = image(4, 8, 8, 1)
    return model(i, L.Dense(2)(L.GRU(3)(L.TimeDistributed(frame)(i))))


def shapes() -> Any:
    x = i = image(4, 4, 2)
    x = conv(6)(x)
    x = L.Permute((3, 1, 2))(x)
    a = L.Flatten()(x)
    x = L.Permute((2, 3, 1))(x)
    b = L.Dense(5)(L.Reshape((16, 6))(x))
    c = L.Conv1D(4, 2)(L.Reshape((4, -1))(x))
    d = L.Reshape((4, 4, 3))(L.Dense(48)(a))
    d = L.GlobalAveragePooling2D()(conv(4)(d))
    d = L.GRU(3)(L.RepeatVector(3)(d))
    e = L.Dense(3)(L.Reshape((-1,))(b))
    return model(i, L.Concatenate()([d, e, L.GlobalAveragePooling1D()(c)]))


def operations() -> Any:
    x = i = image()
    x = keras.ops.relu(conv(6)(x))
    x = x * 0.5 + conv(6)(x)
    x = keras.ops.concatenate([x, conv(4)(x)], axis=-1)
    return model(i, L.Dense(2)(L.Flatten()(keras.ops.tanh(x))))


def words() -> Any:
    i = keras.Input((7,), dtype="int32")
    x = L.Embedding(11, 6)(i)
    x = L.SpatialDropout1D(0.1)(x)
    return model(i, L.Dense(2)(L.Dense(5)(L.GlobalAveragePooling1D()(x))))


MODELS = (
    *(sequential, residual, dense_blocks, unet_transposed, unet_upsampled, mobile, squeeze_excite, volumes, signals),
    *(recurrent, two_inputs_two_outputs, shared, nested, nested_in_time, shapes, operations, words),
)


# --- the property -------------------------------------------------------------------------------


def randomised(net: Any) -> Any:
    """Every weight its own value: two channels alike would hide a swap."""
    random = np.random.default_rng(3)
    for variable in net.weights:
        low = 0.5 if "variance" in variable.name else -0.5
        variable.assign(random.uniform(low, low + 1.0, variable.shape))
    return net


def silence(trace: Any, gone: Any) -> None:
    """Have these channels contribute nothing: filters, biases and normalisations zero; what reads them as it was."""
    silent = np.isin(trace.atoms.roots(), list(gone))
    reads = {(id(producer.kernel), producer.axis) for producer in trace.producers.values()}
    for (key, axis), atoms in trace.bindings.items():
        variable = trace.variables[key]
        makes = (key, axis) in reads or len(variable.shape) == 1 or "alpha" in variable.name
        if makes and "variance" not in variable.name:
            array = np.moveaxis(keras.ops.convert_to_numpy(variable).copy(), axis, 0)
            array[silent[atoms]] = 0.0
            variable.assign(np.moveaxis(array, 0, axis))


def answers(net: Any) -> list[Any]:
    random = np.random.default_rng(2)
    inputs = [
        random.integers(0, 11, (2, *tensor.shape[1:]))
        if "int" in tensor.dtype
        else random.random((2, *tensor.shape[1:])).astype("float32")
        for tensor in net.inputs
    ]
    given_ = keras.tree.pack_sequence_as(structure_of(net, "input"), inputs)
    return [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(net(given_, training=False))]


def split(trace: Any, share: float, random: Any) -> set[int]:
    """A random share of every group, at least one channel of each left."""
    gone: set[int] = set()
    for group in groups_of(trace):
        count = min(len(group.classes) - 1, max(1, round(share * len(group.classes))))
        gone |= set(random.choice(group.classes, count, replace=False).tolist())
    return gone


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_a_model_without_its_silent_channels_answers_as_before(build: Callable[[], Any]) -> None:
    net = randomised(build())
    trace = follow(net, rule_of)
    assert settle(trace) == ()
    before = cost(net)
    gone = split(trace, 0.4, np.random.default_rng(5))
    # Half of a model whose activations do not pass through zero would move: sigmoid gates of silent channels
    # multiply silence, and the others are all zero at zero.
    silence(trace, gone)
    small = remove(net, trace, gone)
    for ours, theirs in zip(answers(small), answers(net), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * max(1.0, float(np.abs(theirs).max())))
    after = cost(small)
    sizes = Sizes(trace, before.parameters)
    sizes.remove(gone)
    assert (after.macs, after.parameters) == (sizes.macs, sizes.parameters), "what is counted is what is built"
    assert after.parameters < 0.9 * before.parameters
    assert [layer.name for layer in small.layers] == [layer.name for layer in net.layers]


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_every_layer_of_these_models_can_lose_channels(build: Callable[[], Any]) -> None:
    """The property holds for nothing if nothing is removed: each layer that makes channels is in a group."""
    net = build()
    trace = follow(net, rule_of)
    settle(trace)
    last = {"mask", "label"} | {layer.name for layer in net.layers[-1:]}
    free = {layer for group in groups_of(trace) for layer in group.layers}
    stuck = {p.layer for p in trace.producers.values() if p.makes and p.layer not in free and p.layer not in last}
    expected = {"squeeze_excite": 1, "shapes": 2}  # a gate of one channel; two more layers that reach the output
    assert len(stuck) == expected.get(build.__name__, 0), stuck


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_graph_of_these_layers_keeps_its_answers(data: Any) -> None:
    """Graphs grown at random: each new tensor is made of earlier ones by a layer drawn at random."""
    i = image(8, 8, 2)
    tensors = [conv(data.draw(st.integers(2, 6)))(i)]
    for _ in range(data.draw(st.integers(2, 7))):
        x = data.draw(st.sampled_from(tensors))
        y = data.draw(st.sampled_from(tensors))
        width = x.shape[-1]
        kind = data.draw(st.sampled_from(["conv", "add", "concat", "norm", "depthwise", "separable", "up", "gate"]))
        made = {
            "conv": lambda x=x: conv(data.draw(st.integers(2, 6)), activation="relu")(x),
            "add": lambda x=x, y=y, w=width: L.Add()([x, y if y.shape == x.shape else conv(w)(y)]),
            "concat": lambda x=x, y=y: L.Concatenate()([x, y]),
            "norm": lambda x=x: L.ReLU()(L.BatchNormalization()(x)),
            "depthwise": lambda x=x: L.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x),
            "separable": lambda x=x: L.SeparableConv2D(4, 3, padding="same")(x),
            "up": lambda x=x: L.Conv2DTranspose(3, 2, 2, activation="relu")(L.MaxPooling2D()(x)),
            "gate": lambda x=x, w=width: L.Multiply()([x, L.Dense(w)(L.GlobalAveragePooling2D(keepdims=True)(x))]),
        }[kind]()
        tensors.append(made)
    joined = L.Concatenate()(tensors) if len(tensors) > 1 else tensors[0]
    end = L.Flatten()(joined) if data.draw(st.booleans()) else L.GlobalMaxPooling2D()(joined)
    net = randomised(model(i, L.Dense(2)(end)))
    trace = follow(net, rule_of)
    settle(trace)
    gone = split(trace, data.draw(st.floats(0.1, 0.8)), np.random.default_rng(data.draw(st.integers(0, 99))))
    silence(trace, gone)
    small = remove(net, trace, gone)
    for ours, theirs in zip(answers(small), answers(net), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * max(1.0, float(np.abs(theirs).max())))
    # Where all that is left to choose has one channel, nothing goes.
    assert (small.count_params() < net.count_params()) == bool(gone)
