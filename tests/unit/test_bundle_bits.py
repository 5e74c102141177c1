"""Each bit of a bundle has one meaning: turned round it is refused, or was a choice of the compressor's."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from edgeai.api import BundleRejected
from edgeai.bundle.archive import Archive, pack
from edgeai.bundle.keys import make_keys
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.bundle.trust import TrustPolicy

pytestmark = pytest.mark.slow

SOME = "EDGEAI_TORTURE_BITS" not in os.environ
WEIGHTS = bytes(range(256)) + b"weights" * 40


@pytest.fixture
def unsigned(write_tiny: Callable[[bytes], Path], tiny: Manifest, tmp_path: Path) -> Path:
    pack(write_tiny(WEIGHTS), tiny, tmp_path / "tiny.edgeai")
    return tmp_path / "tiny.edgeai"


@pytest.fixture
def signed(unsigned: Path, tmp_path: Path) -> tuple[Path, TrustPolicy]:
    pair = make_keys("release", tmp_path / "made")
    sign_bundle(unsigned, signer_of(str(pair.private), str))
    return unsigned, TrustPolicy(keys=(pair.public.path,))


def content_of(path: Path, trust: TrustPolicy | None) -> dict[str, bytes]:
    """All that a reader gets, after every byte was held to the manifest."""
    with Archive(path, trust=trust) as archive:
        archive.verify()
        files = {name: b"".join(archive.chunks(name, file.bytes)) for name, file in archive.manifest.files.items()}
        return {**files, "manifest": archive.manifest_bytes, "signatures": archive.envelope_bytes or b""}


def streams(path: Path) -> list[range]:
    """Where the bytes of the members lie."""
    with zipfile.ZipFile(path) as archive:
        begins = [(one.header_offset + 30 + len(one.filename), one.compress_size) for one in archive.infolist()]
    return [range(begin, begin + size) for begin, size in begins]


def chosen(path: Path) -> Iterator[int]:
    """The bits that are turned round: all that are no member's content, and of content one in eight and the last byte.

    Whatever bit of a content it is, one digest is held to it; ``make torture`` turns all of them round.
    """
    inside = {place for stream in streams(path) for place in stream[:-1]} if SOME else set()
    for place in range(path.stat().st_size):
        yield from [8 * place + place % 8] if place in inside else range(8 * place, 8 * place + 8)


def flipped(data: bytes, bits: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    for bit in bits:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(changed)


def accepted(path: Path, trust: TrustPolicy | None) -> list[int]:
    """Bits that can be turned round without a refusal; what is then read must be the same."""
    whole, wanted = path.read_bytes(), content_of(path, trust)
    taken = []
    for bit, data in flipped(whole, list(chosen(path))):
        path.write_bytes(data)
        try:
            assert content_of(path, trust) == wanted
        except BundleRejected:
            continue
        taken.append(bit)
    path.write_bytes(whole)
    return taken


def is_choice(path: Path, bit: int) -> bool:
    """Whether the bit lies in a deflate stream, and not behind its end."""
    for stream in streams(path):
        if bit // 8 in stream:
            return bit // 8 != stream[-1]
    return False


def rewrite(path: Path, packed: Callable[[bytes], tuple[int, bytes]]) -> None:
    """The same members in the same form, each ``packed`` otherwise: its method, and its bytes as they are to lie."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    body, directory = b"", b""
    for name, content in members.items():
        method, data = packed(content)
        sums = (zlib.crc32(content), len(data), len(content), len(name))
        sizes = struct.pack("<HHHHHLLLH", 20, 0, method, 0, 0x21, *sums)
        directory += struct.pack("<4sBB", b"PK\x01\x02", 20, 3) + sizes
        directory += struct.pack("<HHHHLL", 0, 0, 0, 0, 0o100644 << 16, len(body)) + name.encode()
        body += b"PK\x03\x04" + sizes + b"\0\0" + name.encode() + data
    end = struct.pack("<4s4HLLH", b"PK\x05\x06", 0, 0, len(members), len(members), len(directory), len(body), 0)
    path.write_bytes(body + directory + end)


def deflated(content: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return compressor.compress(content) + compressor.flush()


def test_each_bit_of_an_unsigned_bundle(unsigned: Path) -> None:
    assert [bit for bit in accepted(unsigned, None) if not is_choice(unsigned, bit)] == []


def test_each_bit_of_a_signed_bundle(signed: tuple[Path, TrustPolicy]) -> None:
    path, trust = signed
    assert [bit for bit in accepted(path, trust) if not is_choice(path, bit)] == []


def test_each_bit_of_a_bundle_of_stored_members(unsigned: Path) -> None:
    """Without a compressor there is no choice at all."""
    rewrite(unsigned, lambda content: (zipfile.ZIP_STORED, content))
    assert accepted(unsigned, None) == []


@pytest.mark.parametrize("strategy", [zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_another_deflate_stream_of_the_same_content_is_the_same_bundle(
    signed: tuple[Path, TrustPolicy], level: int, strategy: int
) -> None:
    path, trust = signed
    wanted = content_of(path, trust)
    rewrite(path, lambda content: (zipfile.ZIP_DEFLATED, deflated(content, level, strategy)))
    assert content_of(path, trust) == wanted


def test_the_bits_that_fill_the_last_byte_of_a_stream_are_zero(
    write_tiny: Callable[[bytes], Path], tiny: Manifest, tmp_path: Path
) -> None:
    """In each of the eight places where a stream can end."""
    path, ends = tmp_path / "tiny.edgeai", set()
    for number in range(48):
        pack(write_tiny(bytes(range(number))), tiny, path)
        whole = path.read_bytes()
        for stream in streams(path):
            data, last = whole[stream.start : stream.stop], stream[-1]
            content = zlib.decompress(data, -15)
            free = [bit for bit in range(8) if inflates(data[:-1] + bytes([data[-1] ^ 1 << bit]), content)]
            ends.add(len(free))
            for bit in free:
                path.write_bytes(whole[:last] + bytes([whole[last] | 1 << bit]) + whole[last + 1 :])
                with pytest.raises(BundleRejected, match="bits behind the end") as caught:
                    content_of(path, None)
                assert caught.value.code == "bundle.surplus-bytes"
    assert ends == set(range(8))


def inflates(data: bytes, content: bytes) -> bool:
    inflate = zlib.decompressobj(-15)
    try:
        return inflate.decompress(data) == content and inflate.eof
    except zlib.error:
        return False


def test_a_stream_that_never_ends_is_refused_though_its_content_is_whole(unsigned: Path) -> None:
    def endless(content: bytes) -> tuple[int, bytes]:
        compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
        return zipfile.ZIP_DEFLATED, compressor.compress(content) + compressor.flush(zlib.Z_SYNC_FLUSH)

    rewrite(unsigned, endless)
    with pytest.raises(BundleRejected, match="does not end") as caught:
        Archive(unsigned)
    assert caught.value.code == "bundle.wrong-hash"


def test_the_form_written_here_is_the_packers(unsigned: Path) -> None:
    whole = unsigned.read_bytes()
    rewrite(unsigned, lambda content: (zipfile.ZIP_DEFLATED, deflated(content)))
    assert unsigned.read_bytes() == whole


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) - 1, (3 << 20) + 1])
def test_a_large_member_is_read_in_pieces(
    write_tiny: Callable[[bytes], Path], tiny: Manifest, tmp_path: Path, size: int
) -> None:
    """A few kilobytes of zeros' deflate stream are a megabyte each time that it is asked."""
    pack(write_tiny(bytes(size)), tiny, tmp_path / "large.edgeai")
    with Archive(tmp_path / "large.edgeai") as archive:
        pieces = list(archive.chunks("artifacts/m.tflite", size))
    assert b"".join(pieces) == bytes(size)
    assert max(map(len, pieces)) <= 1 << 20
