"""DICOM: header, pixels, arrival."""
