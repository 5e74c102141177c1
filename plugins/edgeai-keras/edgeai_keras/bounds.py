"""What a Keras file may claim before any memory is spent on it: a few kilobytes can ask for gigabytes.

A ``.keras`` file is a zip of a description and an HDF5 file, each of which can be a bomb: members that inflate, JSON
without end, datasets that are as large as somebody says, layers of any size. Everything is judged by what it claims
against what is there, and nothing is inflated for it.
"""

from __future__ import annotations

import copy
import io
import json
import math
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from edgeai.api import ConversionFailed

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.weights.h5"
MAX_ENTRIES: Final = 1000
MAX_TEXT_BYTES: Final = 16 << 20
"""Of the description and of the metadata; that of a model of a thousand layers has one megabyte."""
MAX_BYTES: Final = 8 << 30
FREE_BYTES: Final = 64 << 20
MAX_RATIO: Final = 100
"""What is claimed may be so many times what is there, beyond ``FREE_BYTES``: pruned weights compress well."""
MAX_DEPTH: Final = 100
MAX_OBJECTS: Final = 100_000
FREE_VALUES: Final = 1_000_000
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NESTED: Final = (".npz", ".keras", ".zip", ".h5")
_LENGTHS_AT: Final = 26
"""Of name and extra field, in the header before a member: PKWARE APPNOTE 6.3.10, section 4.3.7."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a ``.keras`` file says of itself: its description, and how many numbers its weights have."""

    config: Any
    values: int


def check_archive(path: Path) -> Claims:
    """Hold a ``.keras`` file to the bounds. Of its weights only the places are read.

    Raises:
        ConversionFailed: ``convert.model-too-large``; ``convert.weights-elsewhere``: they are in another file.
        KeyError, ValueError, RecursionError, zipfile.BadZipFile, OSError: it is no such file.
    """
    with zipfile.ZipFile(path) as archive:
        _check_members(path, archive.infolist())
        config = json.loads(archive.read(CONFIG))
        check_depth(config, path.name)
        values = 0
        if WEIGHTS in archive.namelist():
            with _weights(path, archive) as file:
                values = check_weights(file, path.name, archive.getinfo(WEIGHTS).file_size)
    return Claims(config, values)


def check_weights(file: IO[bytes] | Path, name: str, size: int) -> int:
    """Hold an HDF5 file of this size to the bounds; how many numbers its datasets have.

    Raises:
        ConversionFailed: ``convert.model-too-large``: it claims more than it holds; ``convert.weights-elsewhere``: it
            reads other files.
        OSError, ValueError: it is no such file.
    """
    import h5py  # type: ignore[import-untyped]

    values = claimed = 0
    with h5py.File(file, "r") as opened:
        for number, (place, one) in enumerate(_objects(opened)):
            if number >= MAX_OBJECTS:
                raise too_large(name, f"its weights have more than {MAX_OBJECTS} objects")
            if (
                isinstance(one, h5py.ExternalLink)
                or getattr(one, "external", None)
                or getattr(one, "is_virtual", False)
            ):
                raise ConversionFailed(
                    f"{name}: {place} in its weights is read from another file",
                    code="convert.weights-elsewhere",
                    remedy="save the model anew, with its own weights in it",
                )
            if isinstance(one, h5py.Dataset) and one.shape is not None:
                values += math.prod(one.shape)
                claimed += math.prod(one.shape) * one.dtype.itemsize
    check_claim(name, "its weights", claimed, size)
    return values


def check_depth(config: Any, name: str) -> None:
    """Refuse a description that is nested deeper than whatever reads it can follow."""
    waiting = [(config, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise too_large(name, f"its description is nested more than {MAX_DEPTH} deep")
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting += [(one, depth + 1) for one in inner]


def check_values(config: Any, values: int, name: str) -> None:
    """Hold the layers of a description to the number of weights that there are: they are counted before they are made.

    Raises:
        ConversionFailed: ``convert.model-too-large``.
    """
    wanted = _counted(config)
    if wanted is not None and wanted > FREE_VALUES + 2 * values:
        raise too_large(name, f"its layers have {wanted} weights, and it holds {values}")


def too_large(name: str, why: str) -> ConversionFailed:
    """``convert.model-too-large``."""
    return ConversionFailed(
        f"{name}: {why}; nothing of it was read",
        code="convert.model-too-large",
        remedy="do not use it, unless you made it; save it anew with model.save('name.keras')",
    )


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    name, there = path.name, path.stat().st_size
    if len(members) > MAX_ENTRIES:
        raise too_large(name, f"it has {len(members)} files in it, at most {MAX_ENTRIES} are read")
    for member in members:
        inside = member.filename
        if member.compress_type not in _METHODS or member.flag_bits & 1:
            raise ValueError(f"{inside} is compressed as no .keras file is")
        if inside != WEIGHTS and inside.endswith(_NESTED):
            raise too_large(name, f"there is another archive in it: {inside}")
        if inside.startswith("/") or ".." in Path(inside).parts:
            raise ValueError(f"{inside!r} leads out of it")
        if inside.endswith(".json") and member.file_size > MAX_TEXT_BYTES:
            raise too_large(name, f"{inside} has {member.file_size} bytes unpacked, at most {MAX_TEXT_BYTES} are read")
    check_claim(name, "it", sum(member.file_size for member in members), there)


def check_claim(name: str, what: str, claimed: int, there: int) -> None:
    """Hold how much something would take to how much there is of it, in bytes."""
    most = min(MAX_BYTES, FREE_BYTES + MAX_RATIO * there)
    if claimed > most:
        raise too_large(name, f"{what} would take {claimed} bytes, and there are {there}; at most {most} are believed")


def _weights(path: Path, archive: zipfile.ZipFile) -> IO[bytes]:
    """The weights as a file that can be read at any place; those that are packed on the disk, not in memory."""
    member = archive.getinfo(WEIGHTS)
    if member.compress_type == zipfile.ZIP_STORED:
        return cast("IO[bytes]", _Window(path, member))
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115  whoever asked closes it
    with archive.open(member) as packed:
        shutil.copyfileobj(packed, unpacked)
    return unpacked


class _Window(io.RawIOBase):
    """A stored member, where it lies in its archive."""

    def __init__(self, path: Path, member: zipfile.ZipInfo) -> None:
        self._file = path.open("rb")
        self._file.seek(member.header_offset + _LENGTHS_AT)
        name, extra = struct.unpack("<HH", self._file.read(4))
        self._begin, self._size, self._at = self._file.tell() + name + extra, member.file_size, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._begin + self._at)
        data = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _objects(group: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Everything below a group, each once; what a link leads to elsewhere is the link itself."""
    import h5py

    waiting = [(place, group)]
    while waiting:
        where, node = waiting.pop()
        for name in node:
            inner = f"{where}/{name}"
            link = node.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                yield inner, link
            if not isinstance(link, h5py.HardLink):
                continue
            one = node[name]
            yield inner, one
            if isinstance(one, h5py.Group):
                waiting.append((inner, one))


def _counted(config: Any) -> int | None:
    """How many numbers the variables of a model would have; None where Keras cannot say without making them."""
    from edgeai_keras.model_file import frameworks

    keras, _ = frameworks()
    try:
        from keras.src.backend.common import global_state
    except ImportError:  # see below
        return None
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = _revived(keras, copy.deepcopy(config))  # Keras's readers change what they are given
            return int(sum(math.prod(variable.shape) for variable in model.variables))
    except Exception:  # noqa: BLE001  whoever loads the model next is told why it cannot be
        return None
    finally:
        # Keras keeps the variables that are still to be made, makes them all at the next occasion, and offers no other
        # way to have it forget them.
        global_state.set_global_attribute("uninitialized_variables", [])


def _revived(keras: Any, config: dict[str, Any]) -> Any:
    """The model of a description, as Keras's own readers make it."""
    if "compile_config" in config:
        config["compile_config"] = None
    if "module" in config:
        return keras.saving.deserialize_keras_object(config, safe_mode=True)
    # That of an HDF5 file, which Keras reads by nothing that it offers.
    from keras.src.legacy.saving import saving_options, saving_utils
    from keras.src.saving.serialization_lib import SafeModeScope

    with saving_options.keras_option_scope(use_legacy_config=True), SafeModeScope(True):
        return saving_utils.model_from_config(config)
