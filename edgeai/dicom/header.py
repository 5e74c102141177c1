"""A file's header, read in bounds: which instance it is, what calibrates it, and how its pixels lie.

Values are read straight out of the walked bytes (see ``walk``): pydicom's reader neither notices a
header that is cut short nor survives deep nesting, and converting a whole data set takes longer than
everything else done here. No patient attribute is copied, or even decoded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from edgeai.api.errors import DicomRejected
from edgeai.api.imaging import Geometry, Grayscale
from edgeai.api.instances import InstanceRef
from edgeai.api.results import Note
from edgeai.dicom import doubles
from edgeai.dicom.attributes import WANTED, Attributes
from edgeai.dicom.encoding import BIG, LITTLE, LONG_VRS, PIXEL_DATA_TAGS, SHORT_VRS, UNDEFINED, Element
from edgeai.dicom.functional_groups import calibrations
from edgeai.dicom.layout import PixelLayout
from edgeai.dicom.limits import HeaderLimits
from edgeai.dicom.notes import REPAIRED, Notes
from edgeai.dicom.pixel_module import instance_of, layout_of
from edgeai.dicom.prefix import Inflater, Prefix
from edgeai.dicom.syntaxes import TransferSyntax, transfer_syntax
from edgeai.dicom.walk import Walker
from edgeai.dicom.walkstate import structure

_PREAMBLE_BYTES: Final = 132
_NEAR_BYTES: Final = 1024 * 1024
_META_GROUP: Final = 0x0002
_TRANSFER_SYNTAX: Final = 0x0010
_TRAILING_PADDING: Final = 0xFFFCFFFC
_DEFAULT_LIMITS: Final = HeaderLimits()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Header:
    """All that edgeai takes from a file before its pixels.

    Attributes:
        per_frame: (geometry, grayscale) of each frame, where functional groups make them differ.
        pixels: ``None`` when the instance has no Pixel Data (a plan, a report).
        notes: what the header says amiss and what became of it, in the order in which it was found.
    """

    instance: InstanceRef
    geometry: Geometry
    grayscale: Grayscale
    pixels: PixelLayout | None
    per_frame: Sequence[tuple[Geometry, Grayscale]] = ()
    notes: tuple[Note, ...] = ()

    def of_frame(self, number: int) -> tuple[Geometry, Grayscale]:
        """Geometry and Grayscale of the frame with this number, from 1."""
        return self.per_frame[number - 1] if self.per_frame else (self.geometry, self.grayscale)


def read_header(path: str | os.PathLike[str], *, limits: HeaderLimits = _DEFAULT_LIMITS) -> Header:
    """Read what precedes the pixels of a DICOM file (PS3.10), and nothing more.

    Only what identifies the instance and locates its pixels is refused. All else that makes no sense is noted, and
    fails where a step or a task uses it.

    Raises:
        DicomRejected: the file is not DICOM, cut short, nested too deep, too long before its pixels, or
            says what cannot be; the code says which (``docs/reference/errors.md``).
        OSError: the file cannot be opened or read.
    """
    notes = Notes()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - making a path takes as long as walking a header
        size = os.fstat(file.fileno()).st_size
        head = Prefix(file, limits.max_header_bytes)
        meta_end, syntax = _file_meta(head, size, limits, notes)
        prefix = _inflated(file, meta_end, limits) if syntax.deflated else head.behind(meta_end)
        length = None if syntax.deflated else size - meta_end
        walker = Walker(prefix, big_endian=syntax.big_endian, limits=limits, size=length)
        implicit = is_implicit(prefix, syntax)
        if implicit is not syntax.implicit_vr:
            word = "implicit" if implicit else "explicit"
            notes.add(REPAIRED, f"the data set is in {word} VR, and its transfer syntax says otherwise; it was read")
        elements, pixel_data = walker.elements(0, implicit=implicit, wanted=WANTED, stop=PIXEL_DATA_TAGS)
        dataset = Attributes(prefix, walker, elements, syntax.big_endian, notes)
        doubles.settle(dataset)
        if pixel_data is not None and length is not None and pixel_data.length != UNDEFINED:
            _check_end(file, meta_end, size, dataset, pixel_data, implicit=implicit, limits=limits)
        _note_walk(dataset)
        dataset.note_vrs().note_character_set()
        return _header(dataset, syntax, pixel_data, meta_end, size)


def data_set_start(path: str | os.PathLike[str], *, limits: HeaderLimits = _DEFAULT_LIMITS) -> tuple[int, str]:
    """Where the data set of a DICOM file begins, and its transfer syntax UID. Raises as ``read_header``."""
    with Path(path).open("rb") as file:
        prefix = Prefix(file, limits.max_header_bytes)
        start, syntax = _file_meta(prefix, os.fstat(file.fileno()).st_size, limits, Notes())
    return start, syntax.uid


def _inflated(file: BinaryIO, start: int, limits: HeaderLimits) -> Prefix:
    file.seek(start)
    return Prefix(Inflater(file), limits.max_header_bytes)


def _file_meta(prefix: Prefix, size: int, limits: HeaderLimits, notes: Notes) -> tuple[int, TransferSyntax]:
    """Where the data set begins, and how it is encoded (PS3.10 section 7.1)."""
    start = bytes(prefix.data[:_PREAMBLE_BYTES])
    if start[128:] != b"DICM":
        raise _no_preamble(start)
    walker = Walker(prefix, big_endian=False, limits=limits, size=size)
    implicit = _is_meta_implicit(prefix)
    if implicit:
        notes.add(REPAIRED, "File Meta Information is in implicit VR, which it must not be; it was read")
    elements, after = walker.elements(_PREAMBLE_BYTES, implicit=implicit, wanted=WANTED, stop=_NotFileMeta())
    attributes = Attributes(prefix, walker, elements, False, notes)
    doubles.settle(attributes)
    _note_walk(attributes)
    uid = attributes.uid("TransferSyntaxUID", identity=True)
    if after is None:
        raise DicomRejected("the file ends after its File Meta Information", code="dicom.truncated")
    if not uid:
        raise DicomRejected("File Meta Information names no Transfer Syntax", code="dicom.no-transfer-syntax")
    syntax = transfer_syntax(uid)
    if syntax is None:
        raise DicomRejected(
            f"transfer syntax {uid} is unknown, so the file cannot be read",
            code="dicom.unknown-transfer-syntax",
            remedy="have the sender propose a transfer syntax of the Standard",
        )
    return _header_start(after), syntax


class _NotFileMeta:
    """Every tag outside group 0002."""

    def __contains__(self, tag: object) -> bool:
        return isinstance(tag, int) and tag >> 16 != 0x0002


def _header_start(element: Element) -> int:
    """Offset of an element's own header. File Meta is walked as explicit VR, but what follows may not be."""
    return element.start - (12 if element.vr.encode() in LONG_VRS else 8)


def _no_preamble(start: bytes) -> DicomRejected:
    if start[:2] in (b"\x02\0", b"\x08\0") and start[3:4] == b"\0":
        return DicomRejected(
            "the file begins with data elements but has no File Meta Information, so its encoding is not known",
            code="dicom.no-file-meta",
            remedy="send it by C-STORE, or save it again as a DICOM file (PS3.10)",
        )
    what = "is empty" if not start else "does not begin as a DICOM file does (128 bytes, then 'DICM')"
    remedy = "check that the right file is sent: a DICOM file (PS3.10); other image formats are not read"
    return DicomRejected(f"the file {what}", code="dicom.not-dicom", remedy=remedy)


def is_implicit(prefix: Prefix, syntax: TransferSyntax) -> bool:
    """Whether elements carry no VR. Some writers name the wrong syntax; the bytes decide, as in pydicom.

    Raises:
        DicomRejected: ``dicom.structure``, the bytes are in the other order.
    """
    if not prefix.has(8):
        return syntax.implicit_vr
    data = prefix.data
    low, high = (data[1], data[0]) if syntax.big_endian else (data[0], data[1])
    if high and not low:  # a data set begins with a group below 256
        raise structure("its bytes are in another order than the transfer syntax says")
    vr = bytes(data[4:6])
    if syntax.big_endian or vr in SHORT_VRS or vr in LONG_VRS:
        return False
    if syntax.implicit_vr:
        return True
    # Either no VR at all, or one that does not exist: the second element tells.
    second = 8 + int.from_bytes(data[4:8], "little")
    if second > _NEAR_BYTES or not prefix.has(second + 6):
        return False
    vr = bytes(prefix.data[second + 4 : second + 6])
    return vr not in SHORT_VRS and vr not in LONG_VRS


def _is_meta_implicit(prefix: Prefix) -> bool:
    """Whether File Meta Information carries no VR, as it must (PS3.10 7.1): pydicom and DCMTK read that too."""
    first = _PREAMBLE_BYTES
    if not prefix.has(first + 8):
        return False
    group, number, vr, _ = LITTLE.tag_vr_length.unpack_from(prefix.data, first)
    if group != _META_GROUP or vr in SHORT_VRS or vr in LONG_VRS:
        return False
    (length,) = LITTLE.long.unpack_from(prefix.data, first + 4)
    second = first + 8 + length
    if length > _NEAR_BYTES or not prefix.has(second + 8):
        return False
    if LITTLE.tag.unpack_from(prefix.data, second)[0] == _META_GROUP:
        return True
    value = bytes(prefix.data[first + 8 : second])
    return number == _TRANSFER_SYNTAX and transfer_syntax(value.rstrip(b"\0 ").decode("latin-1")) is not None


def _check_end(
    file: BinaryIO,
    meta_end: int,
    size: int,
    dataset: Attributes,
    pixels: Element,
    *,
    implicit: bool,
    limits: HeaderLimits,
) -> None:
    """Hold what follows native Pixel Data against it and against the header.

    After something that did not hold together, whatever follows has to, for these to be the pixels for certain.

    Raises:
        DicomRejected: ``dicom.structure``.
    """
    end = meta_end + pixels.start + pixels.length
    if end + 8 > size:
        return
    file.seek(end)
    after = file.read(12)
    if not any(after):
        return
    order = BIG if dataset.big_endian else LITTLE
    group, number = order.tag.unpack(after[:4])
    tag = group << 16 | number
    if tag == _TRAILING_PADDING and len(after) == len(b"ttttvv__llll"):
        (length,) = order.long.unpack(after[4:8] if implicit else after[8:])
        if end + len(after) + length >= size:
            return
    oddities = dataset.walker.oddities
    sound = tag >= min(PIXEL_DATA_TAGS) and (implicit or after[4:6] in SHORT_VRS or after[4:6] in LONG_VRS)
    if oddities and not sound:
        raise structure(oddities[0])
    doubles.check_after(file, end, size, dataset, pixels, implicit=implicit, limits=limits)


def _note_walk(attributes: Attributes) -> None:
    """What did not fit, what is odd, and what stands twice."""
    walker, notes = attributes.walker, attributes.notes
    for oddity in walker.oddities:
        notes.add(REPAIRED, f"the header does not hold together, and was read all the same: {oddity}")
    for remark in walker.remarks:
        notes.add(REPAIRED, remark)
    doubles.note(attributes)


def _header(
    dataset: Attributes, syntax: TransferSyntax, pixel_data: Element | None, meta_end: int, size: int
) -> Header:
    instance = instance_of(dataset, syntax, pixel_data)
    layout = None if pixel_data is None else layout_of(dataset, instance, syntax, pixel_data, meta_end, size)
    whole, each = calibrations(
        dataset,
        instance.rows,
        instance.columns,
        instance.number_of_frames,
        stored=(0, 0xFFFF) if layout is None else layout.stored_range,
    )
    _note_walk(dataset)  # once more, for those in sequences
    return Header(
        instance=instance,
        geometry=whole[0],
        grayscale=whole[1],
        pixels=layout,
        per_frame=each,
        notes=dataset.notes.all,
    )
