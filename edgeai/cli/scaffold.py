"""A new plugin's distribution, written from the templates beside this module."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from edgeai.api.errors import ConfigError

KINDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "backend": ("", ""),
        "transform": ("", ""),
        "task": ("", ""),
        "sink": ("", ""),
        "source": ("", ""),
        "converter": ('"keras>=3.12"', '"tensorflow>=2.20"'),
    }
)
"""Kind -> what its template needs besides edgeai: to run, and for its tests."""

_DECLARED = """
# The backend, too, so that it is found by its name without being imported.
[project.entry-points."edgeai.backends"]
{name} = "{module}"
"""
_TOY = """
# What toy/ needs: the build host, a converter with its engine, steps that prepare pictures.
toy = ["edgeai[build,transforms]", "edgeai-tflite[litert,build]"]"""
"""Of a task, whose judge is there for a build host: with it, a model can be trained at once."""
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME = 40


def write_plugin(name: str, kind: str, output: Path) -> list[Path]:
    """Write the distribution ``edgeai-<name>`` into a new folder of that name in ``output``.

    Returns:
        The files, in the order in which an author reads them.

    Raises:
        ConfigError: a name that cannot be used, an unknown kind, or a folder that is there already.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME or name.startswith("edgeai"):
        raise ConfigError(
            f"{name!r} cannot be the name of a plugin",
            code="config.plugin-name",
            remedy="lower-case letters and digits in words joined by -, such as acme-npu; edgeai- is put before it",
        )
    if kind not in KINDS:
        raise ConfigError(f"no kind of plugin is called {kind!r}", remedy=f"use one of {', '.join(KINDS)}")
    folder = output / f"edgeai-{name}"
    if folder.exists():
        raise ConfigError(
            f"{folder} is there already", code="config.plugin-exists", remedy="choose another name or --output"
        )
    module = f"edgeai_{name.replace('-', '_')}"
    texts = _texts(name, kind, module)
    written = []
    for path, text in texts.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        written.append(target)
    return written


def _texts(name: str, kind: str, module: str) -> dict[str, str]:
    templates = files("edgeai.cli") / "templates"
    needs, test_needs = KINDS[kind]
    values = {
        "name": name,
        "kind": kind,
        "module": module,
        "class": "".join(word.capitalize() for word in name.split("-")),
        "distribution": f"edgeai-{name}",
        "dependencies": f", {needs}" if needs else "",
        "test_dependencies": f", {test_needs}" if test_needs else "",
        "more_dependencies": _TOY if kind == "task" else "",
        "more_entry_points": _DECLARED.format(name=name, module=module) if kind == "backend" else "",
        "what": (templates / kind / "what.txt").read_text(encoding="utf-8").strip(),
    }

    def filled(template: str) -> str:
        text = (templates / template).read_text(encoding="utf-8")
        return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], text)

    more, toy = templates / kind / "more.md.tmpl", templates / kind / "toy"
    examples = sorted(path.name for path in toy.iterdir()) if toy.is_dir() else []
    return {
        "README.md": filled("common/README.md.tmpl") + (filled(f"{kind}/{more.name}") if more.is_file() else ""),
        "pyproject.toml": filled("common/pyproject.toml.tmpl"),
        f"{module}.py": filled(f"{kind}/module.py.tmpl"),
        "tests/test_conformance.py": filled(f"{kind}/test_conformance.py.tmpl"),
        **{f"toy/{name.removesuffix('.tmpl')}": filled(f"{kind}/toy/{name}") for name in examples},
    }
