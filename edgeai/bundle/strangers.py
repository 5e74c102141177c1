"""What was given in place of a bundle, where that can be seen, and how a bundle is made of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from edgeai.api.errors import BundleRejected

_CARD: Final = "model.toml"
_SAVED_MODEL: Final = "saved_model.pb"
_KERAS: Final = frozenset({"metadata.json", "config.json"})
_BY_SUFFIX: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        ".toml": ("it is a TOML file", "of a card, give its folder to `edgeai pack` or `edgeai build` first"),
        ".tflite": ("it is a model without a bundle around it", "`edgeai pack {name}` makes one"),
        ".xml": ("it is a model without a bundle around it", "`edgeai pack {name}` makes one"),
        ".h5": ("it is a model of Keras 2", "`python -m edgeai_keras.importing {name} MODEL.keras` comes first"),
        ".hdf5": ("it is a model of Keras 2", "`python -m edgeai_keras.importing {name} MODEL.keras` comes first"),
    }
)


REMEDY: Final = "check the path (of a deployment, `bundle` in the profile), and fetch the file or folder again"


def not_a_bundle(path: Path | str, why: str, remedy: str | None = None) -> BundleRejected:
    """The file is something else."""
    return BundleRejected(f"{path} is not a bundle: {why}", code="bundle.not-a-bundle", remedy=remedy or REMEDY)


def closed(path: Path | str) -> BundleRejected:
    """It is there, and this user may not read it: nothing is known of its content."""
    return BundleRejected(
        f"{path} may not be read by this user",
        code="bundle.unreadable",
        remedy=f"let the service's user read it, and pass through its folders: sudo chown USER: {path}",
    )


def no_archive(path: Path | str, why: str) -> BundleRejected:
    """A file that is no archive of ours; by its name it may be what a bundle is made of."""
    other, remedy = _BY_SUFFIX.get(Path(path).suffix.lower(), (why, None))
    return not_a_bundle(path, other, remedy.format(name=path) if remedy else None)


def other_archive(path: Path | str, members: Collection[str]) -> BundleRejected:
    """A zip file that does not begin with a manifest."""
    if members and set(members) >= _KERAS:
        remedy = f"`edgeai build {path} --calibration DIR` makes one of it, or a card and `edgeai pack`"
        return not_a_bundle(path, "it is a Keras model", remedy)
    first = f", and {next(iter(members))} that of this one" if members else ""
    return not_a_bundle(path, f"the first file of a bundle is manifest.json{first}")


def other_folder(root: Path, why: str) -> BundleRejected:
    """A folder that has no manifest, or cannot be read."""
    if (root / _CARD).is_file():
        remedy = f"`edgeai pack {root}` or `edgeai build {root} --data DIR` makes one of it"
        return not_a_bundle(root, "it is the folder of a card", remedy)
    if (root / _SAVED_MODEL).is_file():
        return not_a_bundle(root, "it is a SavedModel", f"`edgeai pack {root}` makes one of it")
    return not_a_bundle(root, why)
