"""Keras files of a few kilobytes that ask for gigabytes are refused before anything is spent on them."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai.api import CompressionFailed, ConversionFailed
from edgeai_keras import bounds, importing, model_file
from edgeai_keras.loading import load

h5py = pytest.importorskip("h5py")
PEAK_BYTES = 12 << 20


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras")


@pytest.fixture(scope="module")
def sound(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("sound") / "sound.keras"
    keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="y")]).save(path)
    return path


@pytest.fixture
def changed(sound: Path, tmp_path: Path) -> Callable[..., Path]:
    """``changed({name: content}, method)`` -> the sound file with other members, or more."""

    def change(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
        with zipfile.ZipFile(sound) as archive:
            content = {name: archive.read(name) for name in archive.namelist()} | members
        with zipfile.ZipFile(tmp_path / "changed.keras", "w", method) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
        return tmp_path / "changed.keras"

    return change


def weights(write: Callable[[Any], None]) -> bytes:
    """An HDF5 file."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        write(file)
    return stream.getvalue()


def refused(path: Path, *words: str, code: str = "convert.model-too-large") -> None:
    """By every reader, and without any memory to speak of."""
    tracemalloc.start()
    try:
        with pytest.raises(ConversionFailed) as caught:
            model_file.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == code, caught.value
    assert caught.value.remedy
    for word in words:
        assert word in str(caught.value)
    assert peak < PEAK_BYTES
    with pytest.raises(CompressionFailed) as again:
        load(path)
    assert again.value.code == code.replace("convert.", "compress.")


def test_a_sound_file_is_taken_stored_or_packed(sound: Path, changed: Any) -> None:
    for path in (sound, changed({}), changed({}, zipfile.ZIP_STORED)):
        assert model_file.load(path).count_params() == 15
        claims = bounds.check_archive(path)
        assert claims.values >= 15


def test_a_pruned_model_that_packs_well_is_taken(keras: Any, changed: Any, sound: Path, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2000,)), keras.layers.Dense(2000)])
    model.set_weights([np.zeros((2000, 2000), np.float32), np.zeros(2000, np.float32)])
    model.save(tmp_path / "pruned.keras")
    with zipfile.ZipFile(tmp_path / "pruned.keras") as archive:
        path = changed({name: archive.read(name) for name in archive.namelist()})
    assert path.stat().st_size < 50_000
    assert model_file.load(path).count_params() == 4_002_000


# --- the archive --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "metadata.json"])
def test_a_description_that_inflates(changed: Any, name: str) -> None:
    path = changed({name: b" " * (64 << 20)})
    assert path.stat().st_size < 100_000
    refused(path, name, "67108864")


def test_one_of_hundreds_of_megabytes_in_a_few_kilobytes(sound: Path, tmp_path: Path) -> None:
    """What the directory claims is what a reader would believe."""
    path = tmp_path / "claims.keras"
    data = bytearray(sound.read_bytes())
    with zipfile.ZipFile(sound) as archive:
        at = archive.start_dir
        for member in archive.infolist():
            if member.filename == "config.json":
                break
            at += 46 + len(member.filename) + len(member.extra) + len(member.comment)
    struct.pack_into("<L", data, at + 24, 600 << 20)
    path.write_bytes(data)
    assert path.stat().st_size < 30_000
    refused(path, "config.json", str(600 << 20))


def test_a_compression_that_no_keras_file_has(changed: Any) -> None:
    """Its bombs are smaller still."""
    path = changed({"config.json": b" " * (8 << 20)}, zipfile.ZIP_BZIP2)
    assert path.stat().st_size < 10_000
    refused(path, "compressed as no .keras file is", code="convert.model-unreadable")


def test_too_many_files_and_files_that_are_archives_again(changed: Any) -> None:
    refused(changed({f"assets/{number}": b"" for number in range(2000)}), "2003 files")
    refused(changed({"assets/inner.keras": b"x"}), "assets/inner.keras")
    refused(changed({"model.weights.npz": b"x"}), "model.weights.npz")
    refused(changed({"assets/../../x": b"x"}), "leads out", code="convert.model-unreadable")


def test_assets_that_inflate(changed: Any) -> None:
    path = changed({f"assets/{number}": b"\0" * (10 << 20) for number in range(12)})
    assert path.stat().st_size < 200_000
    refused(path, "would take")


def test_a_description_without_a_bottom(changed: Any) -> None:
    deep = b'{"config":' * 5000 + b"{}" + b"}" * 5000
    refused(changed({"config.json": deep}), code="convert.model-unreadable")
    deep = b'{"config":' * 300 + b"{}" + b"}" * 300
    refused(changed({"config.json": deep}), "nested")


# --- the weights --------------------------------------------------------------------------------------


def test_weights_that_only_claim_to_be_there(changed: Any) -> None:
    data = weights(lambda file: file.create_dataset("x", (10**6, 10**6), "f4", chunks=(1000, 1000)))
    assert len(data) < 3000
    refused(changed({"model.weights.h5": data}), "its weights would take 4000000000000 bytes")
    refused(changed({"model.weights.h5": data}, zipfile.ZIP_STORED), "its weights would take")


def test_weights_that_are_packed_a_thousand_times(changed: Any) -> None:
    def write(file: Any) -> None:
        zeros = np.zeros((5000, 5000), np.float32)
        file.create_dataset("x", data=zeros, chunks=(1000, 1000), compression="gzip")

    data = weights(write)
    assert len(data) < 200_000
    refused(changed({"model.weights.h5": data}, zipfile.ZIP_STORED), "its weights would take")


def test_weights_that_lie_in_other_files(changed: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(4000))

    def external(file: Any) -> None:
        file.create_dataset("x", (10, 10), "f4", external=[(str(secret), 0, 400)])

    def linked(file: Any) -> None:
        file.create_group("layers")["x"] = h5py.ExternalLink(str(secret), "/x")

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((10,), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "x", (10,))
        file.create_virtual_dataset("x", layout)

    for write in (external, linked, virtual):
        refused(changed({"model.weights.h5": weights(write)}), "another file", code="convert.weights-elsewhere")


def test_weights_with_more_objects_than_any_model(changed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_OBJECTS", 20)
    many = weights(lambda file: [file.create_group(f"g{number}") for number in range(30)])
    refused(changed({"model.weights.h5": many}), "more than 20 objects")


def test_a_group_that_holds_itself_is_looked_at_once(changed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_OBJECTS", 50)

    def write(file: Any) -> None:
        group = file.create_group("a")
        group["a"] = group

    with pytest.raises(ConversionFailed):
        model_file.load(changed({"model.weights.h5": weights(write)}))


def test_weights_that_are_none(changed: Any) -> None:
    refused(changed({"model.weights.h5": b"no HDF5"}), code="convert.model-unreadable")


# --- the layers ---------------------------------------------------------------------------------------


def test_layers_that_ask_for_more_than_the_weights_have(sound: Path, changed: Any, keras: Any) -> None:
    with zipfile.ZipFile(sound) as archive:
        config = archive.read("config.json")
    huge = config.replace(b'"units": 3', b'"units": 100000000000')
    assert huge != config
    refused(changed({"config.json": huge}), "its layers have 500000000000 weights")
    # Counting left nothing behind that Keras would make later.
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).predict(np.zeros((1, 4)), verbose=0)
    with keras.StatelessScope():
        pass
    assert model_file.load(sound).count_params() == 15


def test_counting_is_right_for_layers_of_every_sort(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 1.0, 1.0])(image)
    x = layers.SeparableConv2D(8, 3)(layers.Rescaling(1 / 255)(x))
    x = layers.SpatialDropout2D(0.2)(layers.BatchNormalization()(x))
    x = layers.LSTM(4)(layers.Reshape((-1, 8))(x))
    x = layers.Dense(2)(layers.GroupNormalization(2)(layers.Dropout(0.1)(x)))
    model = keras.Model(image, x)
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")
    claims = bounds.check_archive(tmp_path / "model.keras")
    counted = bounds._counted(claims.config)
    assert counted is not None
    assert model.count_params() <= counted <= claims.values + 10
    assert model_file.load(tmp_path / "model.keras").count_params() == model.count_params()


# --- Keras 2's files ----------------------------------------------------------------------------------


def refused_import(path: Path, *words: str, code: str = "convert.model-too-large") -> None:
    with pytest.raises(ConversionFailed) as caught:
        importing.open_model(path)
    assert caught.value.code == code, caught.value
    for word in words:
        assert word in str(caught.value)


def test_an_hdf5_file_that_only_claims(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(path)
    importing.open_model(path)
    with h5py.File(path, "r+") as file:
        file.create_dataset("more", (10**6, 10**6), "f4", chunks=(1000, 1000))
    refused_import(path, "its weights would take")
    with h5py.File(path, "r+") as file:
        del file["more"]
        file["more"] = h5py.ExternalLink("/etc/passwd", "/x")
    refused_import(path, "another file", code="convert.weights-elsewhere")


def test_an_hdf5_file_whose_layers_ask_for_more(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(path)
    with h5py.File(path, "r+") as file:
        config = file.attrs["model_config"]
        file.attrs["model_config"] = config.replace('"units": 3', '"units": 100000000000')
    refused_import(path, "its layers have")


def test_a_description_of_keras_2_without_a_bottom(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = '{"config":' * 300 + "{}" + "}" * 300
    refused_import(path, "nested")


def test_variables_of_a_saved_model_that_only_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tf = pytest.importorskip("tensorflow")
    from edgeai_keras.savedmodel import _Checkpoint

    module = tf.Module()
    module.weight = tf.Variable(np.zeros((4, 3), np.float32))
    prefix = tf.train.Checkpoint(module).write(str(tmp_path / "variables"))
    _Checkpoint(Path(prefix), "theirs")
    monkeypatch.setattr(bounds, "FREE_BYTES", 0)
    monkeypatch.setattr(bounds, "MAX_RATIO", 0)
    with pytest.raises(ConversionFailed, match="its variables would take") as caught:
        _Checkpoint(Path(prefix), "theirs")
    assert caught.value.code == "convert.model-too-large"


def test_a_description_of_a_saved_model_that_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with (tmp_path / "keras_metadata.pb").open("wb") as file:
        file.truncate(bounds.MAX_TEXT_BYTES + 1)
    assert os.stat(tmp_path / "keras_metadata.pb").st_blocks * 512 < 1 << 20
    refused_import(tmp_path, "its description has more than")


def test_the_bounds_leave_room_for_any_real_model(keras: Any) -> None:
    """The longest description among Keras's own models: its layers number over a thousand."""
    model = keras.applications.EfficientNetV2L(weights=None, include_top=False, input_shape=(64, 64, 3))
    assert len(json.dumps(model.get_config())) * 4 < bounds.MAX_TEXT_BYTES
    bounds.check_depth(model.get_config(), "theirs")
