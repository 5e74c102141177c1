"""Phantoms are real DICOM files whose values come back."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from edgeai.api import UltrasoundRegion, Window
from edgeai.testing import phantoms


@pytest.mark.parametrize("syntax", [*phantoms.NATIVE, *phantoms.LOSSLESS], ids=lambda uid: uid.name)
@pytest.mark.parametrize(
    "pixels",
    [
        phantoms.ramp(),
        phantoms.ramp(33, 35),
        phantoms.ramp(dtype="uint16", bits=12),
        phantoms.cine(3),
        np.stack([phantoms.ramp(36, 40)] * 3, axis=2),
    ],
    ids=["grey", "odd", "12 bit", "cine", "rgb"],
)
def test_values_come_back(tmp_path, syntax, pixels):
    made = phantoms.write_instance(tmp_path / "a" / "one.dcm", pixels, transfer_syntax=syntax)
    data = pydicom.dcmread(made.path)
    assert data.file_meta.TransferSyntaxUID == syntax == made.instance.transfer_syntax_uid
    np.testing.assert_array_equal(data.pixel_array, pixels)
    assert (made.instance.rows, made.instance.columns) == (data.Rows, data.Columns)
    assert data.SOPInstanceUID == data.file_meta.MediaStorageSOPInstanceUID == made.instance.sop_instance_uid


def test_signed_values_come_back(tmp_path):
    pixels = phantoms.ramp(dtype="int16", bits=12)
    made = phantoms.write_instance(tmp_path / "ct.dcm", pixels, modality="CT", bits_stored=12, rescale=(1, -1024))
    data = pydicom.dcmread(made.path)
    assert pixels.min() < 0
    np.testing.assert_array_equal(data.pixel_array, pixels)
    assert (data.RescaleIntercept, made.instance.bits_stored, made.instance.modality) == (-1024, 12, "CT")


def test_jpeg_baseline_is_near(tmp_path):
    made = phantoms.write_instance(tmp_path / "us.dcm", phantoms.cine(2), transfer_syntax=JPEGBaseline8Bit)
    got = pydicom.dcmread(made.path).pixel_array.astype(int)
    assert np.abs(got - made.pixels).mean() < 3
    assert made.instance.number_of_frames == 2


def test_what_is_asked_for_is_written(tmp_path):
    region = UltrasoundRegion(min_x0=2, min_y0=3, max_x1=40, max_y1=30, delta_x_mm=0.5, delta_y_mm=0.25)
    made = phantoms.write_instance(
        tmp_path / "us.dcm",
        sop_instance_uid="1.2.3",
        windows=[Window(center=40, width=400), Window(center=1, width=2)],
        pixel_spacing_mm=(0.2, 0.3),
        regions=[region],
        attributes={"BodyPartExamined": "HEART", "Manufacturer": None},
    )
    data = pydicom.dcmread(made.path)
    assert (data.SOPInstanceUID, list(data.WindowWidth), list(data.PixelSpacing)) == ("1.2.3", [400, 2], [0.2, 0.3])
    item = data.SequenceOfUltrasoundRegions[0]
    assert (item.RegionLocationMaxX1, item.PhysicalUnitsXDirection, item.PhysicalDeltaX) == (40, 3, 0.05)
    assert made.instance.body_part_examined == "HEART"
    assert "Manufacturer" not in data
    assert (str(data.PatientName), data.file_meta.TransferSyntaxUID) == (phantoms.PATIENT_NAME, ExplicitVRLittleEndian)


def test_each_instance_is_another(tmp_path):
    uids = {phantoms.write_instance(tmp_path / f"{n}.dcm").instance.sop_instance_uid for n in range(5)}
    assert len(uids) == 5
