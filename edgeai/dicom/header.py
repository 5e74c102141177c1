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
from typing import BinaryIO

from edgeai.api.errors import DicomRejected
from edgeai.api.imaging import Geometry, Grayscale, InstanceRef
from edgeai.api.tensors import Array
from edgeai.dicom import calibration
from edgeai.dicom.attributes import WANTED, Attributes
from edgeai.dicom.layout import Palette, PixelLayout
from edgeai.dicom.limits import HeaderLimits
from edgeai.dicom.prefix import Inflater, Prefix, Reader
from edgeai.dicom.syntaxes import TransferSyntax, transfer_syntax
from edgeai.dicom.walk import PIXEL_DATA_TAGS, UNDEFINED, Element, Walker

_PREAMBLE_BYTES = 132
_DEFAULT_LIMITS = HeaderLimits()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Header:
    """All that edgeai takes from a file before its pixels.

    Attributes:
        per_frame: (geometry, grayscale) of each frame, where functional groups make them differ.
        pixels: ``None`` when the instance has no Pixel Data (a plan, a report).
    """

    instance: InstanceRef
    geometry: Geometry
    grayscale: Grayscale
    pixels: PixelLayout | None
    per_frame: Sequence[tuple[Geometry, Grayscale]] = ()

    def of_frame(self, number: int) -> tuple[Geometry, Grayscale]:
        """Geometry and Grayscale of the frame with this number, from 1."""
        return self.per_frame[number - 1] if self.per_frame else (self.geometry, self.grayscale)


def read_header(path: str | os.PathLike[str], *, limits: HeaderLimits = _DEFAULT_LIMITS) -> Header:
    """Read what precedes the pixels of a DICOM file (PS3.10), and nothing more.

    Raises:
        DicomRejected: the file is not DICOM, cut short, nested too deep, too long before its pixels, or
            says what cannot be; the code says which (``docs/reference/errors.md``).
        OSError: the file cannot be opened or read.
    """
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        meta_end, syntax = _file_meta(file, limits)
        file.seek(meta_end)
        reader: Reader = Inflater(file) if syntax.deflated else file
        prefix = Prefix(reader, limits.max_header_bytes)
        walker = Walker(prefix, big_endian=syntax.big_endian, limits=limits)
        implicit = _is_implicit(prefix, syntax)
        found, pixel_data = walker.elements(0, None, implicit=implicit, wanted=WANTED, stop=PIXEL_DATA_TAGS)
    dataset = Attributes(prefix, walker, found, syntax.big_endian)
    return _header(dataset, syntax, pixel_data, meta_end, size)


def _file_meta(file: BinaryIO, limits: HeaderLimits) -> tuple[int, TransferSyntax]:
    """Where the data set begins, and how it is encoded (PS3.10 section 7.1)."""
    prefix = Prefix(file, limits.max_header_bytes)
    start = bytes(prefix.data[:_PREAMBLE_BYTES])
    if start[128:] != b"DICM":
        raise _no_preamble(start)
    walker = Walker(prefix, big_endian=False, limits=limits)
    found, after = walker.elements(_PREAMBLE_BYTES, None, implicit=False, wanted=WANTED, stop=_NotFileMeta())
    attributes = Attributes(prefix, walker, found, big_endian=False)
    uid = attributes.uid("TransferSyntaxUID")
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
    long = not element.implicit and element.vr in (
        "OB",
        "OD",
        "OF",
        "OL",
        "OV",
        "OW",
        "SQ",
        "SV",
        "UC",
        "UN",
        "UR",
        "UT",
        "UV",
    )
    return element.start - (12 if long else 8)


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
    """Whether the first element carries a VR. Some writers name the wrong syntax; the bytes decide, as in pydicom."""
    if not prefix.has(8) or syntax.big_endian:
        return syntax.implicit_vr
    vr = bytes(prefix.data[4:6])
    return not (vr.isalpha() and vr.isupper())


def _header(
    dataset: Attributes, syntax: TransferSyntax, pixel_data: Element | None, meta_end: int, size: int
) -> Header:
    instance = _instance(dataset, syntax)
    signed = dataset.integer("PixelRepresentation", 0) == 1
    shared = next(dataset.items("SharedFunctionalGroupsSequence"), None)
    rows, columns = instance.rows, instance.columns
    return Header(
        instance=instance,
        geometry=calibration.geometry(dataset, rows, columns, shared),
        grayscale=calibration.grayscale(dataset, signed=signed, group=shared),
        pixels=None if pixel_data is None else _layout(dataset, instance, syntax, pixel_data, meta_end, size),
        per_frame=_per_frame(dataset, instance, shared, signed),
    )


def _instance(dataset: Attributes, syntax: TransferSyntax) -> InstanceRef:
    uids = {keyword: dataset.uid(keyword) for keyword in ("SOPClassUID", "SOPInstanceUID")}
    for keyword, uid in uids.items():
        if not uid:
            code = "dicom.no-sop-instance-uid" if keyword == "SOPInstanceUID" else "dicom.no-sop-class-uid"
            raise DicomRejected(f"the data set has no {keyword}", code=code)
    return InstanceRef(
        sop_class_uid=uids["SOPClassUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        series_instance_uid=dataset.uid("SeriesInstanceUID"),
        study_instance_uid=dataset.uid("StudyInstanceUID"),
        modality=dataset.text("Modality"),
        transfer_syntax_uid=syntax.uid,
        rows=dataset.integer("Rows", 0),
        columns=dataset.integer("Columns", 0),
        number_of_frames=dataset.integer("NumberOfFrames", 1),
        samples_per_pixel=dataset.integer("SamplesPerPixel", 1),
        photometric_interpretation=dataset.text("PhotometricInterpretation"),
        bits_stored=dataset.integer("BitsStored", 0),
        body_part_examined=dataset.text("BodyPartExamined"),
        view_position=dataset.text("ViewPosition"),
        manufacturer=dataset.long_text("Manufacturer"),
        manufacturer_model_name=dataset.long_text("ManufacturerModelName"),
    )


def _layout(
    dataset: Attributes, instance: InstanceRef, syntax: TransferSyntax, element: Element, meta_end: int, size: int
) -> PixelLayout:
    allocated = dataset.integer("BitsAllocated", 0)
    # Float Pixel Data has no Bits Stored, High Bit or Pixel Representation (PS3.3 C.7.6.24).
    stored = instance.bits_stored if element.tag == 0x7FE00010 else allocated
    return PixelLayout(
        syntax=syntax,
        tag=element.tag,
        offset=element.start + (0 if syntax.deflated else meta_end),
        value_bytes=None if element.length == UNDEFINED else element.length,
        file_bytes=size,
        rows=instance.rows,
        columns=instance.columns,
        frames=instance.number_of_frames,
        samples=instance.samples_per_pixel,
        photometric_interpretation=instance.photometric_interpretation,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=dataset.integer("HighBit", stored - 1),
        signed=dataset.integer("PixelRepresentation", 0) == 1,
        planar=dataset.integer("PlanarConfiguration", 0),
        swapped_words=syntax.big_endian and element.vr == "OW" and allocated <= 8,
        deflated_from=meta_end,
        palette=_palette(dataset) if instance.photometric_interpretation == "PALETTE COLOR" else None,
        extended_offsets=_extended_offsets(dataset),
    )


def _palette(dataset: Attributes) -> Palette | None:
    signed = dataset.integer("PixelRepresentation", 0) == 1
    colours = ("Red", "Green", "Blue")
    if any(f"{colour}PaletteColorLookupTableDescriptor" not in dataset for colour in colours):
        return None
    descriptors = tuple(
        calibration.descriptor(dataset, f"{colour}PaletteColorLookupTableDescriptor", signed) for colour in colours
    )
    segmented = "SegmentedRedPaletteColorLookupTableData" in dataset
    if segmented:
        data = tuple(dataset.words(f"Segmented{colour}PaletteColorLookupTableData", "u2") for colour in colours)
    else:
        data = tuple(
            calibration.table(dataset, f"{colour}PaletteColorLookupTableData", entries, bits)
            for colour, (entries, _, bits) in zip(colours, descriptors, strict=True)
        )
    return Palette(descriptors=descriptors, data=data, segmented=segmented)


def _extended_offsets(dataset: Attributes) -> tuple[Array, Array] | None:
    offsets = dataset.words("ExtendedOffsetTable", "u8")
    return (offsets, dataset.words("ExtendedOffsetTableLengths", "u8")) if offsets.size else None


def _per_frame(
    dataset: Attributes, instance: InstanceRef, shared: Attributes | None, signed: bool
) -> tuple[tuple[Geometry, Grayscale], ...]:
    """What Per-Frame Functional Groups (PS3.3 C.7.6.16) say, where they say anything of use here."""
    macros = ("PixelMeasuresSequence", "PixelValueTransformationSequence", "FrameVOILUTSequence")
    groups = list(dataset.items("PerFrameFunctionalGroupsSequence"))
    if not any(macro in group for group in groups for macro in macros):
        return ()
    if len(groups) != instance.number_of_frames:
        raise DicomRejected(
            f"{len(groups)} per-frame functional groups for {instance.number_of_frames} frames", code="dicom.bad-value"
        )
    frames = []
    for group in groups:
        merged = (
            group
            if shared is None
            else Attributes(group.prefix, group.walker, {**shared.found, **group.found}, group.big_endian)
        )
        frames.append(
            (
                calibration.geometry(dataset, instance.rows, instance.columns, merged),
                calibration.grayscale(dataset, signed=signed, group=merged),
            )
        )
    return tuple(frames)
