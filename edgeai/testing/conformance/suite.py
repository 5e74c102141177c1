"""What all the conformance classes share: which plugin, which spec, and since when a rule holds."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

import pytest

from edgeai.api import API_VERSION, OptionSpec
from edgeai.plugins import Plugin, PluginInfo, find, load_from
from edgeai.process import flush_native, for_a_child

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")
_made: dict[tuple[type, str], Any] = {}

KNOWN_ENGINES = (
    "ai_edge_litert",
    "cv2",
    "jax",
    "keras",
    "onnxruntime",
    "openvino",
    "tensorflow",
    "tensorrt",
    "tflite_runtime",
    "torch",
)
"""Heavy modules that no plugin may import by being loaded, whatever its author lists."""

NEEDS = "needs an example: "
"""What the reason begins with of a rule that is skipped since its author has given nothing to ask it with."""

_REGISTER = """
from edgeai.process import die_with_parent
die_with_parent()
import json, sys
from edgeai.plugins import PluginInfo, load_from
before = set(sys.modules)
load_from(PluginInfo(**json.loads(sys.argv[1])))
print(json.dumps(sorted(set(sys.modules) - before)), file=open(sys.argv[2], "w"))
"""


def since(major: int, minor: int) -> Callable[[_F], _F]:
    """Mark a rule with the version of ``edgeai.api`` that introduced it."""

    def mark(function: _F) -> _F:
        function.edgeai_since = (major, minor)  # type: ignore[attr-defined]
        return function

    return mark


def child_environment() -> dict[str, str]:
    """The environment of a child that finds the same modules as this process, and is to die with it."""
    return {**for_a_child(), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def needs(what: str) -> NoReturn:
    """Skip a rule that cannot be asked without ``what`` of the author's: it is not held."""
    pytest.skip(NEEDS + what)


def info_of(plugin: str, module: str = "") -> PluginInfo:
    """The plugin's metadata; made up when ``module`` says where it is and it is not installed."""
    if module:
        return PluginInfo(plugin or module.rpartition(".")[2], module, "", "")
    matches = [info for info in _installed(tuple(sys.path)) if info.name == plugin]
    if not matches:
        _installed.cache_clear()  # whatever is not there yet may be the next time
        pytest.fail(f"no installed plugin is called {plugin!r}; set `plugin` (or `module`)", pytrace=False)
    return matches[0]


@functools.cache
def _installed(path: tuple[str, ...]) -> tuple[PluginInfo, ...]:
    """``find`` for this path: every rule asks, several times, and each time the metadata of everything was read."""
    return find()


@functools.cache
def loaded(info: PluginInfo) -> Plugin:
    """The plugin, loaded once in a test run."""
    return load_from(info)


@functools.cache
def seen_by_loading(info: PluginInfo) -> tuple[tuple[str, ...], str]:
    """The modules that loading the plugin imports, and what it prints, seen in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "modules.json")
        done = subprocess.run(
            [sys.executable, "-c", _REGISTER, json.dumps(asdict(info)), str(report)],
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"loading the plugin in a process of its own failed:\n{done.stderr[-2000:]}"
        return tuple(json.loads(report.read_text(encoding="utf-8"))), done.stdout


def assert_refused(
    errors: type[BaseException] | tuple[type[BaseException], ...], call: Callable[[], Any], what: str
) -> None:
    """``call`` raises one of ``errors``; another comes through as it is, and none fails, saying ``what``."""
    try:
        call()
    except errors:
        return
    pytest.fail(f"not refused: {what}", pytrace=False)


def assert_silent(printed: str) -> None:
    """Nothing was written to standard output."""
    assert not printed, f"written to standard output, which is the host's (log, or print to stderr): {printed[:500]!r}"


class Suite:
    """Rules that hold for a spec of any kind.

    Attributes:
        plugin: name of the plugin's entry point.
        module: instead of an installed plugin, the module to load (a plugin being written).
        engine_modules: modules that loading the plugin must not import, besides ``KNOWN_ENGINES``.
        kind: of ``edgeai.plugins.KINDS``; set by the class for each kind.
        part: what of the spec the rules are of, where it is not all: a task's judge has rules of its own.
    """

    plugin: ClassVar[str] = ""
    module: ClassVar[str] = ""
    engine_modules: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[str] = ""
    part: ClassVar[str] = ""

    @classmethod
    def spec_name(cls) -> str:
        """Name of the spec under test: the class attribute that is called as the kind is."""
        return str(getattr(cls, cls.kind))

    @classmethod
    def any_spec(cls) -> Any:
        """The spec under test, as the host has it."""
        name = cls.spec_name()
        specs = {spec.name: spec for spec in loaded(info_of(cls.plugin, cls.module)).specs(cls.kind)}
        if name not in specs:
            pytest.fail(f"the plugin registers no {cls.kind} {name!r}, only {sorted(specs)}", pytrace=False)
        return specs[name]

    def once(self, what: str, make: Callable[[], _T]) -> _T:
        """``make()``, called once for this class however many rules ask: an example may be slow to make."""
        key = (type(self), what)
        if key not in _made:
            _made[key] = make()
        made: _T = _made[key]
        return made

    @pytest.fixture
    def silence(self, capfd: pytest.CaptureFixture[str]) -> Callable[[], AbstractContextManager[None]]:
        """Gives a context that fails when standard output is written to inside, by C code too."""

        @contextmanager
        def silent() -> Iterator[None]:
            flush_native()
            capfd.readouterr()
            yield
            sys.stdout.flush()
            flush_native()
            assert_silent(capfd.readouterr().out)

        return silent

    @pytest.fixture(autouse=True)
    def _held_to_the_api_it_declares(self, request: pytest.FixtureRequest) -> None:
        introduced = getattr(request.function, "edgeai_since", (1, 0))
        declared = loaded(info_of(self.plugin, self.module)).api
        if introduced > declared:
            pytest.skip(f"rule of edgeai.api {introduced}, the plugin declares {declared}")

    @since(1, 0)
    def test_declares_an_api_of_this_host(self) -> None:
        """EDGEAI_API is not newer than the host's."""
        assert loaded(info_of(self.plugin, self.module)).api <= API_VERSION

    @since(1, 0)
    def test_registering_imports_no_engine(self) -> None:
        """Loading the plugin imports none of its engines: that is left to the first call."""
        modules, _ = seen_by_loading(info_of(self.plugin, self.module))
        imported = {name.partition(".")[0] for name in modules} | set(modules)
        engines = imported & {*KNOWN_ENGINES, *self.engine_modules}
        assert not engines, f"loading the plugin imported {sorted(engines)}; import them inside the functions"

    @since(1, 1)
    def test_loading_prints_nothing(self) -> None:
        """Loading the plugin writes nothing to standard output: that is its host's."""
        _, printed = seen_by_loading(info_of(self.plugin, self.module))
        assert_silent(printed)

    @since(1, 0)
    def test_is_documented(self) -> None:
        """The spec has a help text, and so has each of its options and settings."""
        spec = self.any_spec()
        assert spec.help.strip(), f"{self.kind} {spec.name!r} has no help text"
        options: list[OptionSpec] = [*getattr(spec, "options", ()), *getattr(spec, "settings", ())]
        silent = [option.name for option in options if not option.help.strip()]
        assert not silent, f"options without help text: {silent}"

    @since(1, 0)
    def test_defaults_are_among_the_choices(self) -> None:
        """An option's default is one of its choices, and a required option has no default."""
        spec = self.any_spec()
        for option in (*getattr(spec, "options", ()), *getattr(spec, "settings", ())):
            if option.choices and option.default is not None:
                assert option.default in option.choices, f"{option.name}: {option.default!r} not in {option.choices}"
            if option.required:
                assert option.default is None, f"{option.name} is required, so its default means nothing"
