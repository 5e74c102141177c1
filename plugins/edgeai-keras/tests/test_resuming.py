"""A training that is killed after an epoch and begun again ends in the very weights of one that never was."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("keras")

NURSERY = """\
import contextlib, json, os, sys, traceback
import numpy as np
from pathlib import Path
from edgeai.api import Objective
from edgeai_keras.frameworks import keras
from edgeai_keras.training import fit, save, set_seed

def train(epochs, killed_after, output):
    random = np.random.default_rng(0)
    x = random.random((24, 8, 8, 1)).astype("float32")
    y = np.eye(2, dtype="float32")[(x.mean((1, 2, 3)) > 0.5).astype(int)]
    orders = np.random.default_rng(7)

    def batches():
        for part in np.split(orders.permutation(24), 4):  # as whoever halves batches on their way: of no known length
            yield {"image": x[part]}, {"out": y[part]}

    seen = []

    def progress(line):
        print(line, flush=True)
        seen.append(line)
        if sum(line.startswith("epoch") for line in seen) == killed_after:
            os._exit(9)

    def net():
        image = keras.Input((8, 8, 1), name="image")
        h = keras.layers.Conv2D(4, 3, activation="relu")(image)
        h = keras.layers.BatchNormalization()(h)
        h = keras.layers.Dropout(0.4)(keras.layers.Flatten()(h))
        return keras.Model(image, keras.layers.Dense(2, name="out")(h))

    set_seed(3)
    model = net()
    how = dict(train=batches, validation=lambda: [({"image": x}, {"out": y})], patience=9, learning_rate=0.01,
               objective=Objective(loss="categorical-crossentropy", from_logits=True), seed=3, progress=progress)
    fit(model, epochs=2, **how)  # twice, as us-head is trained
    history = fit(model, epochs=epochs, augment={"noise": 0.1, "flip_horizontal": True}, **how)
    save(model, Path(output))
    print("history", history.epochs, [round(loss, 9) for loss in history.train_loss], flush=True)

def fresh(order):
    with open(order["printed"], "w") as printed, contextlib.redirect_stdout(printed):
        os.environ["EDGEAI_TRAINING_STATE"] = order["state"]
        train(order["epochs"], order["killed_after"], order["output"])

for line in sys.stdin:  # this process imports, and never computes: each training is a process of its own
    child = os.fork()
    if child == 0:
        try:
            fresh(json.loads(line))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

Run = Callable[..., tuple[int, list[str], str]]


@pytest.fixture(scope="module")
def nursery() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported Keras, which takes longer than the trainings that it begets."""
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


@pytest.fixture
def train(nursery: subprocess.Popen[str], tmp_path: Path) -> Run:
    """``train(state, epochs=, killed_after=)`` in a process of its own -> its status, its lines, the file's digest."""

    def run(state: str, *, epochs: int = 4, killed_after: int = 99) -> tuple[int, list[str], str]:
        output, printed = tmp_path / f"model-{state or 'none'}.keras", tmp_path / "printed"
        order = {"state": str(tmp_path / state) if state else "", "epochs": epochs, "killed_after": killed_after}
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        nursery.stdin.write(json.dumps({**order, "output": str(output), "printed": str(printed)}) + "\n")
        nursery.stdin.flush()
        status = int(nursery.stdout.readline())
        assert status in (0, 9)
        digest = hashlib.sha256(output.read_bytes()).hexdigest() if output.exists() else ""
        return status, printed.read_text().splitlines(), digest

    return run


def test_killed_in_either_part_and_begun_again_gives_the_same_bytes(train: Run) -> None:
    _, whole, wanted = train("")
    assert train("state", killed_after=1)[0] == 9
    status, again, _ = train("state", killed_after=3)
    assert status == 9
    assert again[0] == "resumed: 1 of 2 epochs were done when it was interrupted"
    status, last, digest = train("state")
    assert status == 0
    assert [line for line in last if line.startswith("resumed")] == [
        "resumed: 2 of 2 epochs were done when it was interrupted",
        "resumed: 2 of 4 epochs were done when it was interrupted",
    ]
    assert last[-1] == whole[-1]
    assert digest == wanted


def test_other_settings_begin_anew_and_say_so_and_a_state_that_is_cut_is_none(train: Run, tmp_path: Path) -> None:
    assert train("state", killed_after=3)[0] == 9
    _, lines, _ = train("state", epochs=3)
    assert sum(line.startswith("begins anew") for line in lines) == 1
    file = tmp_path / "state" / "fit-2.npz"
    file.write_bytes(file.read_bytes()[:1000])
    _, lines, _ = train("state", epochs=3)
    assert sum(line.startswith("resumed") for line in lines) == 1
