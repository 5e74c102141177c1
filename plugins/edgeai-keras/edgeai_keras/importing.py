"""Models of Keras 2 as ``.keras`` files: ``.h5``/``.hdf5``, and the folders that ``model.save(folder)`` wrote.

On the command line: ``python -m edgeai_keras.importing SOURCE OUTPUT.keras``.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeai.api import ConversionFailed, EdgeaiError
from edgeai_keras import model_file
from edgeai_keras.bounds import check_depth, check_values, check_weights
from edgeai_keras.layers import layers_in
from edgeai_keras.modern import modern, steepen

_HDF5 = b"\x89HDF\r\n\x1a\n"
_UNSAFE = ("Lambda", "__lambda__")
_REMEDY = "save it in its own Keras with model.save('name.h5'), or give the .keras file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The ``.keras`` file that was written, and what a reader should know of where it came from."""

    path: Path
    notes: tuple[str, ...] = ()


def to_keras(path: Path, output: Path) -> Imported:
    """Read ``path`` without running code out of it, and write ``output``.

    Raises:
        ConversionFailed: ``import.*``, or as ``model_file.load`` for a ``.keras`` file.
    """
    from edgeai_keras.saving import save

    model, notes = open_model(path)
    save(model, output)
    return Imported(path=output, notes=notes)


def is_foreign(path: Path) -> bool:
    """Whether ``path`` is one of what this module reads beside ``.keras`` files."""
    return path.is_dir() or (path.is_file() and _begins(path) == _HDF5)


def open_model(path: Path) -> tuple[Any, tuple[str, ...]]:
    """The model of a ``.keras`` or HDF5 file, or of a SavedModel of Keras 2; with notes. Raises as ``to_keras``."""
    if path.is_dir():
        return _of_savedmodel(path)
    if not path.is_file():
        raise ConversionFailed(f"{path.name}: no such file or folder", code="import.unreadable", remedy=_REMEDY)
    begins = _begins(path)
    if begins == _HDF5:
        return _of_hdf5(path, path.name)
    if begins.startswith(b"\x80"):
        raise ConversionFailed(
            f"{path.name} looks like a pickle, which runs code when it is read; it is not read",
            code="import.pickle",
            remedy=_REMEDY,
        )
    if not begins.startswith(b"PK"):
        raise ConversionFailed(
            f"{path.name} is no .keras archive, HDF5 file or SavedModel", code="import.unreadable", remedy=_REMEDY
        )
    return model_file.load(path), ()


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_HDF5))


def _of_hdf5(path: Path, name: str) -> tuple[Any, tuple[str, ...]]:
    """The model of an HDF5 file as Keras 2 and Keras 3 write them."""
    import h5py  # type: ignore[import-untyped]

    try:
        values = check_weights(path, name, path.stat().st_size)
        with h5py.File(path, "r") as file:
            text, version = file.attrs.get("model_config"), _text(file.attrs.get("keras_version", "of unknown version"))
            config = None if text is None else json.loads(_text(text))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(name, error) from error
    if config is None:
        raise ConversionFailed(
            f"{name} holds weights and no model",
            code="import.weights-only",
            remedy="save it with model.save, not save_weights",
        )
    check_depth(config, name)
    _refuse_code(config, name)
    changed = modern(config)
    check_values(changed, values, name)
    if changed == config:
        return _as_it_was(_loaded(path, name), name, version, ())
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copyfile(path, Path(scratch) / "model.h5")
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(changed)
        return _as_it_was(_loaded(copy, name), name, version, ("left out keys that Keras 3 does not know",))


def _as_it_was(model: Any, name: str, version: str, notes: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """The model, computing what its own Keras did."""
    notes = (f"read from {name} of Keras {version}", *notes)
    if version.startswith("3."):
        return model, notes
    done, impossible = steepen(model)
    if impossible:
        raise ConversionFailed(
            f"{name}: hard_sigmoid of {', '.join(impossible)} is another function in Keras 3",
            code="import.layer-differs",
            remedy="train it again in Keras 3, with sigmoid in its place",
        )
    if done:
        notes = (*notes, f"weights into hard_sigmoid are 1.2 times as large, for Keras 3's ({', '.join(done)})")
    return model, notes


def _loaded(path: Path, name: str) -> Any:
    keras, _ = model_file.frameworks()
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the file makes it raise
        raise _not_loaded(name, error) from error


def _of_savedmodel(folder: Path) -> tuple[Any, tuple[str, ...]]:
    """A SavedModel's Keras configuration and variables, as the HDF5 file that Keras 2 would have written of it.

    Its graph is not looked at, let alone run.
    """
    if not (folder / "saved_model.pb").is_file():
        raise ConversionFailed(
            f"{folder.name} is no SavedModel: no saved_model.pb in it", code="import.unreadable", remedy=_REMEDY
        )
    metadata = folder / "keras_metadata.pb"
    if not metadata.is_file():
        raise ConversionFailed(
            f"{folder.name} is a SavedModel without Keras's description of its layers",
            code="import.savedmodel-opaque",
            remedy="it cannot be compressed, but packed as it is: edgeai pack; or give the .keras file",
        )
    from edgeai_keras.savedmodel import as_hdf5

    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "model.h5"
        config = as_hdf5(folder, metadata, made)
        _refuse_code(config, folder.name)
        return _of_hdf5(made, folder.name)


def _refuse_code(config: Any, name: str) -> None:
    for kind, layer in layers_in(config):
        if kind in _UNSAFE:
            raise ConversionFailed(
                f"{name}: layer {layer!r} is a {kind.strip('_')} layer, whose code would run from the file",
                code="import.layer-unsafe",
                remedy=f"replace layer {layer!r} by built-in layers or keras.ops",
            )


def _not_loaded(name: str, error: BaseException) -> ConversionFailed:
    words = " ".join(str(error).split())[:600]
    if "Unknown layer" in words or "Could not locate" in words or "Unable to revive" in words:
        return ConversionFailed(
            f"{name}: it has a layer that Keras 3 does not know: {words}",
            code="import.layer-unknown",
            remedy="register it with keras.saving.register_keras_serializable, or replace it by built-in layers",
        )
    return _unreadable(name, words)


def _unreadable(name: str, error: object) -> ConversionFailed:
    return ConversionFailed(f"{name}: it cannot be read: {error}", code="import.unreadable", remedy=_REMEDY)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def main(arguments: Sequence[str]) -> int:
    """Import ``SOURCE`` as ``OUTPUT``; 0 when done, 1 when refused, 2 when called otherwise."""
    if len(arguments) != 2 or not arguments[1].endswith(".keras"):
        print("python -m edgeai_keras.importing SOURCE OUTPUT.keras", file=sys.stderr)
        return 2
    try:
        imported = to_keras(Path(arguments[0]), Path(arguments[1]))
    except EdgeaiError as error:
        print(f"error[{error.code}]: {error}\n  what to do: {error.remedy}", file=sys.stderr)
        return 1
    print(f"{imported.path}: {'; '.join(imported.notes) or 'it was a .keras file'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
