"""Optimizer groups as the official recipe has them.

AdamW decays everything (biases, norms and embeddings too) except the MLPs of the implicit filters; trainable positions
have a learning rate of their own. The exceptions are declared by the modules (`parameter_rules`).
"""

from typing import Any

from torch import nn

from genomix.operators.parameter_rule import HasParameterRules, ParameterRule


def parameter_groups(model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Return groups for a torch optimizer, each with ``params``, ``names``, ``lr`` and ``weight_decay``.

    Args:
        model: Any module; a parameter that is shared or does not require gradients counts once or not at all.
        lr: Learning rate of every parameter whose module does not say otherwise.
        weight_decay: Likewise.

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
            lr if rule.lr is None else rule.lr,
            weight_decay if rule.weight_decay is None else rule.weight_decay,
        )
        group = groups.setdefault(key, {"params": [], "names": [], "lr": key[0], "weight_decay": key[1]})
        group["params"].append(parameter)
        group["names"].append(name)
    return [group for group in groups.values() if group["params"]]


def _rules_by_parameter(model: nn.Module) -> dict[int, ParameterRule]:
    rules: dict[int, ParameterRule] = {}
    for module in model.modules():
        if isinstance(module, HasParameterRules):
            rules.update(
                {id(module.get_parameter(name)): rule for name, rule in module.parameter_rules().items()}
            )
    return rules
