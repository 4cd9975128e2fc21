from typing import Any

import pytest
import torch

from genomix.training.config import ScheduleConfig
from genomix.training.schedule import (
    CosineWithWarmup,
    cosine_with_warmup,
    learning_rate,
    warmup_stable_decay,
)
from tests.genomix.golden import values

SETTINGS: dict[str, dict[str, Any]] = values("lr_schedule.json")


@pytest.mark.parametrize("name", SETTINGS)
def test_against_official_schedule(name: str) -> None:
    official = SETTINGS[name]
    settings = {
        "total_steps": official["t_initial"],
        "warmup_steps": official["warmup_t"],
        "min_lr": official["lr_min"],
        "warmup_start_lr": official["warmup_lr_init"],
    }
    rates = [
        cosine_with_warmup(step, lr=official["base_lr"], **settings) for step in range(len(official["lrs"]))
    ]
    assert rates == pytest.approx(official["lrs"], rel=1e-12)

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=official["base_lr"])
    scheduler = CosineWithWarmup(optimizer, **settings)
    seen = []
    for _ in official["lrs"]:
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx(official["lrs"], rel=1e-12)


def test_each_group_has_its_own_peak_and_none_is_raised_to_the_floor() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1e-3, 1e-5)]
    optimizer = torch.optim.SGD(groups)
    scheduler = CosineWithWarmup(optimizer, total_steps=10, warmup_steps=2, min_lr=1e-4)
    peaks = [0.0, 0.0]
    for _ in range(20):
        peaks = [max(peak, group["lr"]) for peak, group in zip(peaks, optimizer.param_groups, strict=True)]
        optimizer.step()
        scheduler.step()
    assert peaks[0] == pytest.approx(1e-3, rel=0.15)
    assert peaks[1] == pytest.approx(1e-5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-4, 1e-5])


def test_it_resumes_where_it_stopped() -> None:
    def make() -> tuple[torch.optim.SGD, CosineWithWarmup]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
        return optimizer, CosineWithWarmup(optimizer, total_steps=50, warmup_steps=5, min_lr=1e-4)

    optimizer, scheduler = make()
    for _ in range(20):
        optimizer.step()
        scheduler.step()
    resumed_optimizer, resumed = make()
    resumed_optimizer.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    for one_optimizer, one in ((optimizer, scheduler), (resumed_optimizer, resumed)):
        one_optimizer.step()
        one.step()
    assert resumed_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_without_warmup_it_starts_at_the_peak() -> None:
    assert cosine_with_warmup(0, lr=1e-3, total_steps=10, warmup_steps=0, min_lr=0.0) == 1e-3


@pytest.mark.parametrize(("total_steps", "warmup_steps"), [(0, 0), (10, 11), (10, -1)])
def test_impossible_lengths_are_refused(total_steps: int, warmup_steps: int) -> None:
    with pytest.raises(ValueError, match=f"total_steps is {total_steps} and warmup_steps {warmup_steps}"):
        cosine_with_warmup(0, lr=1e-3, total_steps=total_steps, warmup_steps=warmup_steps, min_lr=0.0)


def test_a_plateau_and_a_short_fall() -> None:
    schedule = ScheduleConfig(name="wsd", warmup_fraction=0.1, decay_fraction=0.25, min_lr_fraction=0.2)
    rates = [learning_rate(step, 1.0, schedule, 100) for step in range(110)]
    assert rates[0] < rates[5] < rates[9] < 1.0
    assert set(rates[10:76]) == {1.0}
    assert rates[76] == pytest.approx(0.2 + 0.8 * (1 - 0.2), rel=1e-12), "a twenty-fifth of the fall"
    assert rates[76:100] == sorted(rates[76:100], reverse=True)
    assert set(rates[100:]) == {0.2}
    longer = [
        learning_rate(step, 1.0, ScheduleConfig(name="wsd", decay_fraction=0.25), 200) for step in range(150)
    ]
    assert longer[76] == 1.0, "a longer run stays on the plateau"


def test_no_fall_is_a_plateau_to_the_end() -> None:
    assert warmup_stable_decay(9, lr=1.0, total_steps=10, decay_steps=0, min_lr=0.1) == 1.0
