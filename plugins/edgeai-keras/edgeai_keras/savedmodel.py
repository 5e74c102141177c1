"""A SavedModel of Keras 2, read as data: layers out of ``keras_metadata.pb``, weights out of its checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeai.api import Array, ConversionFailed
from edgeai_keras.bounds import MAX_TEXT_BYTES, check_claim, check_depth, too_large
from edgeai_keras.frameworks import tf

_ROOT = "root"
_VALUE = "VARIABLE_VALUE"


def as_hdf5(folder: Path, metadata: Path, output: Path) -> Any:
    """Write what ``model.save(output)`` would have written in Keras 2; give the model's configuration.

    The configuration is not looked at here; it may be hostile.

    Raises:
        ConversionFailed: ``import.unreadable``, ``import.savedmodel-opaque``.
    """
    if metadata.stat().st_size > MAX_TEXT_BYTES:
        raise too_large(folder.name, f"its description has more than {MAX_TEXT_BYTES} bytes")
    nodes = _nodes(metadata, folder.name)
    root = nodes.get(_ROOT, {})
    kind, config = root.get("class_name"), root.get("config")
    if kind not in ("Functional", "Sequential", "Model") or not isinstance(config, dict) or not config.get("layers"):
        raise ConversionFailed(
            f"{folder.name} is a {kind}, whose layers are code and not in the file",
            code="import.savedmodel-opaque",
            remedy="it cannot be pruned or distilled, but converted and packed as it is: edgeai pack",
        )
    check_depth(config, folder.name)
    whole = {"class_name": kind, "config": _plain(config)}
    try:
        graph = _Checkpoint(folder / "variables" / "variables", folder.name)
        weights = {
            name: graph.weights(path) for path, name in _layers(nodes) if graph.has(path)
        }  # of the model's own layers; those of nested models come with them
    except (ValueError, KeyError, IndexError, tf.errors.OpError) as error:
        raise ConversionFailed(
            f"{folder.name}: its variables cannot be read: {error}", code="import.unreadable", remedy="copy it again"
        ) from error
    _write(output, whole, str(root.get("keras_version", "2")), weights)
    return whole


def _nodes(metadata: Path, name: str) -> dict[str, dict[str, Any]]:
    """Path of each object -> what Keras 2 wrote of it."""
    try:
        # The message's only home since Keras 2 left TensorFlow; format of 2021, of files that nobody writes any more.
        from tensorflow.python.keras.protobuf import saved_metadata_pb2

        parsed = saved_metadata_pb2.SavedMetadata()
        parsed.ParseFromString(metadata.read_bytes())
        return {str(node.node_path): json.loads(node.metadata) for node in parsed.nodes if node.metadata}
    except Exception as error:  # protobuf's DecodeError has moved between its versions
        raise ConversionFailed(
            f"{name}: keras_metadata.pb cannot be read: {error}", code="import.unreadable", remedy="copy it again"
        ) from error


def _layers(nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(path in the object graph, name) of the model's own layers."""
    for path, node in nodes.items():
        parts = path.split(".")
        if len(parts) == 2 and parts[1].startswith("layer") and isinstance(node.get("name"), str):
            yield parts[1], node["name"]


class _Checkpoint:
    """Variables by their place in the graph of objects that TensorFlow saved with them."""

    def __init__(self, prefix: Path, name: str) -> None:
        from tensorflow.core.protobuf import trackable_object_graph_pb2  # part of TensorFlow's public protocol buffers

        self._reader = tf.train.load_checkpoint(str(prefix))
        kinds = self._reader.get_variable_to_dtype_map()
        shapes = self._reader.get_variable_to_shape_map()
        claimed = sum(math.prod(shape) * max(1, kinds[one].size or 1) for one, shape in shapes.items())
        there = sum(file.stat().st_size for file in prefix.parent.iterdir() if file.is_file())
        check_claim(name, "its variables", claimed, there)
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        graph.ParseFromString(self._reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        self._nodes = graph.nodes

    def has(self, layer: str) -> bool:
        return layer in self._children(0)

    def weights(self, layer: str) -> list[tuple[str, Array]]:
        """(name, values) in Keras 2's order: what is trained, then what is not."""
        own = self._children(self._children(0)[layer])
        trained, all_ = (self._listed(own.get(what)) for what in ("trainable_variables", "variables"))
        return [self._variable(place) for place in (*trained, *(place for place in all_ if place not in trained))]

    def _listed(self, place: int | None) -> list[int]:
        children = {} if place is None else self._children(place)
        return [children[number] for number in sorted(children, key=int)]

    def _children(self, place: int) -> dict[str, int]:
        return {str(child.local_name): int(child.node_id) for child in self._nodes[place].children}

    def _variable(self, place: int) -> tuple[str, Array]:
        entry = next(a for a in self._nodes[place].attributes if a.name == _VALUE)
        return str(entry.full_name), self._reader.get_tensor(entry.checkpoint_key)


def _plain(node: Any) -> Any:
    """Keras 2's notations of tuples and shapes as lists."""
    if isinstance(node, dict):
        if node.get("class_name") in ("__tuple__", "TensorShape") and "items" in node:
            return _plain(node["items"])
        return {name: _plain(value) for name, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, list) else node


def _write(output: Path, config: Any, version: str, weights: Mapping[str, list[tuple[str, Array]]]) -> None:
    import h5py  # type: ignore[import-untyped]

    order = [layer["config"]["name"] for layer in config["config"]["layers"]]
    with h5py.File(output, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = version
        file.attrs["backend"] = "tensorflow"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in order]
        group.attrs["backend"], group.attrs["keras_version"] = "tensorflow", version
        for name in order:
            own = group.create_group(name)
            names = [f"{number}_{title.replace('/', '_')}" for number, (title, _) in enumerate(weights.get(name, ()))]
            own.attrs["weight_names"] = [title.encode() for title in names]
            for title, (_, values) in zip(names, weights.get(name, ()), strict=True):
                own.create_dataset(title, data=values)
