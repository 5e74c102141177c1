"""A C-STORE SCU: sends files as they are, each in its own transfer syntax. For the demo and for trying a cart out."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom import AE
from pynetdicom.presentation import build_context

from edgeai.api.errors import DicomRejected, EdgeaiError

_PATIENCE_S = 30.0
_MAX_CONTEXTS = 128  # PS3.8 9.3.2.2: odd identifiers from 1 to 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One C-STORE and its answer. ``status`` is the DIMSE status, ``None`` when there was no answer."""

    path: Path
    sop_instance_uid: str
    status: int | None

    @property
    def accepted(self) -> bool:
        """Whether the receiver took responsibility for the instance."""
        return self.status == 0x0000


def send(
    paths: Sequence[Path],
    *,
    host: str,
    port: int,
    called_ae_title: str,
    calling_ae_title: str = "EDGEAI-SCU",
    tls: ssl.SSLContext | None = None,
) -> Iterator[Sent]:
    """Send files over one association, with TLS where a context is given; yields each answer as it comes.

    Raises:
        EdgeaiError: ``scu.rejected`` when no association can be made.
        DicomRejected: ``dicom.not-dicom`` when a file is not a Part 10 file.
    """
    contexts = {_context(path): None for path in paths}
    entity = AE(calling_ae_title)
    entity.requested_contexts = [build_context(*pair) for pair in list(contexts)[:_MAX_CONTEXTS]]
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = _PATIENCE_S
    tls_args = (tls, host) if tls is not None else None
    association = entity.associate(host, port, ae_title=called_ae_title, tls_args=tls_args)
    if not association.is_established:
        raise EdgeaiError(
            f"{called_ae_title} at {host}:{port} takes no association",
            code="scu.rejected",
            remedy="check address, port and AE titles, and that the cart runs",
        )
    try:
        for path in paths:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what is odd about a file is for the receiver to say
                dataset = dcmread(path)
                answer = association.send_c_store(dataset)
            yield Sent(path=path, sop_instance_uid=str(dataset.SOPInstanceUID), status=answer.get("Status"))
    finally:
        association.release()


def _context(path: Path) -> tuple[str, str]:
    try:
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        return str(dataset.SOPClassUID), str(dataset.file_meta.TransferSyntaxUID)
    except (InvalidDicomError, AttributeError, OSError) as error:
        remedy = "name DICOM files (PS3.10); other image formats are not sent"
        raise DicomRejected(f"{path}: {error}", code="dicom.not-dicom", remedy=remedy) from error
