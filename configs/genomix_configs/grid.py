"""Points of a grid out of overrides: ``optimizer.lr=3e-4,1e-3 head.dropout=0,0.1`` are four."""

import itertools
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from genomix_configs.explain import bad_syntax

DEFAULT_GRID = (
    "optimizer.lr=2e-4,6e-4,2e-3",
    "optimizer.weight_decay=0.0,0.1",
    "head.dropout=0.0,0.2",
)
"""What is varied where nothing is said: twelve points."""


def grid_points(overrides: Sequence[str]) -> list[tuple[dict[str, str], list[str]]]:
    """Return what is varied at each point, and all its overrides.

    Overrides with several values are varied; without any, those of `DEFAULT_GRID` whose keys are not given.

    Raises:
        ConfigError: for an override that cannot be read.
    """
    parser = OverridesParser.create()
    fixed: list[str] = []
    varied: dict[str, list[str]] = {}

    def read(text: str) -> None:
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            raise bad_syntax(text) from error
        if override.is_sweep_override():
            varied[override.get_key_element()] = [str(value) for value in override.sweep_string_iterator()]
        else:
            fixed.append(text)

    for text in overrides:
        read(text)
    if not varied:
        given = {text.partition("=")[0] for text in overrides}
        for text in DEFAULT_GRID:
            if text.partition("=")[0] not in given:
                read(text)
    points = []
    for values in itertools.product(*varied.values()):
        settings = dict(zip(varied, values, strict=True))
        points.append((settings, [*fixed, *(f"{key}={value}" for key, value in settings.items())]))
    return points
