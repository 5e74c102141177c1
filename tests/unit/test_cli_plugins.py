"""``edgeai plugins``, as a user runs it: in processes of their own, on distributions found by the path."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgeai.cli import main
from edgeai.cli.scaffold import KINDS
from edgeai.testing.distributions import write_fake_backend, write_fake_distribution

pytestmark = pytest.mark.slow

FACTS = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"}


def environment(*folders: Path) -> dict[str, str]:
    path = os.pathsep.join([*map(str, folders), *(p for p in sys.path if p)])
    return {**os.environ, **FACTS, "PYTHONPATH": path}


def run(command, cwd: Path, *folders: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env=environment(*folders),
        capture_output=True,
        text=True,
        timeout=600,
    )


def edgeai(cwd: Path, *arguments: str, path: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    return run(["edgeai", "plugins", *arguments], cwd, *path)


def written(folder: Path, name: str, kind: str) -> Path:
    """A new plugin, put on the path as pip would: its dist-info beside its module."""
    assert main.run(["plugins", "new", name, "--kind", kind, "--output", str(folder)]) == 0
    distribution = folder / f"edgeai-{name}"
    module = f"edgeai_{name.replace('-', '_')}"
    write_fake_distribution(distribution, name=f"edgeai-{name}", version="0.1.0", entry_points={name: module})
    return distribution


# --- new


BY_THE_GUIDE = pytest.param("backend", marks=pytest.mark.torture)
"""What the author's guide says is run as it stands: it makes a backend, tests it and checks it."""


@pytest.mark.parametrize("kind", [BY_THE_GUIDE, *(kind for kind in KINDS if kind != "backend")])
def test_a_new_plugin_works_as_written(tmp_path, kind):
    distribution = written(tmp_path, f"acme-{kind}", kind)
    done = run(["pytest", "-q", "-p", "no:cacheprovider"], distribution, distribution)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout


def test_new_writes_a_whole_distribution_of_at_most_sixty_lines(tmp_path):
    distribution = written(tmp_path, "acme", "backend")
    files = {
        str(p.relative_to(distribution)) for p in distribution.rglob("*") if p.is_file() and "dist-info" not in str(p)
    }
    assert files == {"README.md", "pyproject.toml", "edgeai_acme.py", "tests/test_conformance.py"}
    code = [line for line in (distribution / "edgeai_acme.py").read_text().splitlines() if line.strip()]
    assert len(code) <= 60
    for path in files:
        assert "{{" not in (distribution / path).read_text(), path


def test_a_new_task_has_a_judge_and_a_toy_that_its_readme_speaks_of(tmp_path):
    distribution = written(tmp_path, "acme-spots", "task")
    assert {path.name for path in (distribution / "toy").iterdir()} == {"draw.py", "model.toml", "train.py"}
    readme = (distribution / "README.md").read_text()
    for command in ("pip install -e '.[toy]'", "python toy/draw.py", "edgeai train toy", "edgeai build toy"):
        assert command in readme
    assert "{{" not in "".join(path.read_text() for path in distribution.rglob("*.*") if path.is_file())
    assert "toy = [" in (distribution / "pyproject.toml").read_text()


def test_what_new_writes_passes_the_projects_own_lint(tmp_path):
    assert edgeai(tmp_path, "new", "acme-backend").returncode == 0
    for kind in KINDS:
        if kind != "backend":
            written(tmp_path, f"acme-{kind}", kind)
    rules = ["--isolated", "--line-length", "120"]
    lint = run(["ruff", "check", *rules, "--select", "E,F,W,UP,B,SIM", "--ignore", "E402", "."], tmp_path)
    assert lint.returncode == 0, lint.stdout
    layout = run(["ruff", "format", *rules, "--check", "."], tmp_path)
    assert layout.returncode == 0, layout.stdout


@pytest.mark.parametrize(
    "name", ["", "Acme", "acme_npu", "3d", "acme-", "../acme", "acme npu", "edgeai-acme", "a" * 41]
)
def test_new_refuses_names_that_cannot_be_used(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert main.run(["plugins", "new", name]) == 2
    assert "config.plugin-name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_new_refuses_an_unknown_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.run(["plugins", "new", "acme", "--kind", "painter"]) == 2
    assert "backend, transform" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_new_leaves_what_is_there(tmp_path, monkeypatch, capsys):
    (tmp_path / "edgeai-acme").mkdir()
    (tmp_path / "edgeai-acme" / "mine.py").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert main.run(["plugins", "new", "acme"]) == 2
    assert "config.plugin-exists" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "edgeai-acme").iterdir()] == ["mine.py"]


# --- list


def test_list_from_the_metadata_imports_none_of_it(tmp_path):
    write_fake_distribution(tmp_path, name="acme-npu", version="2.1", module_source="raise SystemExit('imported')")
    done = edgeai(tmp_path, "list", "--no-load", path=(tmp_path,))
    assert done.returncode == 0, done.stderr
    assert ["acme-npu", "acme-npu", "2.1", "acme_npu"] in [line.split() for line in done.stdout.splitlines()]
    assert "imported" not in done.stdout + done.stderr
    rows = json.loads(edgeai(tmp_path, "list", "--no-load", "--json", path=(tmp_path,)).stdout)
    row = {"name": "acme-npu", "module": "acme_npu", "distribution": "acme-npu", "version": "2.1", "backends": []}
    assert row in rows


DEADLY = {
    "raise ZeroDivisionError('no such unit')": "ZeroDivisionError: no such unit",
    "raise SystemExit(3)": "SystemExit: 3",
    "import os; os._exit(3)": "ended with status 3",
    "import os; os._exit(0)": "ended with status 0",
    "import os; os.abort()": "SIGABRT",
    "import ctypes; ctypes.string_at(0)": "SIGSEGV",
}


def test_list_names_what_does_not_load_and_goes_on(tmp_path):
    for number, source in enumerate(DEADLY):
        write_fake_distribution(tmp_path, name=f"acme-{number}", module_source=f"import json\n{source}\n")
    write_fake_backend(tmp_path, name="zacme")
    rows = json.loads(edgeai(tmp_path, "list", "--json", path=(tmp_path,)).stdout)
    problems = {row["name"]: row["problem"] for row in rows}
    for number, problem in enumerate(DEADLY.values()):
        assert problem in problems[f"acme-{number}"], problem
    assert f"{tmp_path / 'acme_0.py'}, line 2" in problems["acme-0"]
    assert problems["zacme"] is None
    assert {row["name"]: row["provides"] for row in rows}["zacme"] == {"backend": ["zacme"]}


def test_list_says_in_words_what_does_not_load(tmp_path):
    write_fake_distribution(tmp_path, name="acme", module_source="import json\nimport no_such_engine\n")
    done = edgeai(tmp_path, "list", path=(tmp_path,))
    assert done.returncode == 0
    [line] = [line for line in done.stdout.splitlines() if line.startswith("acme ")]
    assert line.endswith("DOES NOT LOAD")
    assert f"ModuleNotFoundError: No module named 'no_such_engine' ({tmp_path / 'acme.py'}, line 2)" in done.stderr


def test_list_warns_of_a_name_that_is_taken_twice(tmp_path):
    for name in ("acme-one", "acme-two"):
        write_fake_distribution(tmp_path, name=name, entry_points={"acme": "acme"})
    assert "'acme' is provided twice" in edgeai(tmp_path, "list", path=(tmp_path,)).stderr


# --- check


def test_check_runs_the_authors_tests(tmp_path):
    distribution = written(tmp_path, "acme", "task")
    done = edgeai(tmp_path, "check", "acme", path=(distribution,))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "task acme" in done.stdout
    assert "ok   Each finding of a frame says which frame it is of." in done.stdout
    assert "FAIL" not in done.stdout
    counts = re.search(r"^acme: (\d+) of (\d+) rules held, (\d+) do not apply here$", done.stdout, re.MULTILINE)
    assert counts, done.stdout[-500:]
    held, every, inapplicable = map(int, counts.groups())
    assert held + inapplicable == every


def test_check_asks_what_it_can_of_specs_without_examples(tmp_path):
    distribution = written(tmp_path, "acme", "backend")
    (distribution / "tests" / "test_conformance.py").unlink()
    done = edgeai(tmp_path, "check", "acme", "--json", path=(distribution,))
    assert done.returncode == 0, done.stdout + done.stderr
    rules = {rule["test"]: rule for rule in json.loads(done.stdout)["rules"]}
    assert rules["test_probe_is_repeatable"]["outcome"] == "pass"
    assert rules["test_damaged_artifact_is_rejected[noise]"]["outcome"] == "pass"
    unasked = rules["test_outputs_are_as_declared"]
    assert (unasked["outcome"], unasked["needs_example"]) == ("skip", True)
    assert "artifact(folder)" in unasked["detail"]
    assert {rule["spec"] for rule in rules.values()} == {"acme"}


def test_what_was_not_asked_is_not_held(tmp_path):
    distribution = written(tmp_path, "acme", "backend")
    (distribution / "tests" / "test_conformance.py").unlink()
    done = edgeai(tmp_path, "check", "acme", path=(distribution,))
    assert done.returncode == 0, done.stdout + done.stderr
    [(held, rules, needed)] = re.findall(r"^acme: (\d+) of (\d+) rules held, (\d+) need", done.stdout, re.M)
    assert int(held) == done.stdout.count("\n  ok ")
    assert int(held) + int(needed) <= int(rules)
    assert int(held) < int(rules)
    assert int(rules) == int(held) + done.stdout.count("\n  skip ")
    assert "artifact(folder), a small artifact" in done.stdout.partition("to be given:")[2]
    assert "tests/test_conformance.py" in done.stdout


@pytest.mark.parametrize(
    "kind", ["sink", *(pytest.param(kind, marks=pytest.mark.torture) for kind in ("transform", "task", "source"))]
)
def test_without_the_authors_examples_nothing_is_held_against_a_plugin(tmp_path, kind):
    distribution = written(tmp_path, "acme", kind)
    (distribution / "tests" / "test_conformance.py").unlink()
    done = edgeai(tmp_path, "check", "acme", "--json", path=(distribution,))
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = [rule["outcome"] for rule in json.loads(done.stdout)["rules"]]
    assert outcomes.count("pass") >= 4
    assert "skip" in outcomes


def _check(distribution: Path) -> tuple[int, dict]:
    done = edgeai(distribution, "check", "acme", "--json", path=(distribution,))
    return done.returncode, json.loads(done.stdout)


def test_a_judge_whose_author_gives_no_example_needs_one_and_is_not_left_out(tmp_path):
    distribution = written(tmp_path, "acme", "task")
    tests = distribution / "tests" / "test_conformance.py"
    tests.write_text(tests.read_text().partition("class TestAcmeJudge")[0].replace("JudgeConformance, ", ""))
    status, body = _check(distribution)
    assert status == 0
    rules = {(rule["kind"], rule["test"]): rule for rule in body["rules"]}
    assert {kind for kind, _ in rules} == {"task", "judge"}
    unasked = rules["judge", "test_a_figure_is_a_function_of_weights"]
    assert (unasked["outcome"], unasked["needs_example"], unasked["spec"]) == ("skip", True, "acme")
    assert body["summary"]["need_examples"] >= 10
    assert "rows of a table, and outputs" in unasked["detail"]


def test_a_task_without_a_judge_is_asked_no_rule_of_judges(tmp_path):
    distribution = written(tmp_path, "acme", "task")
    module, tests = distribution / "edgeai_acme.py", distribution / "tests" / "test_conformance.py"
    module.write_text(module.read_text().replace(", judge=ThresholdJudge", ""))
    tests.unlink()
    status, body = _check(distribution)
    assert status == 0
    assert {rule["kind"] for rule in body["rules"]} == {"task"}


FAULTS = {
    "if not np.isfinite(values).all():": "if False:",
    "return bytes(truth)": 'return b"one for all"',
    'raise TaskFailed("there are no frames to summarise")': "__import__('os').abort()",
}
"""Of a task that breaks a rule and dies of another, and of its judge: each spoils rules that the others leave alone."""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> subprocess.CompletedProcess[str]:
    """The check of a plugin with each of the faults."""
    folder = tmp_path_factory.mktemp("faulty")
    distribution = written(folder, "acme", "task")
    module = distribution / "edgeai_acme.py"
    text = module.read_text()
    for right, wrong in FAULTS.items():
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    module.write_text(text)
    return edgeai(folder, "check", "acme", path=(distribution,))


def test_check_fails_a_plugin_that_breaks_a_rule(faulty):
    assert faulty.returncode == 1
    task, _, judge = faulty.stdout.partition("\njudge acme\n")
    broken = {line.partition(" [")[0] for line in task.splitlines() if line.startswith("  FAIL ")}
    assert broken == {"  FAIL NaN or infinity anywhere in the outputs is TaskFailed: it never reads as a negative."}
    broken = {line for line in judge.splitlines() if line.startswith("  FAIL ")}
    assert broken == {"  FAIL The same row gives the same digest, and rows that differ give others."}


def test_check_survives_a_plugin_that_aborts(faulty):
    died = [line for line in faulty.stdout.splitlines() if line.startswith("  DIED ")]
    assert died == ["  DIED Without frames there is no summary: TaskFailed, not silence."]
    assert "SIGABRT" in faulty.stdout
    assert "ok   Eight threads with one task get what one thread gets." in faulty.stdout.partition(died[0])[2]


def test_check_of_what_does_not_load_says_why(tmp_path):
    write_fake_distribution(tmp_path, name="acme", module_source="import no_such_engine")
    done = edgeai(tmp_path, "check", "acme", path=(tmp_path,))
    assert done.returncode == 1
    assert "plugin.import-failed" in done.stderr
    assert "no_such_engine" in done.stderr
    absent = edgeai(tmp_path, "check", "no-such-plugin")
    assert absent.returncode == 1
    assert "plugin.not-found" in absent.stderr


@pytest.mark.parametrize(
    "source", [pytest.param(s, marks=() if s.endswith(("unit')", "abort()")) else pytest.mark.torture) for s in DEADLY]
)
def test_check_says_how_a_plugin_dies_of_its_import(tmp_path, source):
    write_fake_distribution(tmp_path, name="acme", module_source=f"import json\n{source}\n")
    done = edgeai(tmp_path, "check", "acme", path=(tmp_path,))
    assert done.returncode == 1
    assert DEADLY[source] in done.stdout + done.stderr


def test_the_limit_of_check_counts_the_import(tmp_path):
    write_fake_distribution(tmp_path, name="acme", module_source="import time\nwhile True: time.sleep(1)\n")
    done = edgeai(tmp_path, "check", "acme", "--stall-s", "5", path=(tmp_path,))
    assert done.returncode == 1
    assert "HUNG The plugin loads." in done.stdout
    assert "no news for 5 s; killed" in done.stdout
    assert "0 of 1 rules held, 1 broken" in done.stdout


def test_the_limit_of_check_counts_what_the_authors_tests_import(tmp_path):
    distribution = written(tmp_path, "acme", "task")
    tests = distribution / "tests" / "test_conformance.py"
    tests.write_text("import time\nwhile True: time.sleep(1)\n")
    done = edgeai(tmp_path, "check", "acme", "--stall-s", "20", path=(distribution,))
    assert done.returncode == 1
    assert "HUNG The tests can be run." in done.stdout


SLOW_SUMMARY = """
    def summarise(self, frames, instance):
        import os, pathlib, time
        pathlib.Path({flag!r}).write_text(str(os.getpid()))
        while True: time.sleep(1)

    def other"""


def hanging(tmp_path) -> tuple[Path, Path]:
    """A task that hangs in its summary, and the file in which it then says its process."""
    distribution, flag = written(tmp_path, "acme", "task"), tmp_path / "process"
    module = distribution / "edgeai_acme.py"
    module.write_text(module.read_text().replace("    def summarise", SLOW_SUMMARY.format(flag=str(flag))))
    return distribution, flag


def begun(distribution: Path, flag: Path) -> tuple[subprocess.Popen[str], int]:
    """A check that has come to the rule that hangs, and the process that hangs."""
    check = subprocess.Popen(
        [sys.executable, "-m", "edgeai", "plugins", "check", "acme"],
        cwd=distribution,
        env=environment(distribution),
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 900
    while not (flag.exists() and flag.read_text()) and time.monotonic() < deadline:
        assert check.poll() is None
        time.sleep(0.05)
    return check, int(flag.read_text())


def test_check_prints_each_rule_as_it_goes_and_its_child_dies_with_it(tmp_path):
    check, process = begun(*hanging(tmp_path))  # which never comes to its end
    lines: list[str] = []
    reader = threading.Thread(target=lambda: [lines.append(line) for line in check.stdout], daemon=True)
    reader.start()
    deadline = time.monotonic() + 240
    while sum(line.startswith("  ok ") for line in lines) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    check.kill()
    check.wait()
    reader.join()
    assert sum(line.startswith("  ok ") for line in lines) >= 5
    until_gone(process)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.torture)])
def test_the_child_of_check_dies_with_one_that_is_interrupted(tmp_path, number):
    check, process = begun(*hanging(tmp_path))
    check.send_signal(number)
    check.communicate(timeout=600)
    until_gone(process)


def until_gone(process: int) -> None:
    deadline = time.monotonic() + 240
    while Path(f"/proc/{process}").exists() and "State:\tZ" not in Path(f"/proc/{process}/status").read_text():
        assert time.monotonic() < deadline, f"process {process} lives on"
        time.sleep(0.05)
