"""Transfer syntaxes (PS3.5 section 10 and annex A): how the header is encoded, and which codec the pixels need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Codec = Literal["native", "fragments", "rle", "jpeg", "jpeg-lossless", "jpeg-ls", "jpeg2000", "htj2k", "none"]

_ROOT = "1.2.840.10008.1.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSyntax:
    """One transfer syntax.

    Attributes:
        codec: ``native``: pixels as they are; ``fragments``: those as well, but a frame a fragment; ``none`` where
            edgeai cannot decode the pixels (video, JPIP).
    """

    uid: str
    codec: Codec
    implicit_vr: bool = False
    big_endian: bool = False
    deflated: bool = False
    lossless: bool = True

    @property
    def uncompressed(self) -> bool:
        """Whether the pixels' bits are stored as they are."""
        return self.codec in ("native", "fragments")


def _table() -> dict[str, TransferSyntax]:
    rows = [
        TransferSyntax(uid=_ROOT, codec="native", implicit_vr=True),
        TransferSyntax(uid=f"{_ROOT}.1", codec="native"),
        TransferSyntax(uid=f"{_ROOT}.1.98", codec="fragments"),
        TransferSyntax(uid=f"{_ROOT}.1.99", codec="native", deflated=True),
        TransferSyntax(uid=f"{_ROOT}.2", codec="native", big_endian=True),
        TransferSyntax(uid=f"{_ROOT}.5", codec="rle"),
        TransferSyntax(uid=f"{_ROOT}.4.50", codec="jpeg", lossless=False),
        TransferSyntax(uid=f"{_ROOT}.4.51", codec="jpeg", lossless=False),
        TransferSyntax(uid=f"{_ROOT}.4.57", codec="jpeg-lossless"),
        TransferSyntax(uid=f"{_ROOT}.4.70", codec="jpeg-lossless"),
        TransferSyntax(uid=f"{_ROOT}.4.80", codec="jpeg-ls"),
        TransferSyntax(uid=f"{_ROOT}.4.81", codec="jpeg-ls", lossless=False),
        TransferSyntax(uid=f"{_ROOT}.4.90", codec="jpeg2000"),
        TransferSyntax(uid=f"{_ROOT}.4.91", codec="jpeg2000", lossless=False),
        TransferSyntax(uid=f"{_ROOT}.4.201", codec="htj2k"),
        TransferSyntax(uid=f"{_ROOT}.4.202", codec="htj2k"),
        TransferSyntax(uid=f"{_ROOT}.4.203", codec="htj2k", lossless=False),
    ]
    return {row.uid: row for row in rows}


SUPPORTED: dict[str, TransferSyntax] = _table()
"""Transfer Syntax UID -> what edgeai decodes."""

_OTHERS = (f"{_ROOT}.4.", f"{_ROOT}.6.", f"{_ROOT}.7.", f"{_ROOT}.8.")
"""Video, JPIP and further codecs; MIME and XML; SMPTE; frames that are deflated one by one."""
_DEFLATED = (f"{_ROOT}.4.95", f"{_ROOT}.4.205")


def transfer_syntax(uid: str) -> TransferSyntax | None:
    """The syntax of this UID; ``None`` for one whose header encoding is unknown.

    Every syntax of the Standard that is not in ``SUPPORTED`` encodes its header as Explicit VR Little
    Endian (PS3.5 A.4), deflated or not, so its header can be read although its pixels cannot.
    """
    known = SUPPORTED.get(uid)
    if known is None and uid.startswith(_OTHERS):
        return TransferSyntax(uid=uid, codec="none", lossless=False, deflated=uid in _DEFLATED)
    return known
