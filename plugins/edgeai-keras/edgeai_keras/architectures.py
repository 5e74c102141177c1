"""Networks to begin with: the ones that people who make imaging models start from, and small students of them.

``build("unet", size=256, filters=16)`` gives an untrained ``keras.Model`` from ``image`` (values from 0 to 1, batch
first) to one output: ``logits``, or ``probabilities`` where the network itself ends in a sigmoid or softmax. Logits
are what to train and convert; the task turns them into probabilities on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
from keras import layers

from edgeai_keras.blocks import convolved, doubled
from edgeai_keras.detectors import centre_head, rcnn

HEADS = ("logits", "sigmoid", "softmax")


def build(name: str, **options: Any) -> keras.Model:
    """An untrained network; ``options`` are the keyword arguments of the function that makes it.

    Weights come out of Keras' random state: call ``keras.utils.set_random_seed`` first for the same ones each time.

    Raises:
        ValueError: no such network, no such option, or one that makes no sense.
    """
    maker = _MAKERS.get(name)
    if maker is None:
        raise ValueError(f"no network {name!r}; there are {', '.join(NAMES)}")
    unknown = sorted(set(options) - set(maker.__kwdefaults__ or ()))
    if unknown:
        known = ", ".join(maker.__kwdefaults__ or ())
        raise ValueError(f"{name} has no option {', '.join(unknown)}; it takes {known}")
    return maker(**options)


def cnn(
    *,
    size: int = 28,
    channels: int = 1,
    filters: Sequence[int] = (32, 64, 128),
    kernel: int = 3,
    units: int = 64,
    labels: int = 2,
    head: str = "logits",
    padding: str = "valid",
    batch_norm: bool = False,
    dropout: float = 0.0,
) -> keras.Model:
    """Conv2D and MaxPooling2D as often as there are ``filters``, then Flatten and two Dense layers."""
    image = keras.Input((size, size, channels), name="image")
    x: Any = image
    for number, count in enumerate(filters, start=1):
        x = convolved(x, count, f"conv_{number}", kernel=kernel, padding=padding, batch_norm=batch_norm)
        x = layers.MaxPooling2D(2, name=f"pool_{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(units, activation="relu", name="dense")(_dropped(x, dropout))
    return keras.Model(image, _labelled(x, labels, head), name="cnn")


def autoencoder(
    *, size: int = 64, channels: int = 1, filters: Sequence[int] = (16, 32), code: int = 8, head: str = "sigmoid"
) -> keras.Model:
    """Strided convolutions down to ``code`` channels, transposed ones back up to the image itself."""
    image = keras.Input((size, size, channels), name="image")
    x: Any = image
    for number, count in enumerate(filters, start=1):
        x = layers.Conv2D(count, 3, strides=2, padding="same", activation="relu", name=f"down_{number}")(x)
    x = layers.Conv2D(code, 3, padding="same", activation="relu", name="code")(x)
    for number, count in enumerate(reversed(filters), start=1):
        x = layers.Conv2DTranspose(count, 3, strides=2, padding="same", activation="relu", name=f"up_{number}")(x)
    return keras.Model(image, _mapped(x, channels, head, kernel=3), name="autoencoder")


def rnn(
    *, size: int = 28, features: int = 28, units: int = 32, cell: str = "simple", labels: int = 2, head: str = "logits"
) -> keras.Model:
    """The rows of a grey image as a sequence of ``size`` steps (layout NHW), read by one recurrent layer.

    ``cell`` is ``simple``, ``gru`` or ``lstm``; unrolled, so that every engine runs it as plain operations.
    """
    cells = {"simple": layers.SimpleRNN, "gru": layers.GRU, "lstm": layers.LSTM}
    if cell not in cells:
        raise ValueError(f"no cell {cell!r}; there are {', '.join(cells)}")
    image = keras.Input((size, features), name="image")
    x = cells[cell](units, unroll=True, name=cell)(image)
    return keras.Model(image, _labelled(x, labels, head), name="rnn")


def unet(
    *,
    size: int = 256,
    channels: int = 1,
    filters: int = 16,
    depth: int = 4,
    most: int = 0,
    labels: int = 1,
    head: str = "logits",
    up: str = "transpose",
    batch_norm: bool = True,
    dropout: float = 0.0,
    shrink: int = 1,
) -> keras.Model:
    """Two convolutions a level, ``depth`` halvings, and the way back with what was seen on the way down.

    ``filters`` of the first level double at each halving, up to ``most`` where it is given. ``up`` is ``transpose``
    (learnt) or ``upsample`` (bilinear). ``shrink`` above 1 averages that many pixels a side first, and enlarges the
    scores at the end: the weights are those of the network on the smaller plane. Source: Ronneberger, Fischer and
    Brox, MICCAI 2015; padded, with batch norm.
    """
    counts = doubled(filters, depth + 1, most)
    image = keras.Input((size, size, channels), name="image")
    x: Any = image if shrink == 1 else layers.AveragePooling2D(shrink, name="shrink")(image)
    skips = []
    for number, count in enumerate(counts):
        x = layers.MaxPooling2D(2, name=f"pool_{number}")(x) if number else x
        x = _twice(x, count, f"down_{number}", batch_norm)
        skips.append(x)
    x = _dropped(skips.pop(), dropout)
    for number in reversed(range(depth)):
        x = _grown(x, counts[number], f"grow_{number}", up)
        x = layers.Concatenate(name=f"join_{number}")([skips.pop(), x])
        x = _twice(x, counts[number], f"up_{number}", batch_norm)
    return keras.Model(image, _enlarged(x, labels, head, shrink), name="unet")


def fcn(
    *, size: int = 128, channels: int = 1, filters: Sequence[int] = (16, 32, 64), labels: int = 1, head: str = "logits"
) -> keras.Model:
    """Convolutions and poolings, and two scores added on the way back up.

    Source: Long, Shelhamer and Darrell, CVPR 2015 (one skip, as FCN-16s).
    """
    image = keras.Input((size, size, channels), name="image")
    x: Any = image
    levels = []
    for number, count in enumerate(filters, start=1):
        x = layers.MaxPooling2D(2, name=f"pool_{number}")(convolved(x, count, f"conv_{number}"))
        levels.append(x)
    x = layers.Conv2D(labels, 1, name="score_deep")(x)
    x = layers.Conv2DTranspose(labels, 4, strides=2, padding="same", name="grow")(x)
    if len(levels) > 1:
        x = layers.Add(name="join")([x, layers.Conv2D(labels, 1, name="score_skip")(levels[-2])])
    factor = 2 ** (len(levels) - 1)
    x = layers.Conv2DTranspose(labels, 2 * factor, strides=factor, padding="same", name=_score(head))(x)
    return keras.Model(image, _ended(x, head), name="fcn")


def small_cnn(
    *,
    size: int = 224,
    channels: int = 1,
    filters: Sequence[int] = (8, 16, 32, 48),
    labels: int = 2,
    head: str = "logits",
    separable: bool = True,
    pool: int = 1,
    dropout: float = 0.0,
) -> keras.Model:
    """A student for a classifier: strided convolutions, global pooling, one Dense layer.

    ``separable`` splits every convolution but the first into a depthwise and a pointwise one (Howard et al.,
    MobileNets, 2017). ``pool`` above 1 averages that many pixels a side first: a cheap way to a smaller plane.
    """
    image = keras.Input((size, size, channels), name="image")
    x: Any = image if pool == 1 else layers.AveragePooling2D(pool, name="shrink")(image)
    for number, count in enumerate(filters, start=1):
        split = separable and number > 1
        x = convolved(x, count, f"conv_{number}", strides=2, padding="same", batch_norm=True, separable=split)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, _labelled(_dropped(x, dropout), labels, head), name="small_cnn")


def small_unet(
    *,
    size: int = 256,
    channels: int = 1,
    filters: int = 8,
    depth: int = 3,
    most: int = 48,
    shrink: int = 2,
    labels: int = 1,
    head: str = "logits",
    separable: bool = False,
) -> keras.Model:
    """A student for a U-Net: one strided convolution a level down, one convolution a level up, sums as skips.

    The levels work on a plane ``shrink`` times smaller than the image; the scores are enlarged to its size at the end.
    """
    counts = doubled(filters, depth + 1, most)
    image = keras.Input((size, size, channels), name="image")
    wide = 2 * shrink - 1
    x: Any = convolved(image, counts[0], "stem", kernel=wide, strides=shrink, padding="same", batch_norm=True)
    skips = [x]
    for number, count in enumerate(counts[1:], start=1):
        x = convolved(x, count, f"down_{number}", strides=2, padding="same", batch_norm=True)
        x = convolved(x, count, f"deep_{number}", padding="same", batch_norm=True, separable=separable)
        skips.append(x)
    skips.pop()
    for number in reversed(range(depth)):
        x = layers.Conv2D(counts[number], 1, name=f"narrow_{number}")(x)
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"grow_{number}")(x)
        x = layers.Add(name=f"join_{number}")([skips.pop(), x])
        x = convolved(x, counts[number], f"up_{number}", padding="same", batch_norm=True, separable=separable)
    return keras.Model(image, _enlarged(x, labels, head, shrink), name="small_unet")


_MAKERS: Mapping[str, Callable[..., keras.Model]] = MappingProxyType(
    {
        "cnn": cnn,
        "autoencoder": autoencoder,
        "rnn": rnn,
        "unet": unet,
        "fcn": fcn,
        "small-cnn": small_cnn,
        "small-unet": small_unet,
        "centre-head": centre_head,
        "rcnn": rcnn,
    }
)
NAMES = tuple(_MAKERS)
"""What ``build`` knows."""


def _twice(x: Any, count: int, name: str, batch_norm: bool) -> Any:
    for part in ("a", "b"):
        x = convolved(x, count, f"{name}{part}", batch_norm=batch_norm)
    return x


def _grown(x: Any, count: int, name: str, up: str) -> Any:
    """Twice the extent, with ``count`` channels."""
    if up == "transpose":
        return layers.Conv2DTranspose(count, 2, strides=2, padding="same", name=name)(x)
    if up == "upsample":
        x = layers.Conv2D(count, 1, name=name)(x)
        return layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_plane")(x)
    raise ValueError(f"no way up {up!r}; there are transpose and upsample")


def _dropped(x: Any, share: float) -> Any:
    return layers.Dropout(share, name="dropout")(x) if share else x


def _labelled(x: Any, labels: int, head: str) -> Any:
    return _ended(layers.Dense(labels, name=_score(head))(x), head)


def _mapped(x: Any, labels: int, head: str, *, kernel: int = 1) -> Any:
    return _ended(layers.Conv2D(labels, kernel, padding="same", name=_score(head))(x), head)


def _enlarged(x: Any, labels: int, head: str, shrink: int) -> Any:
    """Scores on a plane ``shrink`` times the size of ``x``."""
    if shrink == 1:
        return _mapped(x, labels, head)
    x = layers.Conv2D(labels, 1, name="score_small")(x)
    return _ended(layers.UpSampling2D(shrink, interpolation="bilinear", name=_score(head))(x), head)


def _score(head: str) -> str:
    """The name of the last layer with weights: that of the output where nothing follows it."""
    if head not in HEADS:
        raise ValueError(f"no head {head!r}; there are {', '.join(HEADS)}")
    return "logits" if head == "logits" else "score"


def _ended(x: Any, head: str) -> Any:
    """Scores as the output: as they are, or as probabilities."""
    return x if head == "logits" else layers.Activation(head, name="probabilities")(x)
