"""Artifacts that are taken as they come: which file is which format, and its copy for a bundle."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgeai.api import ConfigError

PLUGINS: Final[Mapping[str, str]] = {"tflite": "tflite", "openvino": "openvino", "savedmodel": "gpu"}
"""Format -> the first-party plugin whose backend opens it."""


def format_of(model: Path) -> str:
    """``tflite`` (a file), ``openvino`` (an ``.xml`` with its ``.bin``) or ``savedmodel`` (a folder).

    Raises:
        ConfigError: ``build.no-model``; ``build.foreign-model``: none of them.
    """
    if model.is_file() and model.suffix == ".tflite":
        return "tflite"
    if model.is_file() and model.suffix == ".xml" and model.with_suffix(".bin").is_file():
        return "openvino"
    if (model / "saved_model.pb").is_file():
        return "savedmodel"
    if not model.exists():
        raise ConfigError(f"{model}: no such file or folder", code="build.no-model", remedy=_remedy(model))
    raise ConfigError(f"{model}: {_why_not(model)}", code="build.foreign-model", remedy=_remedy(model))


def refuse_to_build(target: Path) -> None:
    """Refuse what is neither a card nor a folder: it has no Keras parent that anything could be compared with.

    Raises:
        ConfigError: ``build.foreign-model``.
    """
    if target.suffix == ".toml" or not (target.is_file() or (target / "saved_model.pb").is_file()):
        return
    remedy = _remedy(target)
    if target.suffix in (".tflite", ".xml") or target.is_dir():
        remedy = f"edgeai pack {target} makes a bundle of it as it is"
    elif target.suffix == ".edgeai":
        remedy = f"edgeai evaluate {target} --data DIR judges a bundle; the folder of its card is built"
    elif remedy.startswith("give a folder"):
        remedy = "give a folder with a model.toml, or a .keras file"
    why = "neither a folder with a model.toml nor a .keras file"
    raise ConfigError(f"{target}: {why}", code="build.foreign-model", remedy=remedy)


def files_of(model: Path) -> list[Path]:
    """The model's own files and folders: all that whoever opens it reads."""
    return [model, model.with_suffix(".bin")] if format_of(model) == "openvino" else [model]


def copied(model: Path, folder: Path, name: str = "model") -> Path:
    """A copy of the model's own files in ``folder``; what else lies beside them stays out."""
    kind = format_of(model)
    if kind == "savedmodel":
        target = folder / name
        for part in ("saved_model.pb", "variables", "assets"):
            if (model / part).is_dir():
                shutil.copytree(model / part, target / part)
            elif (model / part).is_file():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(model / part, target / part)
        return target
    target = folder / f"{name}{model.suffix}"
    shutil.copyfile(model, target)
    if kind == "openvino":
        shutil.copyfile(model.with_suffix(".bin"), target.with_suffix(".bin"))
    return target


def _why_not(model: Path) -> str:
    if model.suffix == ".xml":
        return "an OpenVINO IR needs its .bin beside the .xml"
    return "neither a .tflite file, nor an OpenVINO .xml, nor a SavedModel folder"


def _remedy(model: Path) -> str:
    if model.suffix == ".keras":
        return f"edgeai build {model.name} --calibration DIR makes a bundle of a Keras model"
    if model.suffix in (".h5", ".hdf5"):
        return f"first make it one of Keras 3: python -m edgeai_keras.importing {model.name} {model.stem}.keras"
    if model.suffix == ".edgeai":
        return f"it is a bundle already: edgeai inspect {model}; a card's folder is packed"
    if model.suffix == ".onnx":
        return f"first make it an OpenVINO IR: ovc {model.name}; then edgeai pack {model.stem}.xml"
    return "give a folder with a model.toml, a .tflite file, an OpenVINO .xml or a SavedModel folder"
