"""A training that is killed after an epoch and begun again ends in the very weights of one that never was."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("keras")

SCRIPT = """\
import os, sys
import numpy as np
from edgeai.api import Objective
from edgeai_keras.frameworks import keras
from edgeai_keras.training import fit, save, set_seed

epochs, killed_after, output = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
random = np.random.default_rng(0)
x = random.random((24, 8, 8, 1)).astype("float32")
y = np.eye(2, dtype="float32")[(x.mean((1, 2, 3)) > 0.5).astype(int)]
orders = np.random.default_rng(7)

def train():
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
how = dict(train=train, validation=lambda: [({"image": x}, {"out": y})], patience=9, learning_rate=0.01,
           objective=Objective(loss="categorical-crossentropy", from_logits=True), seed=3, progress=progress)
fit(model, epochs=2, **how)  # twice, as us-head is trained
history = fit(model, epochs=epochs, augment={"noise": 0.1, "flip_horizontal": True}, **how)
save(model, __import__("pathlib").Path(output))
print("history", history.epochs, [round(loss, 9) for loss in history.train_loss])
"""


def _run(folder: Path, state: str, *, epochs: int = 4, killed_after: int = 99) -> tuple[int, list[str], str]:
    (folder / "script.py").write_text(SCRIPT)
    output = folder / f"model-{state or 'none'}.keras"
    command = [sys.executable, folder / "script.py", str(epochs), str(killed_after), output]
    environment = {**os.environ, "EDGEAI_TRAINING_STATE": str(folder / state) if state else ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment, check=False)
    digest = hashlib.sha256(output.read_bytes()).hexdigest() if output.exists() else ""
    assert done.returncode in (0, 9), done.stderr
    return done.returncode, done.stdout.splitlines(), digest


def test_killed_in_either_part_and_begun_again_gives_the_same_bytes(tmp_path: Path) -> None:
    _, whole, wanted = _run(tmp_path, "")
    assert _run(tmp_path, "state", killed_after=1)[0] == 9
    status, again, _ = _run(tmp_path, "state", killed_after=3)
    assert status == 9
    assert again[0] == "resumed: 1 of 2 epochs were done when it was interrupted"
    status, last, digest = _run(tmp_path, "state")
    assert status == 0
    assert [line for line in last if line.startswith("resumed")] == [
        "resumed: 2 of 2 epochs were done when it was interrupted",
        "resumed: 2 of 4 epochs were done when it was interrupted",
    ]
    assert last[-1] == whole[-1]
    assert digest == wanted


def test_other_settings_begin_anew_and_say_so_and_a_state_that_is_cut_is_none(tmp_path: Path) -> None:
    assert _run(tmp_path, "state", killed_after=3)[0] == 9
    _, lines, _ = _run(tmp_path, "state", epochs=3)
    assert sum(line.startswith("begins anew") for line in lines) == 1
    file = tmp_path / "state" / "fit-2.npz"
    file.write_bytes(file.read_bytes()[:1000])
    _, lines, _ = _run(tmp_path, "state", epochs=3)
    assert sum(line.startswith("resumed") for line in lines) == 1
