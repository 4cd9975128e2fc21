from pathlib import Path
from typing import Any

import pytest

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.training.build import plain
from genomix.training.config import PretrainConfig, untrained
from genomix.training.fasta_config import FastaDataConfig
from genomix.training.finetune_config import FinetuneConfig, TableDataConfig
from genomix.training.finetune_method import (
    FullConfig,
    LoraMethodConfig,
    MethodConfig,
    ProbeConfig,
    SoftPromptConfig,
)
from genomix_configs.compose import (
    GROUPS,
    Kind,
    compose,
    compose_onto,
    compose_values,
    group_options,
    trainable_models,
)
from genomix_data.errors import ConfigError

TABLES = ["data.train=a.csv", "data.test=b.csv"]
KINDS: tuple[Kind, ...] = ("pretrain", "finetune")
NEEDED = {"pretrain": ["data.fasta=a.fa"], "finetune": TABLES}


def test_yaml_and_dataclasses_have_the_same_defaults() -> None:
    config, _ = compose("pretrain", ["data.fasta=a.fa"])
    assert config == PretrainConfig(data=FastaDataConfig(fasta=(Path("a.fa"),)))
    tuned, _ = compose("finetune", TABLES)
    assert tuned == FinetuneConfig(data=TableDataConfig(train=Path("a.csv"), test=Path("b.csv")))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("full", FullConfig()),
        ("probe", ProbeConfig()),
        ("lora", LoraMethodConfig()),
        ("soft_prompt", SoftPromptConfig()),
    ],
)
def test_every_method_has_the_same_defaults_in_yaml(name: str, expected: MethodConfig) -> None:
    config, values = compose("finetune", [f"method={name}", *TABLES])
    assert config.method == expected
    assert values["method"]["name"] == name


@pytest.mark.parametrize("name", list(trainable_models()))
def test_every_model_that_can_be_trained_is_an_option(name: str) -> None:
    pretrain, _ = compose("pretrain", [f"model={name}", "data.fasta=a.fa"])
    finetune, _ = compose("finetune", [f"model={name}", *TABLES])
    row = trainable_models()[name].config
    assert finetune.model.config == row
    assert pretrain.model.config == untrained(row)
    field, value = ("shift", 0.0) if name.startswith("hyenadna/") else ("weights_precision", "bf16")
    assert {**row.to_dict(), field: value} == untrained(row).to_dict(), (
        "no more differs from the published models"
    )
    assert pretrain.model.name == finetune.model.name == name


@pytest.mark.parametrize("name", group_options()["recipe"])
def test_every_recipe_composes_and_gives_way_to_single_settings(name: str) -> None:
    start = ["init.checkpoint=a"] if "extend" in name else []
    config, values = compose("pretrain", [f"recipe={name}", "data.fasta=a.fa", *start])
    family, size = name.split("/")
    sizes = [row.name for row in trainable_models().values() if row.name.startswith(f"{family}/")]
    others = {"hyenadna/one-gpu": "hyenadna/tiny-1k", "sh2/bacteria": "sh2/7m"}
    expected = others.get(name, "evo2/7b_base" if start else name)
    assert config.model.name == expected
    assert config.model.name in sizes
    assert compose_onto(values) == config
    assert size in (GROUPS / "recipe" / f"{name}.yaml").name
    mine, _ = compose(
        "pretrain", [f"recipe={name}", "data.fasta=a.fa", "optimizer.lr=0.5", "trainer=smoke", *start]
    )
    assert (mine.optimizer.lr, mine.data) == (0.5, config.data)


def test_the_extension_of_evo2_interpolates_positions() -> None:
    config, _ = compose("pretrain", ["recipe=evo2/extend-256k", "data.fasta=a.fa", "init.checkpoint=a"])
    assert (config.init.context_len, config.init.position_scale) == (262_144, 32.0)
    assert config.data.seqlen * config.data.batch_size * config.trainer.accumulate == 1 << 22
    with pytest.raises(ConfigError, match=r"give init\.checkpoint as well"):
        compose("pretrain", ["recipe=evo2/extend-256k", "data.fasta=a.fa"])


def test_every_option_composes_where_it_belongs() -> None:
    tried = 0
    for group, options in group_options().items():
        if group in ("model", "recipe", "task"):  # have tests of their own
            continue
        for option in options:
            kinds: list[Any] = [kind for kind in KINDS if group in compose_values(kind)]
            composed = []
            for kind in kinds:
                try:
                    compose(kind, [f"{group}={option}", *NEEDED[kind]])
                    composed.append(kind)
                except ConfigError:
                    continue
            assert composed, f"{group}={option} composes with none of {kinds}"
            tried += 1
    assert tried == len(list(GROUPS.glob("*/*.yaml")))


def test_resolved_values_build_the_same_config_again() -> None:
    overrides = [
        "data.fasta=[a.fa,b.fa]",
        "model.d_model=32",
        "data.valid_contigs=[1,chrX]",
        "data.test_contigs=2",
        "optimizer.lr=1e-3",
    ]
    config, values = compose("pretrain", overrides)
    assert config.data.valid_contigs == ("1", "chrX")
    assert config.data.test_contigs == ("2",)
    assert compose_onto(values) == config
    longer = compose_onto(values, ["trainer.max_steps=7"])
    assert longer.trainer.max_steps == 7
    assert plain(longer)["optimizer"] == values["optimizer"]


def test_filters_can_be_shorter_than_the_windows() -> None:
    overrides = ["model.filter_len=128", "model.extended_len=4096", "data.seqlen=4096"]
    config, _ = compose("pretrain", ["data.fasta=a.fa", *overrides])
    hyenadna = config.model.config
    assert isinstance(hyenadna, HyenaDNAConfig)
    assert (hyenadna.filter_len, hyenadna.longest_input, hyenadna.l_max) == (128, 4096, 1026)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.max_step=4"], r"no setting 'trainer.max_step'; did you mean 'trainer.max_steps'\?"),
        (["lr=3"], r"did you mean 'optimizer.lr'\?"),
        (["model.d_modl=3"], r"did you mean 'model.d_model'\?"),
        (["quite.another=1"], r"no setting 'quite.another'; there are"),
        (["+trainer.max_stepz=1"], r"did you mean 'trainer.max_steps'\?"),
        (["model=hyenadna/tiny1k"], r"did you mean 'hyenadna/tiny-1k'\?"),
        (["model=tiny-1k"], r"did you mean 'hyenadna/tiny-1k'\?"),
        (["schedule=linear"], r"schedule=linear does not exist; .*constant, cosine"),
        (["~trainer"], "trainer is a group of settings; choose one of"),
        (["oops"], "'oops' is not an override; write key=value"),
        (["data.fasta=a=b"], "cannot read the override"),
        (["trainer.max_steps=1,2"], "several values for one run"),
        (["data.fasta=${nowhere}"], "cannot be composed"),
        ([], r"data.fasta is not set; give it as data.fasta=VALUE"),
        (["trainer.max_steps=ten"], "trainer.max_steps must be a whole number, but is 'ten'"),
        (["trainer.max_steps=1.5"], "trainer.max_steps must be a whole number"),
        (["data.jitter=1"], "data.jitter must be true or false"),
        (["schedule.name=cosin"], r"one of cosine, constant, wsd, but is 'cosin'; did you mean 'cosine'\?"),
        (["optimizer.betas=[0.9]"], "optimizer.betas must be a list of 2 values"),
        (["optimizer.betas=0.9"], "optimizer.betas must be a list of 2 values"),
        (["model=null"], "model is a group of settings"),
        (["trainer=epochs"], "no setting 'trainer.max_epochs'"),
        (["model.d_model=0"], "model.d_model is 0"),
        (["data.seqlen=5000"], r"data.seqlen is 5000, but hyenadna/tiny-1k takes at most model.l_max=1026"),
        (["data.valid_contigs=[a]"], "belong together"),
        (["data.bed=a.bed", "data.valid_contigs=[a]", "data.test_contigs=[b]"], "give one of them"),
        (["data.holdout=0.7"], "data.holdout is 0.7"),
        (["data.eval_overlap=1024"], "must be shorter than data.seqlen"),
        (["optimizer.lr=0"], "optimizer.lr is 0.0; it must be above 0"),
        (["trainer.markov_order=30"], "between 0 and 12"),
    ],
)
def test_a_mistake_gets_one_line_that_says_what_was_meant(overrides: list[str], message: str) -> None:
    given = (
        overrides if not overrides or overrides[0].startswith("data.fasta") else ["data.fasta=x", *overrides]
    )
    with pytest.raises(ConfigError, match=message) as caught:
        compose("pretrain", given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "data.train=TABLE data.test=TABLE, or as data.folder"),
        (["data.train=a"], "data.test is not set"),
        (["data.folder=a", "data.train=b"], "or as data.folder"),
        (["data.folder=a", "data.test=b"], "leave out data.test"),
        ([*TABLES, "data.valid_fraction=1"], "data.valid_fraction is 1.0"),
        ([*TABLES, "data.too_long=trunc"], r"did you mean 'truncate'\?"),
        ([*TABLES, "head.pooling=avg"], "one of mean, last, first, max"),
        ([*TABLES, "trainer.patience=0"], "trainer.patience is 0"),
        ([*TABLES, "method=loar"], r"did you mean 'lora'\?"),
        ([*TABLES, "method.rank=4"], "method.rank is a setting of method=lora; choose that as well"),
        ([*TABLES, "method=lora", "method.rnk=4"], r"did you mean 'method.rank'\?"),
        ([*TABLES, "method=probe", "method.strengths=[-1]"], r"method.strengths is \[-1.0\]"),
        ([*TABLES, "method=probe", "head.pooling=attention"], "attention is learned"),
        ([*TABLES, "loss.class_weights=balansed"], r"did you mean 'balanced'\?"),
        ([*TABLES, "trainer.monitor=acuracy"], r"did you mean 'accuracy'\?"),
    ],
)
def test_fine_tuning_settings_are_checked(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose("finetune", overrides)


def test_options_of_a_users_own_folder_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "long.yaml").write_text("defaults:\n  - steps\n  - _self_\nmax_steps: 77\n")
    config, _ = compose("pretrain", ["data.fasta=a.fa", "trainer=long"], config_dir=tmp_path)
    assert config.trainer.max_steps == 77
    with pytest.raises(ConfigError, match="trainer=long does not exist"):
        compose("pretrain", ["data.fasta=a.fa", "trainer=long"])
    with pytest.raises(ConfigError, match=r"config folder .* does not exist"):
        compose("pretrain", ["data.fasta=a.fa"], config_dir=tmp_path / "nowhere")


def test_a_resumed_run_keeps_its_groups() -> None:
    _, values = compose("pretrain", ["data.fasta=a.fa"])
    with pytest.raises(ConfigError, match="keeps its groups"):
        compose_onto(values, ["trainer=smoke"])
    with pytest.raises(ConfigError, match=r"did you mean 'trainer\.seed'"):
        compose_onto(values, ["trainer.sed=1"])


def test_a_model_of_another_shape_is_not_called_by_the_registered_name_alone() -> None:
    registered, _ = compose("pretrain", ["model=sh2/7m", "data.fasta=x.fa", "model.d_inner=512"])
    changed, _ = compose("pretrain", ["recipe=sh2/bacteria", "data.fasta=x.fa"])
    assert registered.model.description == "sh2/7m"
    assert changed.model.description == "sh2/7m with 4 layers of width 64"
