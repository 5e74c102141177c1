"""Keras on TensorFlow, imported once, quietly. Importing this imports both: some five seconds."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Operations side by side end in another order each time, and on large planes gradients then differ in their last bits,
# TensorFlow's deterministic operations or not. Threads within an operation are many as before.
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras
import tensorflow as tf

from edgeai.api import CompressionFailed

__all__ = ["keras", "tf"]

if keras.backend.backend() != "tensorflow":
    raise CompressionFailed(
        f"Keras runs on {keras.backend.backend()} here",
        code="compress.engine-missing",
        remedy="set KERAS_BACKEND=tensorflow",
    )
