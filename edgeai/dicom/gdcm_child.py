"""The process in which GDCM decodes, because damaged frames make it end the process that it is in.

Started by ``gdcm_process`` as ``python -m edgeai.dicom.gdcm_child``. Reads from standard input a line of JSON
(the request, with ``length``) and that many bytes (one JPEG frame); answers with a line of JSON (``length``, or
``error``) and that many bytes (stored values, little endian). Ends when its input does.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import gdcm


def decode(data: bytes, request: dict[str, Any]) -> bytes:
    """Stored values of one JPEG frame."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((request["columns"], request["rows"], 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(request["photometric_interpretation"])
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if request["samples"] > 1:
        image.SetPlanarConfiguration(0)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(request["transfer_syntax_uid"])))
    stored = request["bits_stored"]
    image.SetPixelFormat(
        gdcm.PixelFormat(request["samples"], request["bits_allocated"], stored, stored - 1, request["signed"])
    )
    # GDCM gives char* as str.
    buffer: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return buffer


def main() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # GDCM prints as it likes; the answers have a descriptor of their own
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        data = sys.stdin.buffer.read(request["length"])
        try:
            values, error = decode(data, request), ""
        except Exception as caught:  # noqa: BLE001 - the parent turns it into PixelsRejected
            values, error = b"", str(caught) or type(caught).__name__
        answers.write(json.dumps({"length": len(values), "error": error}).encode() + b"\n" + values)
        answers.flush()


if __name__ == "__main__":
    main()
