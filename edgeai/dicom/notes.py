"""What is amiss in a header and did not stop it from being read: each once, in the order in which it was found."""

from __future__ import annotations

from typing import Final

from edgeai.api.errors import DicomRejected
from edgeai.api.results import Note

IGNORED: Final = "dicom.ignored-value"
DOUBTFUL: Final = "dicom.doubtful"
TOO_LONG: Final = "dicom.too-long"
ODD_CHARACTERS: Final = "dicom.odd-characters"
OTHER_VR: Final = "dicom.other-vr"
MISSING: Final = "dicom.missing"
DOUBLED: Final = "dicom.doubled"
REPAIRED: Final = "dicom.repaired"
DETECTOR_PLANE: Final = "dicom.detector-plane"
OTHER_DECODER: Final = "pixels.other-decoder"
_MOST: Final = 100


class BadValue(DicomRejected):
    """``dicom.bad-value``, about one attribute. ``plain`` says the same without quoting what stands in the file."""

    plain: str = ""


class Notes:
    """Notes of one header. A text is never patient data, and never a value: attributes are named, not quoted."""

    def __init__(self) -> None:
        self._notes: dict[Note, None] = {}

    def add(self, code: str, text: str) -> Note:
        """Keep this once, however often it is said (functional groups repeat themselves a frame)."""
        note = Note(code=code, text=text)
        if len(self._notes) < _MOST:
            self._notes.setdefault(note)
        return note

    def ignored(self, error: DicomRejected) -> Note:
        """What could not be used, and was left out."""
        plain = error.plain if isinstance(error, BadValue) else ""
        return self.add(IGNORED, f"{plain or error}; it was not used")

    @property
    def all(self) -> tuple[Note, ...]:
        """All of them, as they were found."""
        return tuple(self._notes)
