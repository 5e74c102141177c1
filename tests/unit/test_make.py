"""``make test`` and ``.ci/run``: one part that fails hides no other, and the end says what failed.

``make`` and ``bash`` are real; the programs that they start are scripts that note how they were called, since the
real ones are the very tests that run here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgeai.testing.require import require

ROOT = Path(__file__).resolve().parents[2]
NOTING = """\
#!/bin/sh
echo "$*" >> {log}
case "$*" in {cases} esac
exit 0
"""
RUNTIME = ".venv-tflite-runtime/.ready"
UNIT, SYSTEM = '*"not system"*', '*"-m system"*'


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def make_test(folder: Path, *cases: str, arguments: str = "") -> tuple[int, list[str], str]:
    """Status of ``make test``, the calls of Python and what was printed, with a Python that ends by ``cases``."""
    require("make", shutil.which("make") is not None, "make is not installed")
    log = folder / "log"
    python = script(folder / "python", NOTING.format(log=log, cases=" ".join(cases) or "x) ;;"))
    for ready in (folder / "venv/.base", folder / "venv/.dev", folder / "runtime/.ready"):
        ready.parent.mkdir(exist_ok=True)
        ready.touch()
    given = [f"VENV={folder}/venv", f"RUNTIME_VENV={folder}/runtime", f"PY={python}", f"ARGS={arguments}"]
    made = subprocess.run(
        ["make", "test", *given, "PROJECTS="], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    return made.returncode, log.read_text().splitlines(), made.stdout + made.stderr


def test_both_parts_run_and_are_asked_what_was_asked_for(tmp_path: Path) -> None:
    status, calls, _ = make_test(tmp_path, arguments="tests/unit -k word")
    assert status == 0
    assert [call.endswith("tests/unit -k word") for call in calls] == [True, True]
    assert sorted("not system" in call for call in calls) == [False, True]
    assert all("not torture" in call for call in calls)
    assert all("--dist loadfile" in call for call in calls)  # a file's tests share what its fixtures set up


def test_the_others_run_beside_the_system_tests_and_yield_to_them(tmp_path: Path) -> None:
    begun, own = tmp_path / "begun", os.getpriority(os.PRIO_PROCESS, 0)
    waits = f"for i in $(seq 999); do test -e {begun} && break; sleep 0.3; done; cat {begun} && echo others at $(nice)"
    begins = f"touch {begun}; echo system at $(nice); exit 1"
    status, _, output = make_test(tmp_path, f"{UNIT}) {waits} ;; {SYSTEM}) {begins} ;;")
    lines = output.splitlines()
    places = [lines.index(line) for line in (f"others at {min(own + 5, 19)}", "The system tests:", f"system at {own}")]
    assert status != 0
    assert places == sorted(places)


def test_the_files_that_begin_are_there() -> None:
    text = (ROOT / "tests/conftest.py").read_text().split("LONGEST_FIRST = (")[1].split(")")[0]
    names = re.findall(r'"(.+)"', text)
    assert len(names) == len(set(names)) > 10
    assert [name for name in names if not (ROOT / name).is_file()] == []


def test_the_system_tests_are_where_they_are_looked_for(tmp_path: Path) -> None:
    folders = re.findall(r"^SYSTEM_TESTS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    files = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "plugins").rglob("test_*.py")]
    marked = [path for path in files if re.search(r"mark\.system\b", path.read_text())]
    assert {str(path.parent.relative_to(ROOT)) for path in marked} == set(folders)
    asked = " ".join(["-m system and not torture", *folders])
    assert [call.endswith(asked) for call in sorted(make_test(tmp_path)[1])] == [False, True]


@pytest.mark.parametrize(
    ("cases", "told"),
    [
        ([f"{UNIT}) exit 1 ;;"], "0 in the system tests, and 1 in all others"),
        ([f"{SYSTEM}) exit 1 ;;"], "1 in the system tests, and 0 in all others"),
        ([f"{UNIT}) exit 2 ;;", f"{SYSTEM}) exit 3 ;;"], "3 in the system tests, and 2 in all others"),
        ([f"{UNIT}) exit 5 ;;", f"{SYSTEM}) exit 5 ;;"], "5 in the system tests, and 5 in all others"),
    ],
    ids=["others", "system", "both", "no test at all"],
)
def test_a_part_that_fails_hides_no_other_and_the_end_says_so(tmp_path: Path, cases: list[str], told: str) -> None:
    status, calls, output = make_test(tmp_path, *cases)
    assert status != 0
    assert len(calls) == 2
    assert told in output


@pytest.mark.parametrize("part", [UNIT, SYSTEM])
def test_arguments_that_choose_tests_of_one_part_alone_are_no_failure(tmp_path: Path, part: str) -> None:
    status, calls, _ = make_test(tmp_path, f"{part}) exit 5 ;;")
    assert (status, len(calls)) == (0, 2)


def ci(folder: Path, *versions: str, fails: str = "x") -> tuple[int, list[str], str]:
    """``.ci/run`` on a machine that has these Pythons, of which the first is ``python3``."""
    programs, log = folder / "bin", folder / "log"
    for name in ("bash", "dirname", "id", "cat", "mktemp", "rm"):
        programs.mkdir(exist_ok=True)
        (programs / name).symlink_to(shutil.which(name) or name)
    script(programs / "make", NOTING.format(log=log, cases=f"{fails}) exit 1 ;;"))
    for number, version in enumerate(versions):
        says = f'#!/bin/sh\n[ -n "$2" ] && echo {version} || true\n'
        for name in ["python3"] * (number == 0) + [f"python{version}"]:
            script(programs / name, says)
    if "3.13" not in versions:  # pyenv leaves a name on the PATH for what is not chosen
        script(programs / "python3.13", "#!/bin/sh\nexit 127\n")
    environment = {"PATH": str(programs), "HOME": str(folder), "EDGEAI_REQUIRE": "dcmtk,tflite-runtime"}
    ran = subprocess.run(
        [shutil.which("bash") or "bash", ROOT / ".ci/run"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    calls = log.read_text().splitlines()
    assert calls[-1] == "test", "which has the processor to itself"
    first = [call for call in calls if call in ("lint", RUNTIME)]
    assert sorted(first) == [RUNTIME, "lint"], "begun side by side"
    return ran.returncode, ["lint", *(call for call in calls if call not in first)], ran.stdout + ran.stderr


def test_every_python_that_is_here_is_tried_and_the_others_are_named(tmp_path: Path) -> None:
    status, calls, output = ci(tmp_path, "3.11", "3.12")
    assert status == 0, output
    assert calls == ["lint", f"cart-tests WORKERS=2 PYTHON={tmp_path}/bin/python3.12 VENV=.venv-3.12", "test"]
    assert "has no such Python: 3.13" in output  # there is one of that name, which does not start


def test_the_newest_python_may_be_the_one_that_make_takes(tmp_path: Path) -> None:
    status, calls, output = ci(tmp_path, "3.13", "3.11", "3.12")
    assert status == 0
    assert [call.split()[-1] for call in calls[1:-1]] == ["VENV=.venv-3.11", "VENV=.venv-3.12"]
    assert ["MORE=" in call.split() for call in calls[1:-1]] == [True, False], "all of it with the newest of the others"
    assert "no such Python" not in output


@pytest.mark.parametrize(
    ("fails", "name"),
    [("lint", "lint"), ("test", "test"), ("cart-tests*3.12*", "python3.12"), ("cart*3.13", "python3.13")],
)
def test_whatever_fails_in_ci_the_rest_is_tried_too(tmp_path: Path, fails: str, name: str) -> None:
    status, calls, output = ci(tmp_path, "3.11", "3.12", "3.13", fails=fails)
    assert status == 1
    assert len(calls) == 4
    assert output.splitlines()[-1] == f"Failed: {name}"


def test_a_python_of_pyenv_is_taken(tmp_path: Path) -> None:
    script(tmp_path / ".pyenv/versions/3.12.9/bin/python", "#!/bin/sh\nexit 0\n")
    status, calls, _ = ci(tmp_path, "3.11")
    assert status == 0
    assert calls[1:-1] == [f"cart-tests WORKERS=2 PYTHON={tmp_path}/.pyenv/versions/3.12.9/bin/python VENV=.venv-3.12"]


def cart_tests(*given: str) -> set[str]:
    """What ``make cart-tests`` would try: names of test files, without ``test_``."""
    done = subprocess.run(["make", "-n", "cart-tests", *given], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(re.findall(r"tests/unit/test_(\w+)\.py", done.stdout))


def test_a_python_between_tries_a_file_of_each_kind() -> None:
    few, every = cart_tests("MORE="), cart_tests()
    assert few < every
    assert all(any(name.startswith(kind) for kind in few) for name in every)


def test_what_ci_asks_of_make_there_is() -> None:
    done = subprocess.run(["make", "-n", "quick", "test"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "not slow" in done.stdout
    assert os.access(ROOT / ".ci/run", os.X_OK)
