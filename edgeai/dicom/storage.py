"""What the Storage SCP accepts: every storage class whose instances hold pixels, as they are encoded."""

from __future__ import annotations

from typing import Final

from edgeai.dicom.syntaxes import SUPPORTED

VERIFICATION: Final = "1.2.840.10008.1.1"

IMAGE_CLASSES: Final = frozenset(
    "1.2.840.10008.5.1.4.1.1." + ending
    for ending in (
        "1",  # ComputedRadiographyImageStorage
        "1.1",  # DigitalXRayImageStorageForPresentation
        "1.1.1",  # DigitalXRayImageStorageForProcessing
        "1.2",  # DigitalMammographyXRayImageStorageForPresentation
        "1.2.1",  # DigitalMammographyXRayImageStorageForProcessing
        "1.3",  # DigitalIntraOralXRayImageStorageForPresentation
        "1.3.1",  # DigitalIntraOralXRayImageStorageForProcessing
        "2",  # CTImageStorage
        "2.1",  # EnhancedCTImageStorage
        "2.2",  # LegacyConvertedEnhancedCTImageStorage
        "3",  # UltrasoundMultiFrameImageStorageRetired
        "3.1",  # UltrasoundMultiFrameImageStorage
        "4",  # MRImageStorage
        "4.1",  # EnhancedMRImageStorage
        "4.3",  # EnhancedMRColorImageStorage
        "4.4",  # LegacyConvertedEnhancedMRImageStorage
        "5",  # NuclearMedicineImageStorageRetired
        "6",  # UltrasoundImageStorageRetired
        "6.1",  # UltrasoundImageStorage
        "6.2",  # EnhancedUSVolumeStorage
        "6.3",  # PhotoacousticImageStorage
        "7",  # SecondaryCaptureImageStorage
        "7.1",  # MultiFrameSingleBitSecondaryCaptureImageStorage
        "7.2",  # MultiFrameGrayscaleByteSecondaryCaptureImageStorage
        "7.3",  # MultiFrameGrayscaleWordSecondaryCaptureImageStorage
        "7.4",  # MultiFrameTrueColorSecondaryCaptureImageStorage
        "12.1",  # XRayAngiographicImageStorage
        "12.1.1",  # EnhancedXAImageStorage
        "12.2",  # XRayRadiofluoroscopicImageStorage
        "12.2.1",  # EnhancedXRFImageStorage
        "12.3",  # XRayAngiographicBiPlaneImageStorage
        "13.1.1",  # XRay3DAngiographicImageStorage
        "13.1.2",  # XRay3DCraniofacialImageStorage
        "13.1.3",  # BreastTomosynthesisImageStorage
        "13.1.4",  # BreastProjectionXRayImageStorageForPresentation
        "13.1.5",  # BreastProjectionXRayImageStorageForProcessing
        "14.1",  # IntravascularOpticalCoherenceTomographyImageStorageForPresentation
        "14.2",  # IntravascularOpticalCoherenceTomographyImageStorageForProcessing
        "20",  # NuclearMedicineImageStorage
        "30",  # ParametricMapStorage
        "66.4",  # SegmentationStorage
        "66.7",  # LabelMapSegmentationStorage
        "66.8",  # HeightMapSegmentationStorage
        "77.1",  # VLImageStorageTrial
        "77.1.1",  # VLEndoscopicImageStorage
        "77.1.1.1",  # VideoEndoscopicImageStorage
        "77.1.2",  # VLMicroscopicImageStorage
        "77.1.2.1",  # VideoMicroscopicImageStorage
        "77.1.3",  # VLSlideCoordinatesMicroscopicImageStorage
        "77.1.4",  # VLPhotographicImageStorage
        "77.1.4.1",  # VideoPhotographicImageStorage
        "77.1.5.1",  # OphthalmicPhotography8BitImageStorage
        "77.1.5.2",  # OphthalmicPhotography16BitImageStorage
        "77.1.5.4",  # OphthalmicTomographyImageStorage
        "77.1.5.5",  # WideFieldOphthalmicPhotographyStereographicProjectionImageStorage
        "77.1.5.6",  # WideFieldOphthalmicPhotography3DCoordinatesImageStorage
        "77.1.5.7",  # OphthalmicOpticalCoherenceTomographyEnFaceImageStorage
        "77.1.5.8",  # OphthalmicOpticalCoherenceTomographyBscanVolumeAnalysisStorage
        "77.1.6",  # VLWholeSlideMicroscopyImageStorage
        "77.1.7",  # DermoscopicPhotographyImageStorage
        "77.1.8",  # ConfocalMicroscopyImageStorage
        "77.1.9",  # ConfocalMicroscopyTiledPyramidalImageStorage
        "77.2",  # VLMultiFrameImageStorageTrial
        "81.1",  # OphthalmicThicknessMapStorage
        "82.1",  # CornealTopographyMapStorage
        "128",  # PositronEmissionTomographyImageStorage
        "128.1",  # LegacyConvertedEnhancedPETImageStorage
        "130",  # EnhancedPETImageStorage
        "481.1",  # RTImageStorage
        "481.2",  # RTDoseStorage
        "481.23",  # EnhancedRTImageStorage
        "481.24",  # EnhancedContinuousRTImageStorage
        "501.1",  # DICOSCTImageStorage
        "501.2.1",  # DICOSDigitalXRayImageStorageForPresentation
        "501.2.2",  # DICOSDigitalXRayImageStorageForProcessing
        "601.1",  # EddyCurrentImageStorage
        "601.2",  # EddyCurrentMultiFrameImageStorage
    )
)
"""UIDs of the storage classes with pixels, retired ones included: old carts still send them.

The rule is the Standard's own naming (PS3.6): a SOP Class called "... Image Storage ...", and the few others with
pixels (PS3.4 table B.5-1). Reports, plans, waveforms, presentation states, spectra and documents stay out. A test holds
the list to the dictionaries of pydicom, which has the retired ones, and of pynetdicom, which has the newest. To ask
them here would cost whoever receives images the memory of both libraries.
"""


def accepted_syntax(sop_class_uid: str, proposed: list[str]) -> str | None:
    """The transfer syntax to accept for one proposed presentation context, or ``None`` for none.

    The sender's order is kept: what it names first is what it has, and then nobody transcodes.
    """
    if sop_class_uid == VERIFICATION:
        return next((uid for uid in proposed if uid in SUPPORTED and SUPPORTED[uid].codec == "native"), None)
    if sop_class_uid not in IMAGE_CLASSES:
        return None
    return next((uid for uid in proposed if uid in SUPPORTED), None)
