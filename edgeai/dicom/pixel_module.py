"""Which instance a data set is and how its pixels lie (PS3.3 C.12.1, C.7.6.3): the attributes that have to be right."""

from __future__ import annotations

from typing import Final

from edgeai.api.errors import DicomRejected
from edgeai.api.instances import InstanceRef
from edgeai.api.tensors import Array
from edgeai.dicom import grayscale
from edgeai.dicom.attributes import TAGS, Attributes, bad, label
from edgeai.dicom.encoding import UNDEFINED, Element
from edgeai.dicom.layout import Palette, PixelLayout
from edgeai.dicom.notes import DOUBTFUL, MISSING, REPAIRED
from edgeai.dicom.syntaxes import TransferSyntax

_INTEGERS: Final = 0x7FE00010
_COLOURS: Final = ("Red", "Green", "Blue")
_BYTE_BITS: Final = 8
_BYTE: Final = 0xFF


def instance_of(dataset: Attributes, syntax: TransferSyntax, pixel_data: Element | None) -> InstanceRef:
    """The identity, and what eligibility asks for.

    Raises:
        DicomRejected: ``dicom.no-sop-class-uid``, ``dicom.no-sop-instance-uid``, ``dicom.bad-value``.
    """
    uids = {keyword: dataset.uid(keyword, identity=True) for keyword in ("SOPClassUID", "SOPInstanceUID")}
    for keyword, uid in uids.items():
        if not uid:
            code = "dicom.no-sop-instance-uid" if keyword == "SOPInstanceUID" else "dicom.no-sop-class-uid"
            raise DicomRejected(f"the data set has no {keyword}", code=code)
    has_bits = pixel_data is None or pixel_data.tag == _INTEGERS
    return InstanceRef(
        sop_class_uid=uids["SOPClassUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        series_instance_uid=dataset.uid("SeriesInstanceUID", identity=False),
        study_instance_uid=dataset.uid("StudyInstanceUID", identity=False),
        modality=dataset.code("Modality"),
        transfer_syntax_uid=syntax.uid,
        rows=dataset.integer("Rows", 0),
        columns=dataset.integer("Columns", 0),
        number_of_frames=_frames(dataset, syntax, pixel_data),
        samples_per_pixel=dataset.integer("SamplesPerPixel", 1),
        photometric_interpretation=dataset.code("PhotometricInterpretation").upper(),
        bits_stored=dataset.integer("BitsStored", 0) if has_bits else 0,
        body_part_examined=dataset.code("BodyPartExamined"),
        view_position=dataset.code("ViewPosition"),
        manufacturer=dataset.long_text("Manufacturer"),
        manufacturer_model_name=dataset.long_text("ManufacturerModelName"),
    )


def _frames(dataset: Attributes, syntax: TransferSyntax, pixel_data: Element | None) -> int:
    """Number of Frames. Where it is no number and the pixels are just those of one frame, it is one."""
    try:
        return dataset.integer("NumberOfFrames", 1)
    except DicomRejected as error:
        if pixel_data is None or syntax.codec != "native" or pixel_data.tag != _INTEGERS:
            raise
        subsampled = dataset.code("PhotometricInterpretation").upper() == "YBR_FULL_422"
        samples = 2 if subsampled else dataset.integer("SamplesPerPixel", 1)
        pixels = dataset.integer("Rows", 0) * dataset.integer("Columns", 0)
        length = (pixels * samples * dataset.integer("BitsAllocated", 0) + 7) // 8
        if length < 1 or pixel_data.length not in (length, length + length % 2):
            raise
        dataset.notes.ignored(error)
        return 1


def layout_of(
    dataset: Attributes, instance: InstanceRef, syntax: TransferSyntax, element: Element, meta_end: int, size: int
) -> PixelLayout:
    """Pixel Data as the header describes it.

    Raises:
        DicomRejected: ``dicom.bad-value``.
    """
    allocated = dataset.integer("BitsAllocated", 0)
    # Float Pixel Data has no Bits Stored, High Bit or Pixel Representation (PS3.3 C.7.6.24).
    integers = element.tag == _INTEGERS
    stored = instance.bits_stored if integers else allocated
    missing = _missing(dataset, instance, allocated, integers=integers)
    if "SamplesPerPixel" in missing:
        _note_missing(dataset, "SamplesPerPixel", "1 was taken")
    if instance.samples_per_pixel > 1 and not dataset.has("PlanarConfiguration"):
        _note_missing(dataset, "PlanarConfiguration", "0, colour by pixel, was taken")
    palette, fault = _palette(dataset) if instance.photometric_interpretation == "PALETTE COLOR" else (None, "")
    layout = PixelLayout(
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
        high_bit=_high_bit(dataset, allocated, stored) if integers else stored - 1,
        signed=integers and is_signed(dataset),
        missing=missing,
        planar=dataset.integer("PlanarConfiguration", 0) if instance.samples_per_pixel > 1 else 0,
        swapped_words=syntax.big_endian and element.vr == "OW" and allocated <= 8,
        deflated_from=meta_end,
        palette=palette,
        palette_fault=fault,
        overlay_bits=_has_overlay_bits(dataset),
        extended_offsets=None if syntax.codec == "native" else _extended_offsets(dataset),
    )
    if layout.syntax.codec == "native" and layout.lacks_padding:
        dataset.notes.add(REPAIRED, "Pixel Data (7fe0,0010) states more bytes than there are; all pixels are there")
    return layout


def _missing(dataset: Attributes, instance: InstanceRef, allocated: int, *, integers: bool) -> frozenset[str]:
    """What the pixels need and the header lacks; a value that is there need not be looked at again."""
    needed = {
        "Rows": instance.rows,
        "Columns": instance.columns,
        "SamplesPerPixel": 0,
        "PhotometricInterpretation": instance.photometric_interpretation,
        "BitsAllocated": allocated,
    }
    if integers:
        needed |= {"BitsStored": instance.bits_stored, "PixelRepresentation": 0}
    return frozenset(keyword for keyword, value in needed.items() if not value and not dataset.has(keyword))


def _high_bit(dataset: Attributes, allocated: int, stored: int) -> int:
    """High Bit: one less than Bits Stored (PS3.3 C.7.6.3.1). Where all bits are stored, it says nothing.

    Raises:
        DicomRejected: ``dicom.bad-value``.
    """
    try:
        value = dataset.integer("HighBit", stored - 1)
        if not dataset.has("HighBit"):
            _note_missing(dataset, "HighBit", "one less than Bits Stored was taken")
        elif value != stored - 1 and stored == allocated:
            raise bad("HighBit", "is not one less than Bits Stored")
    except DicomRejected as error:
        if stored != allocated:
            raise
        dataset.notes.ignored(error)
        return stored - 1
    return value


def _note_missing(dataset: Attributes, keyword: str, instead: str) -> None:
    dataset.notes.add(MISSING, f"{label(TAGS[keyword][0])} is missing; {instead}")


def is_signed(dataset: Attributes) -> bool:
    """Pixel Representation.

    Raises:
        DicomRejected: ``dicom.bad-value``, neither 0 nor 1.
    """
    value = dataset.integer("PixelRepresentation", 0)
    if value not in (0, 1):
        raise bad("PixelRepresentation", f"is {value}, which is neither 0 nor 1")
    return value == 1


def _has_overlay_bits(dataset: Attributes) -> bool:
    """Whether an overlay lies in the bits that pixels leave free (retired); one with data of its own has position 0."""
    try:
        return dataset.integer("OverlayBitPosition", 0) > 0
    except DicomRejected as error:
        dataset.notes.ignored(error)
        return False


def _palette(dataset: Attributes) -> tuple[Palette | None, str]:
    """The palette, or why there is none."""
    try:
        return _sound_palette(dataset), ""
    except DicomRejected as error:
        return None, str(error)


def _sound_palette(dataset: Attributes) -> Palette | None:
    if any(f"{colour}PaletteColorLookupTableDescriptor" not in dataset for colour in _COLOURS):
        return None
    # Indices have no Modality step: the first one mapped has the sign of the pixels.
    mapped = (-0x8000, 0x7FFF) if is_signed(dataset) else (0, 0xFFFF)
    descriptors = tuple(
        grayscale.descriptor(dataset, f"{colour}PaletteColorLookupTableDescriptor", mapped) for colour in _COLOURS
    )
    if "SegmentedRedPaletteColorLookupTableData" in dataset:
        data = tuple(dataset.words(f"Segmented{colour}PaletteColorLookupTableData", "u2") for colour in _COLOURS)
        return Palette(descriptors=descriptors, data=data, segmented=True)
    bits = _entry_bits(dataset, descriptors)
    data = tuple(
        grayscale.table(dataset, f"{colour}PaletteColorLookupTableData", entries, bits)
        for colour, (entries, _, _) in zip(_COLOURS, descriptors, strict=True)
    )
    top = max(int(table.max()) for table in data)
    if bits <= _BYTE_BITS and top > _BYTE:
        _doubt(dataset, "states 8 bits, and the palette's values need 16; 16 were taken")
        bits = 2 * _BYTE_BITS
    elif bits > _BYTE_BITS and top <= _BYTE:
        _doubt(dataset, "states more than 8 bits, and the palette's values need no more, so that all is dark")
    return Palette(descriptors=tuple((entries, first, bits) for entries, first, _ in descriptors), data=data)


def _entry_bits(dataset: Attributes, descriptors: tuple[tuple[int, int, int], ...]) -> int:
    """Bits of an entry, as all three palettes say it; 8 where there are just as many bytes as entries."""
    entries, _, bits = descriptors[0]
    if len(set(descriptors)) != 1:
        raise bad("RedPaletteColorLookupTableDescriptor", "is another than that of green or blue")
    lengths = {len(dataset.raw(f"{colour}PaletteColorLookupTableData")) for colour in _COLOURS}
    if bits > _BYTE_BITS and entries > 1 and lengths <= {entries, entries + entries % 2}:
        _doubt(dataset, "states more than 8 bits, and there is one byte an entry; 8 were taken")
        return _BYTE_BITS
    return bits


def _doubt(dataset: Attributes, what: str) -> None:
    dataset.notes.add(DOUBTFUL, f"{label(TAGS['RedPaletteColorLookupTableDescriptor'][0])} {what}")


def _extended_offsets(dataset: Attributes) -> tuple[Array, Array] | None:
    """The table, unless it cannot be one: fragments can be shared out to frames in other ways as well."""
    try:
        offsets = dataset.words("ExtendedOffsetTable", "u8")
        return (offsets, dataset.words("ExtendedOffsetTableLengths", "u8")) if offsets.size else None
    except DicomRejected as error:
        dataset.notes.ignored(error)
        return None
