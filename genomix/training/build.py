"""Typed configs out of plain mappings: every key must be known and every value of the declared type.

A misspelt key or a wrong value becomes one line that says what was meant, with the key as the user writes it
(``trainer.max_steps``).
"""

import dataclasses
import types
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from genomix_data.errors import ConfigError, preview

T = TypeVar("T")

MISSING = "???"
"""What YAML holds for a value that the user has to give."""


def build(cls: type[T], values: Mapping[str, Any], *, prefix: str = "") -> T:
    """Return the dataclass ``cls`` made of ``values``; nested mappings become nested dataclasses.

    Args:
        cls: A dataclass; a class method ``from_values(values, prefix)`` of its own is preferred where it exists.
        values: Keys and values, e.g. from YAML.
        prefix: Dotted path of ``values`` in the whole config, for messages.

    Raises:
        ConfigError: for an unknown or missing key, or a value of another type.
    """
    own = getattr(cls, "from_values", None)
    if own is not None:
        built: T = own(values, prefix)
        return built
    return build_fields(cls, values, prefix=prefix)


def build_fields(cls: type[T], values: Mapping[str, Any], *, prefix: str = "") -> T:
    """Return the dataclass ``cls`` made of ``values`` field by field."""
    assert dataclasses.is_dataclass(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    hints = get_type_hints(cls)
    for key in values:
        if key not in fields:
            raise unknown_key(_join(prefix, str(key)), [_join(prefix, name) for name in fields])
    arguments: dict[str, Any] = {}
    for name, field in fields.items():
        path = _join(prefix, name)
        if name in values and values[name] != MISSING:
            arguments[name] = convert(values[name], hints[name], path)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{path} is not set; give it as {path}=VALUE.")
    built: T = cls(**arguments)
    return built


def unknown_key(path: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a key that does not exist, with the nearest one that does."""
    names = list(known)
    close = get_close_matches(path, names, n=1, cutoff=0.6)
    if not close:
        # A key in the wrong group is found by its last part.
        last = [name for name in names if name.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1]]
        close = last[:1]
    if close:
        return ConfigError(f"there is no setting {path!r}; did you mean {close[0]!r}?")
    siblings = [name for name in names if name.rpartition(".")[0] == path.rpartition(".")[0]] or names
    return ConfigError(f"there is no setting {path!r}; there are {preview(sorted(siblings), 12)}.")


def convert(value: Any, hint: Any, path: str) -> Any:
    """Return ``value`` as the annotated type ``hint``; only changes that lose nothing are made (1 -> 1.0).

    Raises:
        ConfigError: if the value is of another type.
    """
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(hint), path)
    if origin is Literal:
        if value in get_args(hint) and not isinstance(value, bool):
            return value
        close = get_close_matches(str(value), [str(c) for c in get_args(hint)], n=1)
        meant = f"; did you mean {close[0]!r}?" if close else "."
        raise _wrong(path, f"one of {', '.join(map(str, get_args(hint)))}", value, meant)
    if origin is tuple:
        return _convert_tuple(value, get_args(hint), path)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise _wrong(path, "a group of settings", value)
        assert isinstance(hint, type)
        return build(hint, value, prefix=path)
    return _convert_plain(value, hint, path)


def _convert_plain(value: Any, hint: Any, path: str) -> Any:
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str | Path) and str(value):
        return Path(value)
    if hint is str and isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)  # contig names such as 1 arrive as numbers
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    raise _wrong(path, names.get(hint, str(hint)), value)


def _convert_tuple(value: Any, kinds: tuple[Any, ...], path: str) -> tuple[Any, ...]:
    if kinds[-1] is Ellipsis:
        items = value if isinstance(value, list | tuple) else [value]  # one file may stand for a list of one
        kinds = (kinds[0],) * len(items)
    else:
        items = value
    if not isinstance(items, list | tuple) or len(items) != len(kinds):
        raise _wrong(path, f"a list of {len(kinds)} values", value)
    return tuple(convert(item, kind, path) for item, kind in zip(items, kinds, strict=True))


def _convert_union(value: Any, options: tuple[Any, ...], path: str) -> Any:
    if value is None and type(None) in options:
        return None
    choices = [option for option in options if option is not type(None)]
    for option in choices[:-1]:
        try:
            return convert(value, option, path)
        except ConfigError:
            continue
    return convert(value, choices[-1], path)


def dotted_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted path of every setting and group in a nested mapping."""
    keys: list[str] = []
    for name, value in values.items():
        path = _join(prefix, str(name))
        keys.append(path)
        if isinstance(value, Mapping):
            keys.extend(dotted_keys(value, path))
    return keys


def plain(value: Any) -> Any:
    """Return a config as plain dicts, lists, strings and numbers, as YAML and JSON hold them."""
    own = getattr(value, "to_values", None)
    if own is not None:
        return own()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _wrong(path: str, expected: str, value: Any, ending: str = ".") -> ConfigError:
    return ConfigError(f"{path} must be {expected}, but is {value!r}{ending}")
