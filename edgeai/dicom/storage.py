"""What the Storage SCP accepts: every storage class whose instances hold pixels, as they are encoded."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from pydicom.uid import UID_dictionary

from edgeai.dicom.syntaxes import SUPPORTED

VERIFICATION: Final = "1.2.840.10008.1.1"

_IMAGE_NAME: Final = re.compile(r"\bImage Storage\b")
_OTHERS_WITH_PIXELS: Final = frozenset(
    {
        "EnhancedUSVolumeStorage",
        "SegmentationStorage",
        "LabelMapSegmentationStorage",
        "HeightMapSegmentationStorage",
        "ParametricMapStorage",
        "RTDoseStorage",
        "OphthalmicThicknessMapStorage",
        "CornealTopographyMapStorage",
        "OphthalmicOpticalCoherenceTomographyBscanVolumeAnalysisStorage",
    }
)
"""Keywords of the storage classes (PS3.4 table B.5-1) that hold pixels without being called an image."""


@cache
def image_classes() -> frozenset[str]:
    """UIDs of the storage classes with pixels, retired ones included: old carts still send them.

    The rule is PS3.6's own naming, as pydicom's UID dictionary carries it: a SOP Class named
    "... Image Storage", and the few others with pixels. New releases of the Standard come with pydicom.
    Reports, plans, waveforms, presentation states, spectra and documents stay out.
    """
    return frozenset(
        uid
        for uid, (name, kind, _, _, keyword) in UID_dictionary.items()
        if kind == "SOP Class" and (_IMAGE_NAME.search(name) or keyword in _OTHERS_WITH_PIXELS)
    )


def transfer_syntaxes() -> frozenset[str]:
    """UIDs of the transfer syntaxes that can be decoded here; nothing else is worth receiving."""
    return frozenset(SUPPORTED)


def accepted_syntax(sop_class_uid: str, proposed: list[str]) -> str | None:
    """The transfer syntax to accept for one proposed presentation context, or ``None`` for none.

    The sender's order is kept: what it names first is what it has, and then nobody transcodes.
    """
    if sop_class_uid == VERIFICATION:
        return next((uid for uid in proposed if SUPPORTED.get(uid) and SUPPORTED[uid].codec == "native"), None)
    if sop_class_uid not in image_classes():
        return None
    return next((uid for uid in proposed if uid in SUPPORTED), None)
