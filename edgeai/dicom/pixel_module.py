"""Which instance a data set is and how its pixels lie (PS3.3 C.12.1, C.7.6.3): the attributes that have to be right."""

from __future__ import annotations

from typing import Final

from edgeai.api.errors import DicomRejected
from edgeai.api.imaging import InstanceRef
from edgeai.api.tensors import Array
from edgeai.dicom import calibration
from edgeai.dicom.attributes import Attributes
from edgeai.dicom.encoding import UNDEFINED, Element
from edgeai.dicom.layout import Palette, PixelLayout
from edgeai.dicom.syntaxes import TransferSyntax

_INTEGERS: Final = 0x7FE00010
_COLOURS: Final = ("Red", "Green", "Blue")


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
    palette, fault = _palette(dataset) if instance.photometric_interpretation == "PALETTE COLOR" else (None, "")
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
        high_bit=dataset.integer("HighBit", stored - 1) if integers else stored - 1,
        signed=integers and is_signed(dataset),
        planar=dataset.integer("PlanarConfiguration", 0) if instance.samples_per_pixel > 1 else 0,
        swapped_words=syntax.big_endian and element.vr == "OW" and allocated <= 8,
        deflated_from=meta_end,
        palette=palette,
        palette_fault=fault,
        extended_offsets=None if syntax.codec == "native" else _extended_offsets(dataset),
    )


def is_signed(dataset: Attributes) -> bool:
    """Pixel Representation.

    Raises:
        DicomRejected: ``dicom.bad-value``, neither 0 nor 1.
    """
    value = dataset.integer("PixelRepresentation", 0)
    if value not in (0, 1):
        raise calibration.bad("PixelRepresentation", f"is {value}, which is neither 0 nor 1")
    return value == 1


def _palette(dataset: Attributes) -> tuple[Palette | None, str]:
    """The palette, or why there is none."""
    try:
        return _sound_palette(dataset), ""
    except DicomRejected as error:
        return None, str(error)


def _sound_palette(dataset: Attributes) -> Palette | None:
    if any(f"{colour}PaletteColorLookupTableDescriptor" not in dataset for colour in _COLOURS):
        return None
    # The descriptors' second value has the sign of the pixels, as that of any LUT.
    signed = is_signed(dataset)
    descriptors = tuple(
        calibration.descriptor(dataset, f"{colour}PaletteColorLookupTableDescriptor", signed) for colour in _COLOURS
    )
    segmented = "SegmentedRedPaletteColorLookupTableData" in dataset
    if segmented:
        data = tuple(dataset.words(f"Segmented{colour}PaletteColorLookupTableData", "u2") for colour in _COLOURS)
    else:
        data = tuple(
            calibration.table(dataset, f"{colour}PaletteColorLookupTableData", entries, bits)
            for colour, (entries, _, bits) in zip(_COLOURS, descriptors, strict=True)
        )
    return Palette(descriptors=descriptors, data=data, segmented=segmented)


def _extended_offsets(dataset: Attributes) -> tuple[Array, Array] | None:
    """The table, unless it cannot be one: fragments can be shared out to frames in other ways as well."""
    try:
        offsets = dataset.words("ExtendedOffsetTable", "u8")
        return (offsets, dataset.words("ExtendedOffsetTableLengths", "u8")) if offsets.size else None
    except DicomRejected as error:
        dataset.notes.ignored(error)
        return None
