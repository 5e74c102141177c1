"""``edgeai train``: a card's script in a process of its own, and what the card then says of it."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from edgeai.api import ConfigError, DataRejected, EdgeaiError
from edgeai.cli.main import run
from edgeai_workbench.card import file_digest, read_card
from edgeai_workbench.repetition import processor
from edgeai_workbench.training import environment, record, train

pytest.importorskip("tomlkit")

CARD = """\
# What this card is for.
schema = 1
name = "tiny"
version = "1.0.0"
release = 1
min_edgeai = "0.1"
intended_use = "Tests."
limits = ["All."]
licence = "Apache-2.0"
model = "tiny.keras"
model_digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"  # of the weights
plugins = ["classify"]
task = { name = "classify", options = { labels = ["no", "yes"] } }
inputs = [{ name = "image", shape = [1, 4, 4, 1], layout = "NHWC" }]
outputs = [{ name = "logits", shape = [1, 2] }]
recipes = [{ converter = "tflite", precision = "fp32" }]

[[data]]
name = "noise"
source = "drawn here"
licence = "Apache-2.0"
use = "train and evaluate"

[dataset.train]
table = "train.csv"
array = "data.npz:images"
index = "place"
label = "label"

[dataset.validation]
table = "validation.csv"
array = "data.npz:images"
index = "place"
label = "label"

[training]  # by hand
command = "edgeai train tiny --data DIR"
seed = 4

[training.augment]
noise = 0.5  # plenty
"""
SCRIPT = """\
import sys
from pathlib import Path
print("epoch 1")
print("result: worth", " ".join(sys.argv[1:2] + sys.argv[3:]))
if "--cross-validate" not in sys.argv:
    (Path(__file__).parent / "tiny.keras").write_bytes(b"new weights")
"""


@pytest.fixture
def card(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "model.toml").write_text(CARD)
    (folder / "train.py").write_text(SCRIPT)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    images = np.random.default_rng(1).integers(0, 256, (4, 4, 4), np.uint8)
    np.savez(folder / "data.npz", images=images)
    (folder / "train.csv").write_text("place,label\n0,no\n1,yes\n")
    (folder / "validation.csv").write_text("place,label\n2,no\n3,yes\n")
    return folder


def test_training_is_recorded_in_the_card_and_nothing_else_of_it_changes(card: Path, data: Path) -> None:
    steps: list[str] = []
    trained = train(card, data, progress=steps.append)
    assert trained.results == ("worth --data",)
    assert steps[-2:] == ["epoch 1", "worth --data"]
    after = read_card(card)
    assert after.model_digest == trained.digest == file_digest(card / "tiny.keras")
    assert after.training.environment["python"] == platform.python_version()
    assert after.training.environment == environment()
    assert after.training.processor == processor()
    assert trained.repeated == ""  # there was nothing to repeat
    assert after.data[0].digest is not None
    assert after.training.augment == {"noise": 0.5}
    lines = (card / "model.toml").read_text().splitlines()
    kept = [line for line in CARD.splitlines() if line and not line.startswith("model_digest")]
    assert [line for line in lines if line in kept] == kept
    assert any(line.startswith("model_digest") and line.endswith("# of the weights") for line in lines)


def test_recording_twice_is_recording_once_and_other_samples_give_another_digest(card: Path, data: Path) -> None:
    train(card, data)
    first = (card / "model.toml").read_text()
    assert train(card, data).repeated == "The same weights as the card had, byte by byte."
    assert (card / "model.toml").read_text() == first
    (data / "train.csv").write_text("place,label\n0,yes\n1,yes\n")
    train(card, data)
    assert (card / "model.toml").read_text() != first


def test_weights_that_come_out_differently_are_said_to_be_others_and_why(
    card: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(card, data)
    path = card / "model.toml"
    path.write_text(path.read_text().replace(processor(), "another processor, avx2"))
    (card / "train.py").write_text(SCRIPT.replace("new weights", "weights by other kernels"))
    assert run(["train", str(card), "--data", str(data)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Other weights than the card had: processor was another processor, avx2, is" in told
    assert read_card(card).training.processor == processor()


def test_a_cross_validation_writes_nothing(card: Path, data: Path) -> None:
    (card / "tiny.keras").write_bytes(b"old weights")
    trained = train(card, data, folds=2)
    assert trained.results == ("worth --data --cross-validate 2",)
    assert (card / "tiny.keras").read_bytes() == b"old weights"
    assert (card / "model.toml").read_text() == CARD


def test_a_card_is_cross_validated_before_it_was_ever_trained(
    card: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(card), "--data", str(data), "--cross-validate", "2"]) == 0
    assert capsys.readouterr().out == "worth --data --cross-validate 2\n"
    assert not (card / "tiny.keras").exists()
    assert (card / "model.toml").read_text() == CARD


@pytest.mark.parametrize("folds", [1, 3, 100_000])
def test_folds_that_the_groups_cannot_fill_are_refused_before_the_script_begins(
    card: Path, data: Path, folds: int
) -> None:
    (card / "train.py").write_text("raise SystemExit('it was begun')")
    with pytest.raises(ConfigError) as refused:
        train(card, data, folds=folds)
    assert refused.value.code == "build.folds"
    assert "2" in str(refused.value.remedy)


def test_folds_of_a_script_that_reads_its_own_way_are_its_own_affair(card: Path, data: Path) -> None:
    text = CARD[: CARD.index("[dataset.train]")] + CARD[CARD.index("[training]") :]
    (card / "model.toml").write_text(text)
    assert train(card, data, folds=7).results == ("worth --data --cross-validate 7",)
    with pytest.raises(ConfigError) as refused:
        train(card, data, folds=1)
    assert refused.value.code == "build.folds"


def test_samples_are_checked_before_anything_is_trained(card: Path, data: Path) -> None:
    (data / "validation.csv").write_text("place,label\n1,yes\n")
    with pytest.raises(DataRejected) as caught:
        train(card, data)
    assert caught.value.code == "data.split-overlap"
    with pytest.raises(DataRejected) as caught:
        train(card, data / "nowhere")
    assert caught.value.code == "data.file-missing"
    assert not (card / "tiny.keras").exists()
    assert (card / "model.toml").read_text() == CARD


@pytest.mark.parametrize(
    ("gates", "says"),
    [
        ("worst_floors = { auc = 0.1 }", "did you mean 'auc_"),
        ('floors = { "sensitivity@specificity=1.5" = 0.5 }', "1.5 is no value of specificity"),
    ],
)
def test_a_gate_on_what_the_task_lacks_is_refused_before_the_script_begins(
    card: Path, data: Path, gates: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (card / "train.py").write_text("raise SystemExit('it was begun')")
    (card / "model.toml").write_text(f"{CARD}\n[gates]\n{gates}\n")
    assert run(["train", str(card), "--data", str(data)]) == 2
    err = capsys.readouterr().err
    assert "error[config.card-metric-unknown]" in err
    assert says in err
    assert "it was begun" not in err


def test_a_script_that_fails_leaves_the_card_and_shows_its_last_words(card: Path, data: Path) -> None:
    (card / "train.py").write_text("print('epoch 1')\nraise SystemExit('out of luck')")
    with pytest.raises(EdgeaiError, match="out of luck") as caught:
        train(card, data)
    assert caught.value.code == "build.training-failed"
    (card / "train.py").write_text("print('nothing done')")
    with pytest.raises(EdgeaiError, match=r"tiny\.keras") as caught:
        train(card, data)
    assert caught.value.code == "build.training-failed"
    assert (card / "model.toml").read_text() == CARD
    (card / "train.py").unlink()
    with pytest.raises(ConfigError) as refused:
        train(card, data)
    assert refused.value.code == "build.no-script"


GREETINGS = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795935930.937042    2095 port.cc:153] oneDNN custom operations are on.
W0000 00:00:1795935930.937042    2095 cpu.cc:15] This warns of nothing that anyone can change.
E0000 00:00:1795935954.726402    2095 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow.
"""


def test_what_tensorflow_says_of_itself_is_no_progress(card: Path, data: Path) -> None:
    steps: list[str] = []
    (card / "train.py").write_text(f"import sys\nsys.stderr.write({GREETINGS!r})\n{SCRIPT}")
    train(card, data, progress=steps.append)
    assert steps == ["reading the samples", "epoch 1", "worth --data"]
    (card / "train.py").write_text(f"import sys\nsys.stderr.write({GREETINGS!r})\nraise SystemExit('WARNING: no luck')")
    with pytest.raises(EdgeaiError) as caught:
        train(card, data)
    told = str(caught.value)
    assert "failed call to cuInit" in told  # it may be why
    assert "WARNING: no luck" in told
    assert "oneDNN" not in told


def test_several_sources_keep_their_own_digests(card: Path) -> None:
    path = card / "model.toml"
    other = CARD[CARD.index("[[data]]") : CARD.index("[dataset.train]")].replace("noise", "other")
    path.write_text(CARD.replace("[dataset.train]", f"{other}[dataset.train]"))
    record(path, model=f"sha256:{'1' * 64}", data=f"sha256:{'2' * 64}", environment={"python": "3"})
    assert [source.digest for source in read_card(card).data] == [None, None]


def test_what_is_recorded_stands_behind_the_keys_and_comments_stay_before_their_table(card: Path) -> None:
    path = card / "model.toml"
    command = "command = " + CARD.partition("[training]")[2].partition("command = ")[2].partition("\n")[0]
    commented = "# Moved as a hand would.\n[training.augment]"
    path.write_text(CARD.replace("[training.augment]", commented) + "\n# As good as the old one.\n[gates]\n")
    record(path, model=f"sha256:{'1' * 64}", data=None, environment={"python": "3"}, processor="a processor")
    text = path.read_text()
    order = [command, 'processor = "a processor"', "[training.environment]", 'python = "3"', "# Moved as a hand would."]
    places = [text.index(line) for line in (*order, "[training.augment]", "# As good as the old one.", "[gates]")]
    assert places == sorted(places)
    once = text
    record(path, model=f"sha256:{'1' * 64}", data=None, environment={"python": "3"}, processor="a processor")
    assert path.read_text() == once
    record(path, model=f"sha256:{'1' * 64}", data=None, environment={"numpy": "2"}, processor="a processor")
    assert read_card(card).training.environment == {"numpy": "2"}
    assert path.read_text().index("# Moved as a hand would.") > path.read_text().index("numpy")


def test_the_command_prints_what_the_model_is_worth(card: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(card), "--data", str(data)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("worth --data\n")
    assert file_digest(card / "tiny.keras") in out.replace("\n", "")
    assert run(["train", str(card), "--data", str(data / "nowhere")]) != 0
    assert "data.file-missing" in capsys.readouterr().err


# --- interrupted ----------------------------------------------------------------------------------

INTERRUPTED = """\
import os, sys
from pathlib import Path
state = Path(os.environ["EDGEAI_TRAINING_STATE"]) / "epoch"
done = int(state.read_text()) if state.exists() else 0
for epoch in range(done + 1, 5):
    print("epoch", epoch, flush=True)
    state.write_text(str(epoch))
    if epoch == 2 and done == 0:
        sys.exit("killed")
(Path(__file__).parent / "tiny.keras").write_bytes(b"new weights")
"""


def _interrupted(card: Path, data: Path) -> None:
    (card / "train.py").write_text(INTERRUPTED)
    with pytest.raises(EdgeaiError, match="killed"):
        train(card, data)


def test_a_training_that_was_interrupted_goes_on_and_says_so(
    card: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _interrupted(card, data)
    steps: list[str] = []
    trained = train(card, data, progress=steps.append)
    assert [line for line in steps if line.startswith("epoch")] == ["epoch 3", "epoch 4"]
    assert trained.resumed.startswith("Goes on")
    assert trained.resumed in steps
    assert not (card / ".training").exists()


@pytest.mark.parametrize("what", ["card", "script", "samples"])
def test_one_of_another_card_script_or_samples_begins_anew_and_says_why(card: Path, data: Path, what: str) -> None:
    _interrupted(card, data)
    if what == "card":
        (card / "model.toml").write_text(CARD.replace("seed = 4", "seed = 5"))
    elif what == "script":
        (card / "train.py").write_text(INTERRUPTED.replace("== 0:", "== -1:"))
    else:
        (data / "train.csv").write_text("place,label\n0,yes\n1,yes\n")
        (card / "train.py").write_text(INTERRUPTED)
    steps: list[str] = []
    if what == "script":
        assert f"the {what} changed" in train(card, data, progress=steps.append).resumed
    else:
        with pytest.raises(EdgeaiError, match="killed"):  # it is interrupted at its second epoch, as at first
            train(card, data, progress=steps.append)
    assert any(line == f"Begins anew: a training was interrupted, and the {what} changed since." for line in steps)
    assert "epoch 1" in steps


def test_a_cross_validation_leaves_what_was_interrupted_as_it_is(card: Path, data: Path) -> None:
    _interrupted(card, data)
    with pytest.raises(EdgeaiError, match="killed"):
        train(card, data, folds=2)
    assert train(card, data).resumed.startswith("Goes on")


def test_the_script_goes_when_whoever_started_it_is_killed(card: Path, data: Path, tmp_path: Path) -> None:
    """Two trainings at one card would write over each other."""
    import os
    import signal
    import subprocess
    import sys
    import time

    waiting = f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()) + ' ')\ntime.sleep(3000)\n"
    (card / "train.py").write_text(waiting)
    with subprocess.Popen([sys.executable, "-m", "edgeai", "train", str(card), "--data", str(data)]) as command:
        until = time.monotonic() + 600
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().endswith(" "):
            assert time.monotonic() < until
            assert command.poll() is None
            time.sleep(0.05)
        command.send_signal(signal.SIGKILL)
    script = int((tmp_path / "pid").read_text())
    while _runs(script):
        assert time.monotonic() < until, "it goes on by itself"
        time.sleep(0.05)
    assert os.getpid() != script


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
