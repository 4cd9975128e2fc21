"""Optimizer groups as the official recipe has them.

AdamW decays everything (biases, norms and embeddings too) except the MLPs of the implicit filters; trainable positions
have a learning rate of their own. The exceptions are declared by the modules (`parameter_rules`).
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from genomix.operators.parameter_rule import HasParameterRules, ParameterRule


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float, lr_scale: Callable[[str], float] = lambda name: 1.0
) -> list[dict[str, Any]]:
    """Return groups for a torch optimizer, each with ``params``, ``names``, ``lr`` and ``weight_decay``.

    Args:
        model: Any module; a parameter that is shared or does not require gradients counts once or not at all.
        lr: Learning rate of every parameter whose module does not say otherwise.
        weight_decay: Likewise.
        lr_scale: What part of its learning rate the parameter of a name gets.

    Returns:
        The group of ordinary parameters first, then one for each combination of special values.
    """
    rules = _rules_by_parameter(model)
    groups: dict[tuple[float, float], dict[str, Any]] = {
        (lr, weight_decay): {"params": [], "names": [], "lr": lr, "weight_decay": weight_decay}
    }
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rule = rules.get(id(parameter), ParameterRule())
        key = (
            (lr if rule.lr is None else rule.lr) * lr_scale(name),
            weight_decay if rule.weight_decay is None else rule.weight_decay,
        )
        group = groups.setdefault(key, {"params": [], "names": [], "lr": key[0], "weight_decay": key[1]})
        group["params"].append(parameter)
        group["names"].append(name)
    return [group for group in groups.values() if group["params"]]


def layer_lr_scale(name: str, n_layers: int, decay: float) -> float:
    """Return the part of the learning rate that a parameter of a classifier gets: ``decay`` to the power of its depth.

    Depth is counted from the top: 0 for the head, the pooling and the last norm, 1 for the last block, and
    ``n_layers + 1`` for the embedding.

    >>> names = ("head.bias", "backbone.layers.0.norm1.bias", "backbone.embeddings.weight")
    >>> [layer_lr_scale(name, 2, 0.5) for name in names]
    [1.0, 0.25, 0.125]
    """
    parts = name.split(".")
    blocks = next((name for name in ("layers", "blocks") if name in parts), None)
    if blocks is not None:
        depth = n_layers - int(parts[parts.index(blocks) + 1])
    else:
        depth = n_layers + 1 if not {"embeddings", "embedding", "prompt"}.isdisjoint(parts) else 0
    return float(decay**depth)


def _rules_by_parameter(model: nn.Module) -> dict[int, ParameterRule]:
    rules: dict[int, ParameterRule] = {}
    for module in model.modules():
        if isinstance(module, HasParameterRules):
            rules.update(
                {id(module.get_parameter(name)): rule for name, rule in module.parameter_rules().items()}
            )
    return rules
