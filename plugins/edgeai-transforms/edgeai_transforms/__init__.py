"""Preprocessing steps for edgeai: grey levels, cropping, resampling, contrast, denoising and colour.

Registering imports no OpenCV; building a step does.
"""

from __future__ import annotations

from edgeai.api import TransformSpec, hookimpl

EDGEAI_API = (1, 3)


@hookimpl
def edgeai_transforms() -> tuple[TransformSpec, ...]:
    """All steps of this plugin."""
    from edgeai_transforms.specs import SPECS

    return SPECS
