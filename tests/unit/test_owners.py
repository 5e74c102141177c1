"""One table says whose a code is, of every code there is, and the reference says the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from edgeai.api import errors
from edgeai.owners import AREAS, CODES, ENDS_BY, FAILS_BY, Owner, is_of_plugins, owner_of

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
DOCUMENTED = re.findall(r"^\| `([a-z]+\.[a-z0-9-]+)` \|", REFERENCE, re.MULTILINE)


def _raised() -> set[str]:
    pattern = re.compile(r"""(?:code|default_code(?:: ClassVar\[str\])?)\s*=\s*["']([a-z]+(?:\.[a-z0-9-]+)+)["']""")
    sources = [*(ROOT / "edgeai").rglob("*.py"), *ROOT.glob("plugins/*/edgeai_*/**/*.py")]
    return {code for path in sources if "testing" not in path.parts for code in pattern.findall(path.read_text())}


def test_every_documented_and_every_raised_code_has_an_owner_of_its_own_accord() -> None:
    everything = {*DOCUMENTED, *_raised()}
    assert len(everything) > 200
    assert sorted(code for code in everything if code not in CODES and code.partition(".")[0] not in AREAS) == []


def test_the_reference_says_whose_the_codes_of_an_area_are() -> None:
    rows = re.findall(r"^\| \[`([a-z]+)\.`\].*\| (\w+) \|$", REFERENCE, re.MULTILINE)
    assert dict(rows) == dict(AREAS)


def test_the_reference_lists_the_exceptions_and_no_other() -> None:
    section = REFERENCE.split("## Whose a code is")[1].split("\n## ")[0]
    rows = re.findall(rf"^\| ({'|'.join(get_args(Owner))}) \| (`.*`) \|$", section, re.MULTILINE)
    assert {code: who for who, codes in rows for code in re.findall(r"`([^`]+)`", codes)} == dict(CODES)


def test_an_exception_is_one_and_is_a_code_that_there_is() -> None:
    assert [code for code, who in CODES.items() if AREAS[code.partition(".")[0]] == who] == []
    assert [code for code in CODES if code not in DOCUMENTED] == []


@pytest.mark.parametrize(
    ("code", "who"),
    [
        ("dicom.truncated", "image"),
        ("pixels.codec", "image"),
        ("transform.not-applicable", "image"),
        ("transform.options", "bundle"),
        ("bundle.untrusted", "bundle"),
        ("plugin.not-allowed", "device"),
        ("task.extra-missing", "device"),
        ("backend.unknown-device", "device"),
        ("backend.no-candidate", "device"),
        ("backend.inference-failed", "plugin"),
        ("plugin.quarantined", "plugin"),
        ("job.crashed", "plugin"),
        ("pixels.of-a-plugin-from-elsewhere", "image"),
        ("backend.my-driver", "plugin"),
        ("nobody.knows", "device"),
        ("", "device"),
    ],
)
def test_whose(code: str, who: Owner) -> None:
    assert owner_of(code) == who


@pytest.mark.parametrize("code", ["task.out-of-range", "task.of-a-plugin", "acme.contrast", "requirements.x"])
def test_a_task_ends_images_by_codes_of_tasks_or_of_its_own(code: str) -> None:
    assert is_of_plugins(code, ENDS_BY)


def test_no_other_area_of_edgeai_is_a_tasks_to_end_by() -> None:
    assert [area for area in AREAS if is_of_plugins(f"{area}.x", ENDS_BY)] == ["task"]
    assert {area for area in AREAS if is_of_plugins(f"{area}.x", FAILS_BY)} == set(FAILS_BY)


def test_what_only_the_device_can_cure_is_never_the_images() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.EdgeaiError)]
    of_the_device = errors.BundleRejected | errors.PluginError | errors.BackendError | errors.ConfigError
    asked = [kind for kind in kinds if issubclass(kind, of_the_device)]
    assert len(asked) > 8
    assert [kind for kind in asked if owner_of(kind.default_code) == "image"] == []


def test_the_table_needs_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import edgeai.owners;"
        "tops = {name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names);"
        "print(sorted(tops))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['edgeai']"
