"""The reference of every configuration key, as Markdown, from the models themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeai.config import json_schema

_HEAD = "| key | type | default | meaning |\n|---|---|---|---|"


def reference() -> str:
    """A table a section, in the order of the models; ``firmware-configs/README.md`` holds it between two marks."""
    schema = json_schema()
    return "\n\n".join(_sections(schema, schema, "")) + "\n"


def _sections(schema: dict[str, Any], table: dict[str, Any], path: str) -> Iterator[str]:
    plain, nested = [], []
    required = set(table.get("required", ()))
    for key, node in table["properties"].items():
        target, is_array = _table_of(schema, node)
        if target is None:
            plain.append(f"| `{key}` | {_type(node)} | {_default(node, key in required)} | {_meaning(node)} |")
        else:
            name = f"{path}.{key}" if path else key
            nested.append((f"{name}.NAME" if _is_map(node) else name, target, is_array, key in required))
    if plain:
        title = f"### `[{path}]`" if path and not path.startswith("[") else "### Top level"
        title = f"### `{path}`" if path.startswith("[") else title
        yield "\n".join([title, "", *_doc(table), _HEAD, *plain])
    for name, target, is_array, _ in nested:
        yield from _sections(schema, target, f"[[{name}]]" if is_array and not name.startswith("[") else name)


def _table_of(schema: dict[str, Any], node: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """The table that a key holds, and whether it is an array of them."""
    for option in (node, *node.get("anyOf", ()), *node.get("allOf", ())):
        if "$ref" in option:
            return schema["$defs"][option["$ref"].rsplit("/", 1)[1]], False
        if "$ref" in option.get("items", {}):
            return schema["$defs"][option["items"]["$ref"].rsplit("/", 1)[1]], True
        extra = option.get("additionalProperties")
        if isinstance(extra, dict) and "$ref" in extra:
            return schema["$defs"][extra["$ref"].rsplit("/", 1)[1]], False
    return None, False


def _is_map(node: dict[str, Any]) -> bool:
    return isinstance(node.get("additionalProperties"), dict)


def _doc(table: dict[str, Any]) -> list[str]:
    text = table.get("description", "").replace("``", "`").replace("\n", " ")
    return [text, ""] if text else []


def _type(node: dict[str, Any]) -> str:
    if "enum" in node or "const" in node:
        return " or ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
    if "anyOf" in node:
        return " or ".join(_type(option) for option in node["anyOf"] if option.get("type") != "null")
    if node.get("type") == "array":
        return f"list of {_type(node.get('items', {}))}"
    kind = {"object": "table", "number": "number", "integer": "integer"}.get(node.get("type", ""), node.get("type", ""))
    bounds = [f"{sign} {node[key]:g}" for key, sign in _BOUNDS if key in node]
    return f"{kind} {', '.join(bounds)}".strip()


_BOUNDS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))


def _default(node: dict[str, Any], required: bool) -> str:
    if required:
        return "**required**"
    value = node.get("default")
    return "" if value is None else f"`{value}`".replace("'", '"').replace("True", "true").replace("False", "false")


def _meaning(node: dict[str, Any]) -> str:
    return str(node.get("description", "")).replace("|", "\\|")
