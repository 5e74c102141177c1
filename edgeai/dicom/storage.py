"""What the Storage SCP accepts: every storage class whose instances hold pixels, as they are encoded."""

from __future__ import annotations

from functools import cache
from typing import Final

from pydicom._uid_dict import UID_dictionary
from pynetdicom import sop_class

from edgeai.dicom.syntaxes import SUPPORTED

VERIFICATION: Final = "1.2.840.10008.1.1"

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1"
_OTHERS_WITH_PIXELS: Final = frozenset(
    {
        f"{_STORAGE}.6.2",  # Enhanced US Volume
        f"{_STORAGE}.30",  # Parametric Map
        f"{_STORAGE}.66.4",  # Segmentation
        f"{_STORAGE}.66.7",  # Label Map Segmentation
        f"{_STORAGE}.66.8",  # Height Map Segmentation
        f"{_STORAGE}.77.1.5.8",  # Ophthalmic OCT B-scan Volume Analysis
        f"{_STORAGE}.81.1",  # Ophthalmic Thickness Map
        f"{_STORAGE}.82.1",  # Corneal Topography Map
        f"{_STORAGE}.481.2",  # RT Dose
    }
)
"""Storage classes (PS3.4 table B.5-1) that hold pixels without being called an image."""


@cache
def image_classes() -> frozenset[str]:
    """UIDs of the storage classes with pixels, retired ones included: old carts still send them.

    The rule is the Standard's own naming (PS3.6): a SOP Class called "... Image Storage ...", and the few
    others with pixels. pydicom's dictionary has the retired ones, pynetdicom's list the newest; updates of
    either bring new classes. Reports, plans, waveforms, presentation states, spectra and documents stay out.
    """
    named = {uid: keyword for uid, (_, kind, _, _, keyword) in UID_dictionary.items() if kind == "SOP Class"}
    named |= {str(uid): name for name, uid in vars(sop_class).items() if isinstance(uid, sop_class.SOPClass)}
    images = {uid for uid, name in named.items() if "ImageStorage" in name and uid.startswith(f"{_STORAGE}.")}
    return frozenset(images | _OTHERS_WITH_PIXELS)


def accepted_syntax(sop_class_uid: str, proposed: list[str]) -> str | None:
    """The transfer syntax to accept for one proposed presentation context, or ``None`` for none.

    The sender's order is kept: what it names first is what it has, and then nobody transcodes.
    """
    if sop_class_uid == VERIFICATION:
        return next((uid for uid in proposed if uid in SUPPORTED and SUPPORTED[uid].codec == "native"), None)
    if sop_class_uid not in image_classes():
        return None
    return next((uid for uid in proposed if uid in SUPPORTED), None)
