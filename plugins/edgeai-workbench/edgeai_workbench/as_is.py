"""Artifacts that are taken as they come: which file is which format, and its copy for a bundle.

Whose backend is installed says how a model of its format looks (``BackendSpec.files``); nobody is known here by name.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from edgeai.api import BackendSpec, ConfigError, ModelFiles
from edgeai.hosting import PluginInfo
from edgeai.resolving import Installed

_PARENT: Final = ".keras"
"""What bundles are built from; it is never taken as it comes."""


def format_of(model: Path) -> str:
    """The format of a model's file or folder, as the first installed backend that recognises it names it.

    Raises:
        ConfigError: ``build.no-model``; ``build.foreign-model``: none of them.
        PluginConflict: only such recognise it whose name several plugins provide.
    """
    for spec, files, _ in _forms():
        if files.parts(model):
            return spec.artifact_format
    for twice, conflict in Installed().contested("backend"):
        if isinstance(twice, BackendSpec) and twice.files is not None and twice.files.parts(model):
            raise conflict
    if not model.exists():
        raise ConfigError(f"{model}: no such file or folder", code="build.no-model", remedy=_remedy(model))
    raise ConfigError(f"{model}: {_why_not(model)}", code="build.foreign-model", remedy=_remedy(model))


def plugin_for(artifact_format: str) -> str:
    """The installed plugin whose backend opens a format; the first by rank, where there are several.

    Raises:
        ConfigError: ``build.foreign-model``: none.
        PluginConflict: only such whose backend's name several plugins provide.
    """
    opening = Installed().opening(artifact_format)
    if opening is None:
        why = f"no installed plugin opens artifacts of the format {artifact_format!r}"
        raise ConfigError(why, code="build.foreign-model", remedy="install one that does: `edgeai plugins list`")
    return opening[1].name


def is_folder_of_a_model(target: Path) -> bool:
    """Whether a folder is an artifact by itself, and so none of a card."""
    return any(files.folder and files.parts(target) for _, files, _ in _forms())


def refuse_to_build(target: Path) -> None:
    """Refuse what is neither a card nor a folder: it has no Keras parent that anything could be compared with.

    Raises:
        ConfigError: ``build.foreign-model``.
    """
    if target.suffix == ".toml" or not (target.is_file() or is_folder_of_a_model(target)):
        return
    remedy = _remedy(target)
    if target.is_dir() or target.suffix in {files.suffix for _, files, _ in _forms()}:
        remedy = f"edgeai pack {target} makes a bundle of it as it is"
    elif target.suffix == ".edgeai":
        remedy = f"edgeai evaluate {target} --data DIR judges a bundle; the folder of its card is built"
    elif remedy.startswith("give a folder"):
        remedy = "give a folder with a model.toml, or a .keras file"
    why = "neither a folder with a model.toml nor a .keras file"
    raise ConfigError(f"{target}: {why}", code="build.foreign-model", remedy=remedy)


def files_of(model: Path) -> list[Path]:
    """The model's own files, or its folder: all that whoever opens it reads.

    Raises:
        ConfigError: as ``format_of``.
    """
    return [model] if model.is_dir() else list(_parts(model))


def copied(model: Path, folder: Path, name: str = "model") -> Path:
    """A copy of the model's own files in ``folder``; what else lies beside them stays out.

    Raises:
        ConfigError: as ``format_of``.
    """
    is_folder = model.is_dir()
    target = folder / (name if is_folder else f"{name}{model.suffix}")
    if is_folder:
        target.mkdir(parents=True, exist_ok=True)
    for part in _parts(model):
        copy = target / part.name if is_folder else target.with_suffix(part.suffix)
        if part.is_dir():
            shutil.copytree(part, copy)
        else:
            shutil.copyfile(part, copy)
    return target


def _parts(model: Path) -> tuple[Path, ...]:
    format_of(model)  # refuses what nobody recognises
    return next(parts for _, files, _ in _forms() if (parts := files.parts(model)))


def _forms(*, parent: bool = False) -> list[tuple[BackendSpec, ModelFiles, PluginInfo]]:
    """Of every installed backend that says it: how a model of its format looks. With ``parent`` the parent's too."""
    return [
        (spec, spec.files, info)
        for spec, info in Installed().every("backend")
        if isinstance(spec, BackendSpec) and spec.files is not None and (parent or spec.files.suffix != _PARENT)
    ]


def _why_not(model: Path) -> str:
    known = [files for _, files, _ in _forms()]
    for files in known:
        if files.beside and model.suffix == files.suffix:
            return f"{files.called} needs its {' and '.join(files.beside)} beside it"
    return "neither " + ", nor ".join(files.called for files in known) if known else "no installed plugin opens it"


def _remedy(model: Path) -> str:
    if model.suffix == _PARENT:
        return f"edgeai build {model.name} --calibration DIR makes a bundle of a Keras model"
    if model.suffix == ".edgeai":
        return f"it is a bundle already: edgeai inspect {model}; a card's folder is packed"
    for _, files, _ in _forms(parent=True):
        if model.suffix in files.made_from:
            return files.made_from[model.suffix].format(name=model.name, stem=model.stem)
    *most, last = ["a folder with a model.toml", *(files.called for _, files, _ in _forms())]
    return f"give {', '.join(most)} or {last}" if most else f"give {last}"
