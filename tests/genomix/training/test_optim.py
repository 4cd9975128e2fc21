from typing import Any

import pytest
import torch

from genomix.heads.classifier import SequenceClassifier
from genomix.models.hyenadna.model import HyenaDNA
from genomix.training.optim import parameter_groups
from tests.genomix.golden import tiny_config, values


def as_sets(groups: list[dict[str, Any]], names: str) -> set[tuple[float, float, frozenset[str]]]:
    return {(group["lr"], group["weight_decay"], frozenset(group[names])) for group in groups}


@pytest.mark.parametrize(("key", "lr_pos_emb"), [("groups", 0.0), ("groups_lr_pos_emb_1e5", 1e-5)])
def test_against_official_groups(key: str, lr_pos_emb: float) -> None:
    model = HyenaDNA(tiny_config(lr_pos_emb=lr_pos_emb))
    groups = parameter_groups(model, lr=6e-4, weight_decay=0.1)
    assert as_sets(groups, "names") == as_sets(values("optimizer_groups.json")[key], "params")
    for group in groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            assert model.get_parameter(name) is parameter


def test_every_parameter_is_in_one_group_and_torch_takes_them() -> None:
    model = HyenaDNA(tiny_config())
    groups = parameter_groups(model, lr=1e-3, weight_decay=0.1)
    parameters = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(parameters) == sorted(id(parameter) for parameter in model.parameters())
    optimizer = torch.optim.AdamW(groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


def test_a_classifier_has_its_head_in_the_ordinary_group() -> None:
    classifier = SequenceClassifier(HyenaDNA(tiny_config()), 2)
    ordinary, filters = parameter_groups(classifier, lr=1e-3, weight_decay=0.1)
    assert "head.output_transform.weight" in ordinary["names"]
    assert all("implicit_filter" in name for name in filters["names"])


def test_frozen_parameters_are_left_out() -> None:
    classifier = SequenceClassifier(HyenaDNA(tiny_config()), 2)
    classifier.backbone.requires_grad_(False)
    groups = parameter_groups(classifier, lr=1e-3, weight_decay=0.1)
    assert [group["names"] for group in groups] == [
        ["head.output_transform.weight", "head.output_transform.bias"]
    ]


def test_without_decay_there_is_one_group() -> None:
    assert len(parameter_groups(HyenaDNA(tiny_config()), lr=1e-3, weight_decay=0.0)) == 1
