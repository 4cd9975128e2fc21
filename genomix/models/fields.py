"""Checks that the configs of all models share: fields by name, with an error that says what was meant."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from genomix_data.errors import ConfigError

Config = TypeVar("Config")


def require(holds: bool, config: object, name: str, expected: str) -> None:
    """Raise a `ConfigError` that names the field, what it is and what it should be, unless ``holds``."""
    if not holds:
        kind = type(config).__name__
        raise ConfigError(f"{kind}.{name} is {getattr(config, name)!r}; it must be {expected}.")


def is_integer(value: object) -> bool:
    """Return whether the value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Return whether the value is a finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def config_from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Return a config dataclass made of these fields.

    Raises:
        ConfigError: if a field is unknown, with the name that may have been meant, or a needed one is missing.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(known)}."
            raise ConfigError(f"{kind.__name__} has no field {name!r}. {hint}")
    missing = [
        name
        for name, field in known.items()
        if field.default is MISSING and field.default_factory is MISSING and name not in values
    ]
    if missing:
        raise ConfigError(f"{kind.__name__} needs {', '.join(missing)}; add the missing fields.")
    return kind(**values)
