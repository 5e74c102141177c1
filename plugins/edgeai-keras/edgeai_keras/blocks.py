"""What the networks to begin with are made of."""

from __future__ import annotations

from typing import Any

from keras import layers


def convolved(
    x: Any,
    count: int,
    name: str,
    *,
    kernel: int = 3,
    strides: int = 1,
    padding: str = "same",
    batch_norm: bool = False,
    separable: bool = False,
) -> Any:
    """Convolution, batch norm where wanted, ReLU."""
    if separable:
        x = layers.DepthwiseConv2D(kernel, strides=strides, padding=padding, use_bias=False, name=f"{name}_depth")(x)
        x = layers.BatchNormalization(name=f"{name}_depth_norm")(x)
        x = layers.ReLU(name=f"{name}_depth_relu")(x)
        kernel, strides = 1, 1
    x = layers.Conv2D(count, kernel, strides=strides, padding=padding, use_bias=not batch_norm, name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x) if batch_norm else x
    return layers.ReLU(name=f"{name}_relu")(x)


def doubled(first: int, levels: int, most: int) -> list[int]:
    """``levels`` counts from ``first`` on, each twice the one before, up to ``most`` where that is not 0."""
    counts = [first * 2**level for level in range(levels)]
    return [min(count, most) for count in counts] if most else counts
