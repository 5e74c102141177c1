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
from edgeai.api.imaging import Geometry, Grayscale, InstanceRef
from edgeai.api.results import Note
from edgeai.dicom.attributes import TAGS, WANTED, Attributes, label
from edgeai.dicom.encoding import BIG, LITTLE, LONG_VRS, PIXEL_DATA_TAGS, SHORT_VRS, UNDEFINED, Element
from edgeai.dicom.functional_groups import calibrations
from edgeai.dicom.layout import PixelLayout
from edgeai.dicom.limits import HeaderLimits
from edgeai.dicom.notes import DOUBLED, REPAIRED, Notes
from edgeai.dicom.pixel_module import instance_of, layout_of
from edgeai.dicom.prefix import Inflater, Prefix, Reader
from edgeai.dicom.syntaxes import TransferSyntax, transfer_syntax
from edgeai.dicom.walk import Walker, structure

_PREAMBLE_BYTES: Final = 132
_NEAR_BYTES: Final = 1024 * 1024
_DEFAULT_LIMITS: Final = HeaderLimits()
_ONE_OF_A_KIND: Final = frozenset(
    TAGS[keyword][0]
    for keyword in (
        "TransferSyntaxUID",
        "SOPClassUID",
        "SOPInstanceUID",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
    )
)
"""Of two different ones nobody can tell which instance it is, or where its pixels lie."""


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
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        meta_end, syntax = _file_meta(file, size, limits, notes)
        file.seek(meta_end)
        reader: Reader = Inflater(file) if syntax.deflated else file
        prefix = Prefix(reader, limits.max_header_bytes)
        length = None if syntax.deflated else size - meta_end
        walker = Walker(prefix, big_endian=syntax.big_endian, limits=limits, size=length)
        implicit = _is_implicit(prefix, syntax)
        found, pixel_data = walker.elements(0, implicit=implicit, wanted=WANTED, stop=PIXEL_DATA_TAGS)
        if pixel_data is not None and length is not None and pixel_data.length != UNDEFINED:
            _check_end(file, meta_end + pixel_data.start + pixel_data.length, size, syntax, walker.oddities)
        dataset = Attributes(prefix, walker, found, syntax.big_endian, notes)
        _note_walk(dataset)
        return _header(dataset, syntax, pixel_data, meta_end, size)


def data_set_start(path: str | os.PathLike[str], *, limits: HeaderLimits = _DEFAULT_LIMITS) -> tuple[int, str]:
    """Where the data set of a DICOM file begins, and its transfer syntax UID. Raises as ``read_header``."""
    with Path(path).open("rb") as file:
        start, syntax = _file_meta(file, os.fstat(file.fileno()).st_size, limits, Notes())
    return start, syntax.uid


def _file_meta(file: BinaryIO, size: int, limits: HeaderLimits, notes: Notes) -> tuple[int, TransferSyntax]:
    """Where the data set begins, and how it is encoded (PS3.10 section 7.1)."""
    prefix = Prefix(file, limits.max_header_bytes)
    start = bytes(prefix.data[:_PREAMBLE_BYTES])
    if start[128:] != b"DICM":
        raise _no_preamble(start)
    walker = Walker(prefix, big_endian=False, limits=limits, size=size)
    found, after = walker.elements(_PREAMBLE_BYTES, implicit=False, wanted=WANTED, stop=_NotFileMeta())
    attributes = Attributes(prefix, walker, found, False, notes)
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
    return DicomRejected(f"the file {what}", code="dicom.not-dicom")


def _is_implicit(prefix: Prefix, syntax: TransferSyntax) -> bool:
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


def _check_end(file: BinaryIO, end: int, size: int, syntax: TransferSyntax, oddities: list[str]) -> None:
    """Hold what follows native Pixel Data against it: of two such elements DCMTK takes the first and pydicom the last.

    After something that did not hold together, whatever follows has to, for these to be the pixels for certain.

    Raises:
        DicomRejected: ``dicom.structure``.
    """
    if end + 8 > size:
        return
    file.seek(end)
    after = file.read(8)
    group, number = (BIG if syntax.big_endian else LITTLE).tag.unpack(after[:4])
    tag = group << 16 | number
    if tag in PIXEL_DATA_TAGS:
        raise structure("Pixel Data (7fe0,0010) appears twice")
    sound = tag > max(PIXEL_DATA_TAGS) and (syntax.implicit_vr or after[4:6] in SHORT_VRS or after[4:6] in LONG_VRS)
    if oddities and any(after) and not sound:
        raise structure(oddities[0])


def _note_walk(attributes: Attributes) -> None:
    """What did not fit and what stands twice. The first counts, unless the instance or its pixels hang on it.

    Raises:
        DicomRejected: ``dicom.structure``.
    """
    data = attributes.prefix.data
    for first, second in attributes.walker.doubled:
        values = [bytes(data[one.start : one.start + one.length]).rstrip(b"\0 ") for one in (first, second)]
        if first.tag in _ONE_OF_A_KIND and values[0] != values[1]:
            raise structure(f"{label(first.tag)} appears twice, with different values")
    _note_oddities(attributes)


def _note_oddities(attributes: Attributes) -> None:
    walker, notes = attributes.walker, attributes.notes
    for oddity in walker.oddities:
        notes.add(REPAIRED, f"the header does not hold together, and was read all the same: {oddity}")
    for first, _ in walker.doubled:
        notes.add(DOUBLED, f"{label(first.tag)} appears twice; the first was used")


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
    _note_oddities(dataset)  # once more, for those in sequences
    return Header(
        instance=instance,
        geometry=whole[0],
        grayscale=whole[1],
        pixels=layout,
        per_frame=each,
        notes=dataset.notes.all,
    )
