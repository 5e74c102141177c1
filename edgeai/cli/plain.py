"""What a command line says plainly is read without pydantic.

typer hands the value of every parameter to a pydantic adapter, and importing pydantic takes longer than anything else
that ``edgeai infer`` imports but numpy. Words, paths and whole numbers are read here the same way. Whatever is not
plain, and whatever is refused, goes to typer's own adapter: its conversions and its messages stay what they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
import typer.core
from typer.models import ParameterInfo

_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


class _NotPlain(Exception):
    """typer has to judge this value."""


def read_plainly() -> None:
    """Let typer ask here first. A typer that has no such adapters is left as it is."""
    try:
        from typer._coercion import RuntimeParam, TypeDescriptor, build_runtime_param
    except ImportError:
        return
    if getattr(typer.core, "build_runtime_param", None) is not build_runtime_param:
        return  # it is so already, or typer does this elsewhere now

    @dataclass(frozen=True)
    class Plain(RuntimeParam):
        """Reads what is plain; the adapter is built only for what is not."""

        descriptor: TypeDescriptor

        def _coerce_value(self, value: Any, param: Any, ctx: Any) -> Any:
            try:
                return _read(value, self.annotation, self.parameter_info, param, ctx)
            except _NotPlain:
                return build_runtime_param(self.descriptor)._coerce_value(value, param=param, ctx=ctx)

    def plain(descriptor: TypeDescriptor) -> Plain:
        info, annotation = descriptor.parameter_info, descriptor.annotation
        return Plain(parameter_info=info, annotation=annotation, descriptor=descriptor)

    vars(typer.core)["build_runtime_param"] = plain


def _read(value: Any, annotation: Any, info: ParameterInfo, param: Any, ctx: Any) -> Any:
    if info.parser is not None:
        raise _NotPlain
    if get_origin(annotation) is list and isinstance(value, (list, tuple)):
        (each,) = get_args(annotation)
        return [_read(item, each, info, param, ctx) for item in value]
    if annotation is str and type(value) is str:
        return value
    if annotation is int:
        return _whole(value, info)
    if annotation is Path and info.path_type is None:
        return _path(value, info, param, ctx)
    raise _NotPlain


def _whole(value: Any, info: ParameterInfo) -> int:
    if type(value) is str and _WHOLE.fullmatch(value):
        value = int(value)
    if type(value) is not int or (info.min is not None and value < info.min):
        raise _NotPlain
    if info.max is not None and value > info.max:
        raise _NotPlain
    return value


def _path(value: Any, info: ParameterInfo, param: Any, ctx: Any) -> Any:
    from typer._param_types import coerce_cli_path

    if not isinstance(value, (str, Path)) or not str(value):
        raise _NotPlain
    try:
        return coerce_cli_path(Path(value), info, path_type=Path, param=param, ctx=ctx)
    except typer.BadParameter:
        raise _NotPlain from None  # said as typer says it, of the value as it was given
