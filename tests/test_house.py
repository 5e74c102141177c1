"""The house rules that no other tool holds: what stands where, and that the documents are true."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = {
    *("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", ".gitignore"),
    *("edgeai", "plugins", "models", "tests", "firmware-configs", "docs", "benchmarks", ".ci"),
}
PACKAGES = [ROOT / "edgeai", *(path for path in ROOT.glob("plugins/*/edgeai_*") if path.is_dir())]
SOURCES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


@functools.cache
def _nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a source file, which most tests here look at: parsed once."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def _text(path: Path) -> str:
    data = path.read_bytes()
    return "" if b"\0" in data[:4096] else data.decode("utf-8", "replace")


def test_the_top_level_is_the_one_that_was_agreed() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in _tracked()} <= TOP_LEVEL


def test_no_file_is_longer_than_400_lines_and_no_function_than_60() -> None:
    long_files = [f"{path}: {lines}" for path in SOURCES if (lines := len(path.read_text().splitlines())) > 400]
    long_functions = [
        f"{path}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in _nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > 60
    ]
    assert long_files == []
    assert long_functions == []


def test_no_registry_no_machine_path_and_no_private_key_is_in_the_repository() -> None:
    forbidden = re.compile(
        r"py"
        + r"pi\.org|python"
        + r"hosted|deb\.deb"
        + r"ian\.org|registry\.np"
        + r"mjs|BEGIN [A-Z ]*PRIVATE"
        + r" KEY|"
        r"(?<![\w.])/(?:root|home/[a-z]+)/[\w.]"
    )
    places = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _tracked()
        for number, line in enumerate(_text(path).splitlines(), start=1)
        if forbidden.search(line)
    ]
    assert places == []


@pytest.mark.parametrize("module", ["edgeai", "edgeai.dicom.values", "edgeai_tflite.convert"])
def test_a_warning_of_our_own_modules_fails_the_test_that_sees_it(module: str) -> None:
    with pytest.raises(DeprecationWarning, match="old"):
        exec("import warnings; warnings.warn('old', DeprecationWarning)", {"__name__": module})


def test_a_warning_of_anybody_else_is_only_shown() -> None:
    with pytest.warns(DeprecationWarning, match="old"):
        exec("import warnings; warnings.warn('old', DeprecationWarning)", {"__name__": "edgeaiish"})


def test_names_that_say_nothing_are_not_used() -> None:
    vague = re.compile(r"(Manager|Handler|Helper|Utils|Util|Base)$")
    places = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in SOURCES
        for node in _nodes(path)
        if isinstance(node, ast.ClassDef) and vague.search(node.name)
    ]
    assert places == []


VAGUE_MODULES = frozenset({"common", "extra", "first", "helpers", "metrics", "misc", "seen", "utils"})


def test_modules_say_what_they_hold() -> None:
    """Metrics are what Prometheus scrapes, and nothing else; what judges a model are figures."""
    vague = {str(path.relative_to(ROOT)) for path in SOURCES if VAGUE_MODULES & {path.stem, path.parent.name}}
    assert vague == {"edgeai/metrics.py"}


def test_mutants_are_made_of_modules_that_are_there() -> None:
    spec = importlib.util.spec_from_file_location("targets", ROOT / "tests/mutants/targets.py")
    assert spec
    assert spec.loader
    targets = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = targets  # a dataclass looks its module up
    try:
        spec.loader.exec_module(targets)
    finally:
        del sys.modules[spec.name]
    named = [path for target in targets.TARGETS.values() for path in (*target.modules, *target.tests)]
    assert [path for path in named if not (ROOT / path).is_file()] == []


MUTE = frozenset({"found", "said"})
"""As names of locals: of what, and by whom? A field may have them, where its class says it."""
STILL_MUTE = {ROOT / "tests/roles/conftest.py", ROOT / "tests/roles/test_slots.py"}
"""Files whose locals are still to be named; none is added."""
SPEAKING = [*SOURCES, *ROOT.glob("tests/**/*.py"), *ROOT.glob("plugins/*/tests/**/*.py")]


def test_locals_say_what_they_are() -> None:
    mute = {path: names for path in SPEAKING if (names := _mute(path))}
    unsaid = mute.keys() - STILL_MUTE
    assert sorted(f"{path.relative_to(ROOT)}:{name}" for path in unsaid for name in mute[path]) == []


def _mute(path: Path) -> set[str]:
    """Line and name of each local of a file that does not say what it is."""
    if not re.search(rf"\b({'|'.join(MUTE)})\b", path.read_text(encoding="utf-8")):
        return set()  # parsing takes longer
    return {
        f"{name.lineno} {spelt}"
        for scope in _nodes(path)
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for name in ast.walk(scope)
        if (spelt := _given_name(name)) in MUTE
    }


def _given_name(node: ast.AST) -> str:
    """The name that a node gives to a value, or none."""
    if isinstance(node, ast.arg):
        return node.arg
    return node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else ""


OWNERS = {
    "paho": {"mqtt", "testing"},
    "pynetdicom": {"dicom", "testing"},
    "pydicom": {"dicom", "testing", "cli/demo_files.py"},
    "sqlite3": {"spool"},
    "pydantic": {"config/"},
    "msgspec": {"bundle", "slots", "rollouts"},
    "prometheus_client": {"metrics.py", "health_server.py"},
    "pluggy": {"api", "plugins.py"},
    "typer": {"cli"},
    "cryptography": {"bundle", "doctor/certificates.py", "testing", "tls.py", "tls_files.py", "tls_kinds.py"},
    "securesystemslib": {"bundle"},
    "amqtt": {"testing"},
}
"""Third-party library -> who in edgeai/ may import it."""


def test_each_library_has_one_owner() -> None:
    core = ROOT / "edgeai"
    strangers = [
        f"{path.relative_to(core)}:{node.lineno} imports {library}"
        for path in SOURCES
        if path.is_relative_to(core)
        for node in _nodes(path)
        for library in _imported(node) & OWNERS.keys()
        if not any(str(path.relative_to(core)).startswith(owner) for owner in OWNERS[library])
    ]
    assert strangers == []


def _imported(node: ast.AST) -> set[str]:
    """Top-level packages that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return {(node.module or "").split(".")[0]}
    return set()


def test_the_header_needs_numpy_and_pluggy_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import edgeai.api as a; [getattr(a, n) for n in a.__all__];"
        "tops = {m.split('.')[0] for m in set(sys.modules) - before};"
        "print(sorted(t for t in tops if t not in sys.stdlib_module_names and not t.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(done.stdout)) <= {"edgeai", "numpy", "pluggy"}


def test_the_core_brings_no_engine_no_opencv_and_no_tensorflow() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    engines = re.compile(r"tensorflow|keras|litert|tflite|openvino|opencv|torch", re.IGNORECASE)
    assert [item for item in project["dependencies"] if engines.search(item)] == []


def _hold_names(words: Collection[str], allowed: Mapping[str, str]) -> None:
    """In the core and the workbench these words are strings in the allowed files, and in each of them."""
    named = {
        str(path.relative_to(package.parent))
        for package in (ROOT / "edgeai", ROOT / "plugins/edgeai-workbench/edgeai_workbench")
        for path in SOURCES
        if path.is_relative_to(package) and "testing" not in path.parts
        for node in _nodes(path)
        if isinstance(node, ast.Constant) and node.value in words
    }
    assert sorted(named - set(allowed)) == []
    assert sorted(set(allowed) - named) == [], "these name none any more: take them off the list"


TASKS_BY_NAME = {
    "edgeai/config/tables.py": "the default of plugins.allow: what a service may load where nobody says",
}
"""Files of the core and of the workbench in which the name of a task may stand, and why."""


def test_no_host_names_a_task_or_a_figure() -> None:
    """Whatever is particular to a task stands with the task: a third party's is no worse off than ours."""
    from edgeai_tasks.classify import SPEC as classify
    from edgeai_tasks.classify.figures import NAMES as of_classes
    from edgeai_tasks.detect import SPEC as detect
    from edgeai_tasks.detect.figures import NAMES as of_boxes
    from edgeai_tasks.reconstruct import SPEC as reconstruct
    from edgeai_tasks.regress import SPEC as regress
    from edgeai_tasks.regress.figures import NAMES as of_values
    from edgeai_tasks.segment import SPEC as segment
    from edgeai_tasks.segment.figures import NAMES as of_masks

    words = {classify.name, segment.name, detect.name, regress.name, reconstruct.name}
    words |= {*of_classes, *of_masks, *of_boxes, *of_values}
    words -= {"accuracy", "precision", "stated", "within"}  # words of other things
    _hold_names(words, TASKS_BY_NAME)


ENGINES_BY_NAME = {
    "edgeai/bundle/strangers.py": "what was given in place of a bundle is told by its ending: no plugin is loaded",
    "edgeai/config/tables.py": "what a profile that does not say it allows: edgeai's own",
}
"""Files of the core and of the workbench in which an engine, a format or a converter may be named, and why."""


def test_no_host_names_an_engine_a_format_or_a_converter() -> None:
    """Specs say what a host must know of them: another maker's is no worse off. Only the parent is known by name."""
    from edgeai.plugins import Registry, find

    registry = Registry.of([info.name for info in find() if info.distribution.startswith("edgeai-")])
    assert not registry.faults
    backends = list(registry.backends.values())
    parents = [spec for spec in backends if spec.files is not None and spec.files.suffix == ".keras"]
    engines = [spec for spec in backends if spec not in parents]
    assert len(engines) >= 3, "the list is made of what is installed"
    words = {word for spec in engines for word in (spec.name, spec.artifact_format, *spec.libraries)}
    words |= {spec.name for spec in registry.converters.values()}
    for files in (spec.files for spec in engines if spec.files is not None):
        words |= {files.suffix, *files.folder[:1], *files.made_from} - {"", ".xml"}
    words -= {library for spec in parents for library in spec.libraries}
    assert words >= {"tflite", "openvino", "gpu", "savedmodel", ".tflite", "saved_model.pb"}
    _hold_names(words, ENGINES_BY_NAME)


def test_constraints_are_exact_pins_without_addresses() -> None:
    for path in (ROOT / ".ci").glob("constraints*.txt"):
        for line in path.read_text().split():
            assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), f"{path.name}: {line}"


def _codes_raised() -> set[str]:
    code = re.compile(r"""(?:code|default_code(?:: ClassVar\[str\])?)\s*=\s*["']([a-z]+(?:\.[a-z0-9-]+)+)["']""")
    return {raised for path in SOURCES if "testing" not in path.parts for raised in code.findall(path.read_text())}


def _rows(name: str) -> dict[str, str]:
    text = (ROOT / "docs/reference" / name).read_text()
    return {match[1]: match[0] for match in re.finditer(r"^\| `([a-z0-9.-]+)` \|.*$", text, re.MULTILINE)}


def test_every_error_code_has_its_row_and_every_row_its_code() -> None:
    rows, raised = _rows("errors.md"), _codes_raised()
    assert sorted(raised - set(rows)) == [], "codes without a row in docs/reference/errors.md"
    source = "\n".join(path.read_text() for path in SOURCES)
    assert sorted(code for code in rows if f'"{code}"' not in source) == [], "rows whose code is nowhere"


UNTESTED_CODES = {
    "role.unexpected": "stands in the log line of a role that dies of an error that nobody foresaw",
    "convert.no-samples": "asked of converters that calibrate, which all live in plugins and are tested through gates",
}
"""Error codes that no test raises, each with the reason."""


def test_every_error_code_is_raised_by_some_test() -> None:
    """A code that no test names could change, or never come, unseen."""
    folders = [ROOT / "tests", *ROOT.glob("plugins/*/tests")]
    files = [path for folder in folders for path in folder.rglob("*.py") if path.name != Path(__file__).name]
    named = {
        code
        for path in files
        for node in _nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for code in re.findall(r"[a-z]+(?:\.[a-z0-9-]+)+", node.value)
    }
    codes = set(_rows("errors.md"))
    assert sorted(codes - named - set(UNTESTED_CODES)) == [], "no test raises these"
    assert sorted(set(UNTESTED_CODES) & named) == [], "a test raises these: take them off the list"
    assert sorted(set(UNTESTED_CODES) - codes) == [], "there is no such code any more"


def test_every_event_kind_has_its_row() -> None:
    rows = _rows("events.md")
    # Queued through Spool.event(...) or queue_event(...): the first string literal is the kind.
    called = re.compile(r"""(?:\.event|queue_event|_tell)\([^"')]*?["']([a-z]+(?:\.[a-z-]+)+)["']""", re.DOTALL)
    kinds = {kind for path in SOURCES if "testing" not in path.parts for kind in called.findall(path.read_text())}
    assert kinds, "the pattern no longer finds any event"
    assert sorted(kinds - set(rows)) == []


def test_every_hook_is_in_the_plugin_authors_guide() -> None:
    from edgeai.api import hooks

    guide = (ROOT / "plugins/README.md").read_text()
    names = [name for name in dir(hooks) if name.startswith("edgeai_")]
    assert len(names) == 7
    assert [name for name in names if name not in guide] == []


def test_every_command_is_in_the_reference() -> None:
    from edgeai.cli.commands import BUILD_HOST, OPS_HOST, OWN, UPDATE_CLIENT

    text = (ROOT / "docs/reference/cli.md").read_text()
    assert [name for name in (*OWN, *BUILD_HOST, *OPS_HOST, *UPDATE_CLIENT) if f"## `edgeai {name}" not in text] == []


def test_every_metric_is_in_the_reference() -> None:
    text = (ROOT / "docs/reference/metrics.md").read_text()
    source = (ROOT / "edgeai/metrics.py").read_text()
    names = set(re.findall(r'"(edgeai_[a-z_]+)"', source))
    assert names
    assert sorted(name for name in names if f"`{name}" not in text) == []


def test_links_inside_the_documents_lead_somewhere() -> None:
    broken = []
    for path in (path for path in _tracked() if path.suffix == ".md"):
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", path.read_text()):
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)} -> {target}")
    assert broken == []
