"""Keras on TensorFlow, imported once, quietly. Importing this imports both: some five seconds."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

from edgeai.api import CompressionFailed

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Operations side by side end in another order each time, and on large planes gradients then differ in their last bits,
# TensorFlow's deterministic operations or not. Threads within an operation are many as before.
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

# What Keras imports where it is installed, for wrappers and drawings that nothing here uses: a quarter of its time.
_HIDDEN = [name for name in ("sklearn", "matplotlib", "cv2", "pandas") if name not in sys.modules]
_modules: dict[str, Any] = sys.modules
_modules.update(dict.fromkeys(_HIDDEN))  # None is how Python says "not importable"
_collects = gc.isenabled()
gc.disable()  # of what is imported nothing is let go: to look for it takes a fifth of the time
try:
    import keras
    import tensorflow as tf
finally:
    for name in _HIDDEN:
        del _modules[name]
    if _collects:
        gc.enable()

__all__ = ["keras", "tf"]

if keras.backend.backend() != "tensorflow":
    raise CompressionFailed(
        f"Keras runs on {keras.backend.backend()} here",
        code="compress.engine-missing",
        remedy="set KERAS_BACKEND=tensorflow",
    )
