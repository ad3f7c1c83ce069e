"""Frozen attrs classes to plain JSON values and back, strictly: for what is remembered on disk. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import attrs

T = TypeVar("T")


def dump(value: object) -> Any:
    """What ``json.dumps`` takes: attrs classes become objects, times ISO 8601, tuples lists."""
    kind: type = type(value)
    if attrs.has(kind):
        return {name: dump(getattr(value, name)) for name in _hints(kind)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [dump(item) for item in value]
    if isinstance(value, Mapping):
        return {key: dump(item) for key, item in value.items()}
    return value


def load(kind: type[T], plain: object) -> T:
    """
    The ``kind`` (an attrs class, a scalar, ``X | None``, ``tuple[X, ...]``, ``dict[str, X]``) that ``dump`` was given.

    Keys that are not known are left to newer versions; those that are missing take their defaults.

    :raises TypeError, ValueError: ``plain`` is something else.
    """
    result: T = _load(kind, plain)
    return result


def _load(kind: Any, plain: Any) -> Any:
    if isinstance(kind, UnionType):
        if plain is None and NoneType in get_args(kind):
            return None
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    if get_origin(kind) is tuple:
        return tuple(_load(get_args(kind)[0], item) for item in _typed(plain, list))
    if get_origin(kind) is dict:
        return {key: _load(get_args(kind)[1], item) for key, item in _typed(plain, dict).items()}
    if kind is datetime:
        return _time(_typed(plain, str))
    if kind is float and type(plain) is int:
        return float(plain)
    if not attrs.has(kind):
        return _typed(plain, kind)
    fields = _typed(plain, dict)
    return kind(**{name: _load(hint, fields[name]) for name, hint in _hints(kind).items() if name in fields})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in attrs.fields(kind)}


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.utcoffset() is None:
        raise ValueError(f"{text} has no time zone")
    return time


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
