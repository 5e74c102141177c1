"""The one form of zip that a bundle has, byte by byte, and what is in a member of it.

Zip readers disagree on what is in a file with prefixes, duplicate names, comments, two directories or bytes behind
the end of a compressed stream. Here every bit of the file has one meaning, or the file is refused: each field of a
header follows from the member's path, method, sizes and checksum, and what fills the last byte of a stream is zero.
Free is only how a content was deflated: another version of zlib does it otherwise.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

from edgeai.api.errors import BundleRejected
from edgeai.bundle.manifest import MANIFEST_NAME
from edgeai.bundle.paths import MAX_PATH_CHARS, check_paths
from edgeai.bundle.strangers import no_archive, not_a_bundle, other_archive

if TYPE_CHECKING:
    Decompressor: TypeAlias = zlib._Decompress

CHUNK: Final = 1 << 20
_FIXED_TIME: Final = (1980, 1, 1, 0, 0, 0)
_DOS_TIME, _DOS_DATE = 0, 1 << 5 | 1
_FILE_MODE: Final = stat.S_IFREG | 0o644
_UNIX, _VERSION = 3, 20
# Sizes of the fixed parts of a zip: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.
_LOCAL, _CENTRAL, _END = 30, 46, 22


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleLimits:
    """How large a bundle may be, packed and unpacked. One of 2 GiB or more would need zip64, which is left out."""

    max_bytes: int = (1 << 31) - 1
    max_files: int = 10_000


LIMITS: Final = BundleLimits()


def new_member(path: str) -> zipfile.ZipInfo:
    """A member to write: deflated, with the time and mode that all have."""
    member = zipfile.ZipInfo(path, _FIXED_TIME)
    member.create_system = _UNIX  # wherever it is packed
    member.external_attr = _FILE_MODE << 16
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def read_members(file: BinaryIO, name: str, limits: BundleLimits) -> dict[str, zipfile.ZipInfo]:
    """The members of a bundle by their path; together they are every byte of the file.

    Raises:
        BundleRejected: ``bundle.not-a-bundle``, ``bundle.surplus-bytes``, ``bundle.two-contents``,
            ``bundle.wrong-header``, ``bundle.compressed``, ``bundle.encrypted``, ``bundle.link``,
            ``bundle.too-large`` and the codes of ``check_paths``.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        count, central_at = _check_end(file, name, size, limits)
        members = zipfile.ZipFile(file).infolist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise not_a_bundle(name, getattr(error, "strerror", None) or str(error)) from error
    _check_members(name, members, count, central_at, size)
    check_size(count, sum(member.file_size for member in members), limits)
    for member in members:
        _check_local(file, member)
    _check_directory(file, members)
    return {member.filename: member for member in members}


def content(file: BinaryIO, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """What is in a member, in pieces of at most ``CHUNK`` bytes.

    Raises:
        BundleRejected: ``bundle.surplus-bytes`` for bytes in the member that are not of its content;
            ``bundle.wrong-hash`` for a damaged member.
    """
    pieces = _stored(file, member) if member.compress_type == zipfile.ZIP_STORED else _inflated(file, member)
    left, checksum = member.file_size, 0
    try:
        for piece in pieces:
            left -= len(piece)
            if left < 0:
                raise _surplus(member)
            checksum = zlib.crc32(piece, checksum)
            yield piece
    except (zlib.error, OSError) as error:
        raise _damaged(member, str(error)) from error
    if left or checksum != member.CRC:
        raise _damaged(member, "it ends early" if left else "its checksum differs")


def _stored(file: BinaryIO, member: zipfile.ZipInfo, *, but: int = 0) -> Iterator[bytes]:
    """The bytes of a member as they lie in the file, but for the last few."""
    at, left = member.header_offset + _LOCAL + len(member.filename), member.compress_size - but
    while left > 0:
        file.seek(at)
        data = file.read(min(left, CHUNK))
        if not data:
            return
        at, left = at + len(data), left - len(data)
        yield data


def _inflated(file: BinaryIO, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """A deflate stream, piece by piece, so that nothing grows in memory; it must end in the member's last byte."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    yield from drained(inflate, _stored(file, member, but=1))
    if inflate.eof:
        raise _surplus(member)
    final = inflate.copy()
    file.seek(member.header_offset + _LOCAL + len(member.filename) + member.compress_size - 1)
    last = file.read(1)
    end = b"".join(drained(final, [last]))
    if not final.eof:
        raise _damaged(member, "its stream does not end")
    if _is_padding(inflate, last[0], end):
        raise BundleRejected(
            f"{member.filename!r} has bits behind the end of its stream that are not zero", code="bundle.surplus-bytes"
        )
    yield end


def drained(inflate: Decompressor, packed: Iterable[bytes]) -> Iterator[bytes]:
    """All that these bytes give, in pieces of at most ``CHUNK`` bytes; none is left in the decompressor."""
    for data in packed:
        piece = inflate.decompress(data, CHUNK)
        while piece:
            yield piece
            piece = inflate.decompress(inflate.unconsumed_tail, CHUNK)


def _is_padding(inflate: Decompressor, last: int, end: bytes) -> bool:
    """Whether the highest bit that is set in a stream's last byte changes nothing, and so lies behind its end.

    A stream is filled from the lowest bit of each byte, so that what lies above this one is zero. No bit of the code
    that ends a stream can be another without another meaning.
    """
    if not last:
        return False
    cleared = last ^ 1 << last.bit_length() - 1
    try:
        return b"".join(drained(inflate, [bytes([cleared])])) == end and inflate.eof
    except zlib.error:
        return False


def check_size(files: int, total: int, limits: BundleLimits) -> None:
    """Hold a bundle to the limits.

    Raises:
        BundleRejected: ``bundle.too-large``.
    """
    if files > limits.max_files or total > limits.max_bytes:
        raise BundleRejected(
            f"{files} files of {total} bytes; a bundle has at most {limits.max_files} and {limits.max_bytes}",
            code="bundle.too-large",
        )


def _check_end(file: BinaryIO, name: str, size: int, limits: BundleLimits) -> tuple[int, int]:
    """The end record, by hand: it bounds how much of the file the zip reader will hold in memory.

    How many members there are, and where their directory begins.
    """
    if size < _END or file.read(4) != b"PK\x03\x04":
        raise no_archive(name, "it does not begin as a zip file")
    file.seek(size - _END)
    fields = struct.unpack("<4s4H2LH", file.read(_END))
    magic, disk, first_disk, here, count, central_bytes, central_at, comment = fields
    if magic != b"PK\x05\x06" or (disk, first_disk, comment) != (0, 0, 0) or here != count:
        raise not_a_bundle(name, "it does not end as a bundle does (truncated, or a comment or second disk)")
    check_size(count, size, limits)
    if central_at + central_bytes + _END != size or central_bytes > count * (_CENTRAL + MAX_PATH_CHARS):
        raise BundleRejected(f"{name} has bytes that no member accounts for", code="bundle.surplus-bytes")
    return int(count), int(central_at)


def _check_members(name: str, members: list[zipfile.ZipInfo], count: int, central_at: int, size: int) -> None:
    """Names, kinds and places of all members."""
    if len(members) != count:
        raise not_a_bundle(name, f"the archive says {count} files and has {len(members)}")
    if not members or members[0].filename != MANIFEST_NAME:
        raise other_archive(name, [member.filename for member in members])
    check_paths(member.orig_filename for member in members)
    at = 0
    for member in members:
        _check_member(member)
        if member.header_offset != at:
            raise BundleRejected(f"{member.filename!r} is not where it should be", code="bundle.surplus-bytes")
        at += _LOCAL + len(member.filename) + member.compress_size
    if at != central_at or at + sum(_CENTRAL + len(member.filename) for member in members) + _END != size:
        raise BundleRejected("the archive has bytes that no member accounts for", code="bundle.surplus-bytes")


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    if member.flag_bits & 0x2041:
        raise BundleRejected(f"{name!r} is encrypted", code="bundle.encrypted")
    stored = member.compress_type == zipfile.ZIP_STORED
    if not stored and member.compress_type != zipfile.ZIP_DEFLATED:
        raise BundleRejected(
            f"{name!r} is compressed by method {member.compress_type}; the files of a bundle are deflated or stored",
            code="bundle.compressed",
            remedy="write bundles with edgeai, not with a zip program",
        )
    if stored and member.compress_size != member.file_size:
        raise BundleRejected(f"{name!r} is stored, with two sizes", code="bundle.two-contents")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        raise BundleRejected(f"{name!r} is a link or a special file", code="bundle.link")


def _check_local(file: BinaryIO, member: zipfile.ZipInfo) -> None:
    """The header before a member says what the directory at the end says: there are tools that read only the one."""
    year, month, day, hour, minute, second = member.date_time
    fields = (
        *(b"PK\x03\x04", member.extract_version, member.flag_bits, member.compress_type),
        *(hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day),
        *(member.CRC, member.compress_size, member.file_size, len(member.filename), 0),
    )
    file.seek(member.header_offset)
    if file.read(_LOCAL + len(member.filename)) != struct.pack("<4s5H3L2H", *fields) + member.filename.encode("ascii"):
        raise BundleRejected(
            f"{member.filename!r} is described in two ways",
            code="bundle.two-contents",
            remedy="do not use it; if you packed it, pack it again with edgeai",
        )


def _check_directory(file: BinaryIO, members: list[zipfile.ZipInfo]) -> None:
    """The directory is, to the byte, what edgeai writes of these members."""
    last = members[-1]
    file.seek(last.header_offset + _LOCAL + len(last.filename) + last.compress_size)
    for member in members:
        fields = (
            *(b"PK\x01\x02", _VERSION, _UNIX, _VERSION, 0, member.compress_type, _DOS_TIME, _DOS_DATE),
            *(member.CRC, member.compress_size, member.file_size, len(member.filename), 0, 0, 0, 0),
            *(_FILE_MODE << 16, member.header_offset),
        )
        written = struct.pack("<4s2B5H3L5H2L", *fields) + member.filename.encode("ascii")
        if file.read(len(written)) != written:
            raise BundleRejected(
                f"the header of {member.filename!r} is not the one that edgeai writes",
                code="bundle.wrong-header",
                remedy="fetch it again; if you packed it, pack it with edgeai, not with a zip program",
            )


def missing(path: Path | str) -> BundleRejected:
    """There is no such file: nothing is wrong with a bundle."""
    return BundleRejected(
        f"there is no file {path}", code="bundle.missing", remedy="check the path; copy the bundle there"
    )


def _surplus(member: zipfile.ZipInfo) -> BundleRejected:
    return BundleRejected(f"{member.filename!r} has bytes that are not of its content", code="bundle.surplus-bytes")


def _damaged(member: zipfile.ZipInfo, why: str) -> BundleRejected:
    return BundleRejected(f"{member.filename!r} cannot be read: {why}", code="bundle.wrong-hash")
