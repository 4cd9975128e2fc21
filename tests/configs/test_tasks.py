"""Recipes by name: each builds a config, and what stands on the command line wins."""

from pathlib import Path

import pytest

from genomix.training.build import build
from genomix.training.finetune_config import FinetuneConfig
from genomix_configs.compose import compose, compose_values
from genomix_configs.grid import DEFAULT_GRID, grid_points
from genomix_configs.tasks import chosen_tasks, task_recipes
from genomix_data.benchmarks import benchmark_sets
from genomix_data.errors import ConfigError


def laid_over(values: dict[str, object], changes: dict[str, object]) -> dict[str, object]:
    merged = dict(values)
    for name, value in changes.items():
        before = merged[name]
        assert name in merged, f"{name} is a setting"
        merged[name] = (
            laid_over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
        )
    return merged


def test_every_recipe_is_of_a_known_set_and_builds() -> None:
    base = compose_values("finetune")
    for recipe in task_recipes().values():
        values = laid_over(base, recipe.to_values())
        data = values["data"]
        assert isinstance(data, dict)
        where = {"root": "sets"} if recipe.benchmark else {"train": "a.csv", "test": "b.csv"}
        config = build(FinetuneConfig, {**values, "data": {**data, **where}})
        assert config.task == recipe.name
        assert config.data.benchmark == recipe.benchmark
        if recipe.benchmark:
            kind = benchmark_sets()[recipe.benchmark].kind
            heads = {"multi-label": "multilabel", "regression": "regressor"}
            assert config.head.kind == heads.get(kind, "classifier")
    families = {name.partition("/")[0] for name in task_recipes()}
    assert {"gb", "nt", "gue", "ienhancer", "cnnprom", "deepsea", "species"} <= families
    assert len([name for name in task_recipes() if name.startswith("nt/")]) == 18


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["task=gue/prom/prom_300_tata"], (5, None, 64, "window", 64)),
        (["task=gue/prom/prom_300_tata", "head.n_windows=4"], (5, None, 64, "window", 4)),
        (["task=gue/prom/prom_core_all"], (4, None, 256, "window", 4)),
        (["task=gue/tf/0", "model.init=human-2m", "method=full"], (4, None, 256, "mean", 4)),
        (["task=cnnprom/arabidopsis_tata_vs_nonprom"], (10, None, 64, "window", 64)),
        (["task=cnnprom/arabidopsis_nontata_vs_nonprom_big"], (4, None, 256, "window", 64)),
        (["task=cnnprom/ecoli_sigma70_vs_nonprom"], (5, None, 64, "window", 4)),
        (["task=ienhancer/layer1"], (10, None, 64, "mean", 4)),
        (["task=gue/tf/0", "trainer.max_epochs=9", "data.batch_size=32"], (9, None, 32, "mean", 4)),
        (["task=gue/tf/0", "model=hyenadna/tiny-1k"], (20, 5, 128, "mean", 4)),
        (["task=gue/prom/prom_300_tata", "model.init=null"], (30, 8, 64, "mean", 4)),
        (["task=gue/prom/prom_300_tata", "method=lora"], (30, 8, 64, "mean", 4)),
        (["task=gb-published/human_nontata_promoters"], (100, None, 128, "mean", 4)),
    ],
)
def test_all_weights_of_a_pretrained_model_have_settings_of_their_own(
    overrides: list[str], expected: tuple[int, int | None, int, str, int]
) -> None:
    config, _ = compose("finetune", [*overrides, "data.root=sets"])
    trainer, head = config.trainer, config.head
    found = trainer.max_epochs, trainer.patience, config.data.batch_size, head.pooling, head.n_windows
    assert found == expected


def test_a_recipe_is_chosen_by_name_and_the_command_line_wins() -> None:
    config, values = compose(
        "finetune", ["task=gue/mouse/3", "data.root=sets", "optimizer.lr=1e-3", "seeds=5"]
    )
    assert (config.task, config.data.benchmark, config.data.root) == (
        "gue/mouse/3",
        "gue/mouse/3",
        Path("sets"),
    )
    assert config.optimizer.lr == 1e-3
    assert config.seeds == 5
    assert config.head.both_strands, "a bound factor knows no strand"
    assert values["task"] == "gue/mouse/3"
    published, _ = compose("finetune", ["task=gb-published/human_nontata_promoters", "data.root=sets"])
    assert (published.protocol, published.trainer.max_epochs, published.data.batch_size) == (
        "paper",
        100,
        128,
    )
    promoters, _ = compose("finetune", ["task=cnnprom/mouse_tata_vs_nonprom", "data.root=sets"])
    assert (promoters.data.split, promoters.data.rc_augment) == ("random", False)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=gue/mose/3", "data.root=x"], r"task=gue/mose/3 does not exist; did you mean 'gue/mouse/3'\?"),
        (["task=gue/mouse/3"], r"where are the files of gue/mouse/3\? .*data.root=FOLDER"),
        (["task=gue/mouse/3", "data.train=a.csv", "data.root=x"], "or as task=NAME data.root=FOLDER"),
    ],
)
def test_mistakes_are_told(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compose("finetune", overrides)
    assert len(str(caught.value)) < 900, "not every task there is"


def test_several_tasks_by_patterns() -> None:
    assert chosen_tasks("gue/tf/[01],gue/tf/0,ienhancer/layer1") == [
        "gue/tf/0",
        "gue/tf/1",
        "ienhancer/layer1",
    ]
    with pytest.raises(ConfigError, match=r"no task is named 'gue/tg/0'. Did you mean 'gue/tf/0'"):
        chosen_tasks("gue/tf/0,gue/tg/0")


def test_a_grid_is_every_combination() -> None:
    points = grid_points(["task=gue/tf/0", "optimizer.lr=1e-3,2e-3", "data.batch_size=32,64"])
    assert [settings for settings, _ in points] == [
        {"optimizer.lr": lr, "data.batch_size": size} for lr in ("0.001", "0.002") for size in ("32", "64")
    ]
    assert points[0][1] == ["task=gue/tf/0", "optimizer.lr=0.001", "data.batch_size=32"]
    default = grid_points(["optimizer.weight_decay=0.05"])
    assert len(default) == 6, "what is given is not varied"
    assert len(grid_points([])) == 12
    settings, overrides = grid_points([])[-1]
    assert len(settings) == len(DEFAULT_GRID)
    compose("finetune", ["data.train=a", "data.test=b", *overrides])
    with pytest.raises(ConfigError, match="not an override"):
        grid_points(["oops"])
