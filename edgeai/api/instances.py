"""Which image: what is needed to route it and to trace a result back to it. No patient attribute is among it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRef:
    """One SOP Instance, by what is needed to route it, and to trace a result back to it."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    modality: str = ""
    transfer_syntax_uid: str = ""
    rows: int = 0
    columns: int = 0
    number_of_frames: int = 1
    samples_per_pixel: int = 1
    photometric_interpretation: str = ""
    bits_stored: int = 0
    body_part_examined: str = ""
    view_position: str = ""
    manufacturer: str = ""
    manufacturer_model_name: str = ""
