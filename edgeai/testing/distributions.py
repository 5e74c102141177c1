"""Distributions that are installed by being on the path: a module and its ``.dist-info``, in a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from edgeai.api import BACKENDS_GROUP, ENTRY_POINT_GROUP

_BACKEND = """
from edgeai.api import hookimpl
from edgeai.testing import fakes
EDGEAI_API = (1, 0)
{prelude}
@hookimpl
def edgeai_backends():
    return (fakes.backend({name!r}, how={how!r}, at={at!r}),)
"""


def write_fake_distribution(
    folder: Path,
    *,
    name: str,
    version: str = "1.0",
    module: str | None = None,
    module_source: str | None = None,
    entry_points: Mapping[str, str] | None = None,
    backends: Mapping[str, str] | None = None,
    licence: str = "",
    group: str = ENTRY_POINT_GROUP,
) -> Path:
    """Write a distribution into ``folder``; with ``PYTHONPATH=folder`` (or on ``sys.path``) it is installed.

    Args:
        folder: made if it is not there; several distributions may share it.
        name: of the distribution.
        version: of the distribution.
        module: module that the plugin is; by default ``name`` with underscores. It may be one that is
            importable anyhow (``edgeai.testing.fakes_plugin``); then leave ``module_source`` out.
        module_source: text of the module, written to ``folder``.
        entry_points: plugin name -> module; by default one plugin called as the distribution.
        backends: backend -> module, for those that its metadata declares.
        licence: an SPDX expression, which its metadata then states.
        group: of the entry points.

    Returns:
        The ``.dist-info`` folder.
    """
    module = module or re.sub(r"[-.]+", "_", name)
    if module_source is not None:
        file = folder.joinpath(*module.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(module_source, encoding="utf-8")
    info = folder / f"{re.sub(r'[-.]+', '_', name)}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = []
    for title, entries in ((group, entry_points or {name: module}), (BACKENDS_GROUP, backends or {})):
        lines += [f"[{title}]", *(f"{entry} = {target}" for entry, target in entries.items())] if entries else []
    stated = f"License-Expression: {licence}\n" if licence else ""
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{stated}"
    info.joinpath("METADATA").write_text(metadata, encoding="utf-8")
    info.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return info


def write_fake_backend(
    folder: Path, *, name: str, how: str | None = None, at: str = "run", version: str = "1.0", prelude: str = ""
) -> Path:
    """Install a plugin with one fake backend by way of ``folder``; plugin and backend are both called ``name``.

    Args:
        folder: as in ``write_fake_distribution``.
        name: such that it is a module's name too, but for hyphens.
        how: of ``fakes.WAYS``: how it misbehaves with every artifact; by default it works.
        at: ``open`` or ``run``: when it does.
        version: of the distribution.
        prelude: Python that the module runs when it is imported.

    Returns:
        The ``.dist-info`` folder.
    """
    source = _BACKEND.format(name=name, how=how, at=at, prelude=prelude)
    return write_fake_distribution(folder, name=name, version=version, module_source=source)


def none_steps_back(folder: Path) -> None:
    """Have processes that see ``folder`` first take their turn of the processor as all others do.

    Some roles take what others leave of it: where many tests run, that is nothing.
    """
    with (folder / "sitecustomize.py").open("a", encoding="utf-8") as file:
        file.write("import os\nos.nice = os.sched_setscheduler = lambda *args: 0\n")


def write_fakes(folder: Path) -> Path:
    """Install the plugin ``fakes`` (``edgeai.testing.fakes_plugin``) by way of ``folder``."""
    return write_fake_distribution(
        folder,
        name="edgeai-fakes",
        module="edgeai.testing.fakes_plugin",
        entry_points={"fakes": "edgeai.testing.fakes_plugin"},
    )
