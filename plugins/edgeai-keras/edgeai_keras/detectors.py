"""Networks that say where things are: of one stage, and of two whose shapes are fixed. Task ``detect`` reads both."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from edgeai_keras.blocks import convolved, doubled

_RARE, _SIDE = -2.19, 4.0
"""What an untrained head answers: that hardly anything is there (Lin et al., ICCV 2017), and boxes of eight places."""
_SHARP = 2.0
"""By how much the heat of a region's places is steepened before they are weighed: the hottest one tells its box."""


def centre_head(
    *,
    size: int = 256,
    channels: int = 1,
    filters: int = 16,
    depth: int = 4,
    up: int = 1,
    most: int = 64,
    labels: int = 1,
    separable: bool = False,
) -> keras.Model:
    """A detector of one stage, without anchors: at each place of a grid a score a label, and four distances.

    ``depth`` halvings and ``up`` doublings back, with what was seen on the way down: the grid has a place for each
    2 ** (depth - up) pixels a side. The one output, ``boxes``, has ``labels`` logits and then the distances to left,
    top, right and bottom, in places of the grid. Source: Zhou, Wang and Krähenbühl, *Objects as Points*, 2019.
    """
    image = keras.Input((size, size, channels), name="image")
    x = _trunk(image, doubled(filters, depth, most), up, separable)
    scores, distances = _headed(x, labels, "scores")
    return keras.Model(image, layers.Concatenate(name="boxes")([scores, distances]), name="centre_head")


def rcnn(
    *,
    size: int = 256,
    channels: int = 1,
    filters: int = 12,
    depth: int = 5,
    up: int = 1,
    most: int = 64,
    labels: int = 1,
    regions: int = 4,
    samples: int = 7,
    narrow: int = 32,
    units: int = 64,
) -> keras.Model:
    """A detector of two stages whose shapes are fixed, of operations that engines have built in.

    The first stage is a ``centre-head`` of one label for all. Its grid is cut into ``regions`` a side, and each of
    these proposes one box: the mean of what its places say, weighed by how hot each is. So there are always as many
    proposals, in one order, and they move by little when the weights do (ADR 0090). The second stage looks at
    ``samples`` a side of each proposal, bilinearly out of the same features (He et al., *Mask R-CNN*, ICCV 2017,
    section 3), and says what is in it and how the box is to be moved. Outputs, n being regions ** 2:

    - ``proposals`` (n, 4): x0, y0, x1, y1 in shares of the picture; no loss goes through them to the first stage;
    - ``scores`` (n, labels): logits, without a background;
    - ``deltas`` (n, 4): dx, dy, dw, dh, as task detect's form two-stage has them;
    - ``grid`` (H, W, 5): the first stage, for its own loss.

    What is within the layers ``proposals`` and ``sampled`` has no weights, and loses more by int8 than it costs in
    float: name both in ``keep_float`` of a recipe for LiteRT (OpenVINO's cannot name them).
    """
    image = keras.Input((size, size, channels), name="image")
    x = _trunk(image, doubled(filters, depth, most), up, separable=False)
    heat, distances = _headed(x, 1, "heat")
    places = int(x.shape[1])
    if regions < 1 or places % regions:
        raise ValueError(f"regions is {regions}, which does not divide the grid's {places} places a side")
    if samples < 1:
        raise ValueError(f"samples is {samples}, not 1 at least")
    proposals = _proposing(places, regions)([heat, distances])
    looked = _sampling(places, int(x.shape[-1]), regions**2, samples)([x, proposals])
    looked = convolved(looked, narrow, "narrowed", kernel=1, batch_norm=True)
    looked = layers.Conv2D(units, samples, strides=samples, activation="relu", name="regarded")(looked)
    rare = keras.initializers.Constant(_RARE)
    scores = layers.Conv2D(labels, 1, bias_initializer=rare, name="scored")(looked)
    deltas = layers.Conv2D(4, 1, name="moved")(looked)
    outputs = {
        "proposals": proposals,
        "scores": layers.Reshape((regions**2, labels), name="scores")(scores),
        "deltas": layers.Reshape((regions**2, 4), name="deltas")(deltas),
        "grid": layers.Concatenate(name="grid")([heat, distances]),
    }
    return keras.Model(image, list(outputs.values()), name="rcnn")


def _trunk(image: Any, counts: list[int], up: int, separable: bool) -> Any:
    """Features of the picture, on a grid 2 ** (halvings - ``up``) times coarser."""
    if not 0 <= up < len(counts):
        raise ValueError(f"up is {up}, not from 0 to below depth, {len(counts)}")
    x: Any = image
    levels = []
    for number, count in enumerate(counts, start=1):
        x = convolved(x, count, f"down_{number}", strides=2, batch_norm=True)
        x = convolved(x, count, f"deep_{number}", batch_norm=True, separable=separable)
        levels.append(x)
    levels.pop()
    for number in range(1, up + 1):
        skip = levels.pop()
        x = layers.Conv2D(skip.shape[-1], 1, name=f"narrow_{number}")(x)
        x = layers.UpSampling2D(2, interpolation="nearest", name=f"grow_{number}")(x)
        x = layers.Add(name=f"join_{number}")([skip, x])
        x = convolved(x, skip.shape[-1], f"up_{number}", batch_norm=True, separable=separable)
    return convolved(x, int(x.shape[-1]), "head", batch_norm=True)


def _headed(x: Any, labels: int, name: str) -> tuple[Any, Any]:
    """At each place a logit a label, and how far the box's sides are, in places."""
    rare, side = (keras.initializers.Constant(value) for value in (_RARE, _SIDE))
    scores = layers.Conv2D(labels, 1, bias_initializer=rare, name=name)(x)
    return scores, layers.Conv2D(4, 1, bias_initializer=side, name="distances")(x)


def _proposing(places: int, regions: int) -> keras.Model:
    """Heat (H, W, 1) and distances (H, W, 4) -> proposals (n, 4): of each region the box that its places agree on."""
    heat = keras.Input((places, places, 1), name="given_heat")
    distances = keras.Input((places, places, 4), name="given_distances")
    y, x = (np.mgrid[0:places, 0:places] + 0.5).astype(np.float32) / places
    centres = np.stack((x, y, x, y), axis=-1)
    outwards = np.array([-1, -1, 1, 1], np.float32) / places
    boxes = ops.relu(distances) * outwards + centres
    weights = ops.softmax(_by_region(heat, places, regions) * _SHARP, axis=2)
    meant = ops.sum(weights * _by_region(boxes, places, regions), axis=2)
    given = ops.stop_gradient(ops.clip(meant, 0.0, 1.0))
    return keras.Model([heat, distances], given, name="proposals")


def _by_region(x: Any, places: int, regions: int) -> Any:
    """(H, W, C) -> (n, places of a region, C), by operations of four axes at most, which every engine has."""
    side, channels = places // regions, int(x.shape[-1])
    rows = ops.reshape(x, (-1, side, regions, side * channels))
    return ops.reshape(ops.transpose(rows, (0, 2, 1, 3)), (-1, regions**2, side**2, channels))


def _sampling(places: int, channels: int, count: int, samples: int) -> keras.Model:
    """Features (H, W, C) and boxes (n, 4) -> (n * samples, samples, C): what lies in each box, one below the other.

    Bilinear by two products with matrices of at most two values a row, since no engine has an operation that cuts boxes
    out of a picture (``CropAndResize`` is none of LiteRT's).
    """
    features = keras.Input((places, places, channels), name="given_features")
    boxes = keras.Input((count, 4), name="given_boxes")
    along = (np.arange(samples, dtype=np.float32) + 0.5) / samples
    everywhere = np.arange(places, dtype=np.float32) + 0.5

    def weights(low: int, times: int) -> Any:
        """Of each sample along an axis how much it takes of each place: 1 less the distance, in places."""
        at = np.zeros((4, samples * times), np.float32)
        at[low], at[low + 2] = np.tile(1.0 - along, times), np.tile(along, times)
        points = ops.reshape(ops.matmul(boxes, at * places), (-1, count * times, samples, 1))
        return ops.relu(1.0 - ops.absolute(points - everywhere))

    down = ops.reshape(weights(1, 1), (-1, count * samples, places))
    rows = ops.matmul(down, ops.reshape(features, (-1, places, places * channels)))
    rows = ops.reshape(rows, (-1, count * samples, places, channels))
    return keras.Model([features, boxes], ops.matmul(weights(0, samples), rows), name="sampled")
