"""What a sender hears of a header that is not as it should be: an image that can be used is acknowledged."""

from __future__ import annotations

from struct import pack

import pytest

from edgeai.testing.dicom_peers import CR, SUCCESS, Receiving, Wire, store_pdus
from edgeai.testing.raw_dicom import element, raw_bytes

CLASS = element(0x00080016, "UI", CR + "\0" * (len(CR) % 2))
ENDLESS_ITEM = pack("<HH2sHL", 0x7FDF, 0x1000, b"SQ", 0, 0xFFFFFFFF) + pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
TAKEN = {
    "a study UID with letters": element(0x0020000D, "UI", "1.2.STUDY "),
    "a study UID that is too long": element(0x0020000D, "UI", "1" * 80),
    "a decimal comma": element(0x00280030, "DS", "0,5\\0,5 "),
    "a spacing without its partner": element(0x00280030, "DS", "0.5 "),
    "a window of text": element(0x00281050, "DS", "n/a ") + element(0x00281051, "DS", "n/a "),
    "a slope of 0": element(0x00281053, "DS", "0 "),
    "a LUT without a descriptor": element(0x00283010, "SQ", pack("<HHL", 0xFFFE, 0xE000, 0)),
    "the manufacturer twice": element(0x00080070, "LO", "A ") * 2,
    "rows twice, alike": element(0x00280010, "US", b"\6\0") * 2,
    "no rows": element(0x00280010, "US", b"\0\0"),
    "groups for too many frames": element(0x52009230, "SQ", pack("<HHL", 0xFFFE, 0xE000, 0) * 3),
    "??": pack("<HH2sH", 0x7FDF, 0x1000, b"??", 4) + b"abcd",
    "an item closed by a sequence delimiter": ENDLESS_ITEM + pack("<HHL", 0xFFFE, 0xE0DD, 0),
}
REFUSED = {
    "rows twice, not alike": (
        element(0x00280010, "US", b"\6\0") + element(0x00280010, "US", b"\7\0"),
        "dicom.structure",
    ),
    "rows of text": (element(0x00280010, "LO", "six "), "dicom.bad-value"),
    "an item that never ends": (ENDLESS_ITEM, "dicom.structure"),
    "a value longer than all": (pack("<HH2sHL", 0x7FDF, 0x1000, b"OB", 0, 1 << 28), "dicom.structure"),
}


def data_set(*elements: bytes) -> bytes:
    whole = raw_bytes(CLASS, *elements)
    return whole[whole.index(CLASS) :]


@pytest.mark.parametrize("name", TAKEN)
def test_an_image_that_can_be_used_is_acknowledged_and_gets_a_job(station: Receiving, name: str) -> None:
    station.start()
    wire = Wire(station.port)
    body = data_set(TAKEN[name])
    wire.socket.sendall(b"".join(store_pdus("1.2.3", body)))
    assert wire.status().Status == SUCCESS
    assert station.jobs == 1
    assert station.files[0].read_bytes().endswith(body)
    wire.close()


@pytest.mark.parametrize("name", REFUSED)
def test_one_that_cannot_is_refused_with_the_code(station: Receiving, name: str) -> None:
    station.start()
    wire = Wire(station.port)
    elements, code = REFUSED[name]
    wire.socket.sendall(b"".join(store_pdus("1.2.3", data_set(elements))))
    response = wire.status()
    assert response.Status == 0xC000
    assert response.ErrorComment.partition(":")[0] == code
    assert (station.jobs, station.files) == (0, [])
    wire.close()
