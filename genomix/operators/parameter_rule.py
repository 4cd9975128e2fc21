"""How a module tells the optimizer that some of its parameters are special."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class ParameterRule:
    """What replaces the optimizer's own values for a parameter; None keeps the optimizer's."""

    lr: float | None = None
    weight_decay: float | None = None


@runtime_checkable
class HasParameterRules(Protocol):
    """A module with parameters that are not optimized like the rest."""

    def parameter_rules(self) -> dict[str, ParameterRule]:
        """Return rules by parameter name, relative to the module."""
        ...
