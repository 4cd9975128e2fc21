"""Adapters, layer-wise learning rates, class weights and learned pooling, from a config to a saved classifier."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from genomix.checkpoint.native import load_model, save_model
from genomix.heads.classifier import SequenceClassifier
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.registry import build_model
from genomix.training.build import build, plain
from genomix.training.evaluate import evaluate
from genomix.training.finetune import finetune
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.finetune_method import LoraMethodConfig, LossConfig
from genomix.training.optim import layer_lr_scale, parameter_groups
from genomix_data.errors import ConfigError
from genomix_data.tokenizers import CharTokenizer
from tests.genomix.golden import tiny_config
from tests.genomix.training_helpers import finetune_config, gc_rows, tiny_model, write_table


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tables")
    return write_table(folder / "train.csv", gc_rows(80, 1)), write_table(folder / "test.csv", gc_rows(40, 2))


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("lm") / "model"
    model = build_model(tiny_model().config)
    return save_model(model, folder, tokenizer=CharTokenizer(), provenance={}, card="a test")


def from_checkpoint(config: FinetuneConfig, folder: Path) -> FinetuneConfig:
    return replace(config, model=replace(config.model, init=folder))


def test_adapters_are_merged_into_a_model_of_the_published_names(
    tables: tuple[Path, Path], language_model: Path, tmp_path: Path
) -> None:
    method = {"name": "lora", "rank": 4, "dropout": 0.1, "targets": ["*.in_proj", "*.fc1"]}
    config = from_checkpoint(
        finetune_config(*tables, method=method, optimizer={"lr": 2e-2}, trainer={"max_epochs": 6}),
        language_model,
    )
    result = finetune(config, tmp_path / "lora", progress=False)
    assert result.test.accuracy > 0.9
    assert evaluate(result.model_folder, tables[1]).metrics == result.test
    before = load_model(language_model).language_model.state_dict()
    after = load_model(result.model_folder).classifier.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}
    assert changed == {"backbone.layers.0.mixer.in_proj.weight", "backbone.layers.0.mlp.fc1.weight"}
    adapters = load_file(result.folder / "adapters.safetensors")
    n_adapter = sum(tensor.numel() for tensor in adapters.values())
    assert result.n_parameters == n_adapter + 2 * 16 + 2
    name = "layers.0.mixer.in_proj"
    merged = (
        before[f"backbone.{name}.weight"] + (16 / 4) * adapters[f"{name}.lora_b"] @ adapters[f"{name}.lora_a"]
    )
    torch.testing.assert_close(after[f"backbone.{name}.weight"], merged)
    assert "low-rank adapters" in (result.model_folder / "README.md").read_text()


def test_a_pattern_that_matches_nothing_is_refused(
    tables: tuple[Path, Path], language_model: Path, tmp_path: Path
) -> None:
    config = from_checkpoint(
        finetune_config(*tables, method={"name": "lora", "targets": ["*.qkv"]}), language_model
    )
    with pytest.raises(ConfigError, match=r"no linear map of the model has a name like '\*\.qkv'"):
        finetune(config, tmp_path / "lora", progress=False)
    assert not (tmp_path / "lora").exists()


@pytest.mark.parametrize("pooling", ["attention", "window"])
def test_every_pooling_is_trained_saved_and_evaluated(
    tables: tuple[Path, Path], tmp_path: Path, pooling: str
) -> None:
    config = finetune_config(
        *tables, head={"pooling": pooling, "n_windows": 2}, loss={"label_smoothing": 0.1}
    )
    result = finetune(config, tmp_path / "cls", progress=False)
    assert result.test.accuracy > 0.9
    assert evaluate(result.model_folder, tables[1]).metrics == result.test
    pooler = load_model(result.model_folder).classifier.pooler
    if pooling == "attention":
        assert pooler.query is not None
        assert bool(pooler.query.abs().sum() > 0), "learned"
    else:
        assert pooler.n_windows == 2


def test_layers_below_learn_more_slowly() -> None:
    classifier = SequenceClassifier(HyenaDNA(tiny_config()), 2, pooling="attention")
    n_layers = classifier.config.n_layers
    assert n_layers == 2
    groups = parameter_groups(classifier, 1e-2, 0.1, lambda name: layer_lr_scale(name, n_layers, 0.5))
    lr = {name: group["lr"] for group in groups for name in group["names"]}
    assert lr["head.output_transform.weight"] == lr["pooler.query"] == lr["backbone.ln_f.weight"] == 1e-2
    assert lr["backbone.layers.1.mixer.in_proj.weight"] == 5e-3
    assert lr["backbone.layers.0.mixer.in_proj.weight"] == 2.5e-3
    assert lr["backbone.layers.0.mixer.filter_fn.implicit_filter.0.weight"] == 2.5e-3
    assert lr["backbone.embeddings.word_embeddings.weight"] == 1.25e-3
    same = parameter_groups(classifier, 1e-2, 0.1, lambda name: layer_lr_scale(name, n_layers, 1.0))
    plain_groups = parameter_groups(classifier, 1e-2, 0.1)
    assert [group["names"] for group in same] == [group["names"] for group in plain_groups]


def test_layer_decay_reaches_training(
    tables: tuple[Path, Path], language_model: Path, tmp_path: Path
) -> None:
    def moved(decay: float) -> float:
        config = finetune_config(
            *tables, method={"name": "full", "layer_lr_decay": decay}, trainer={"max_epochs": 1}
        )
        result = finetune(from_checkpoint(config, language_model), tmp_path / str(decay), progress=False)
        name = "backbone.embeddings.word_embeddings.weight"
        before = load_model(language_model).language_model.state_dict()[name]
        return float((load_model(result.model_folder).classifier.state_dict()[name] - before).norm())

    assert moved(0.1) < 0.1 * moved(1.0)


@pytest.mark.parametrize(
    ("class_weights", "expected"),
    [("balanced", [4 / 6, 4 / 2]), ((1.0, 5.0), [0.5, 2.5]), ((3.0, 3.0), [1.0, 1.0])],
)
def test_class_weights_have_a_mean_of_one(class_weights: Any, expected: list[float]) -> None:
    labels = np.array([0, 0, 0, 1])
    weights = LossConfig(class_weights=class_weights).weights(labels, ("a", "b"))
    assert weights is not None
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)
    assert float(weights[torch.from_numpy(labels)].mean()) == pytest.approx(1.0)


@pytest.mark.parametrize("method", ["full", "probe", "lora"])
def test_weights_must_fit_the_classes(tables: tuple[Path, Path], tmp_path: Path, method: str) -> None:
    assert LossConfig().weights(np.array([0, 1]), ("a", "b")) is None
    config = finetune_config(*tables, method={"name": method}, loss={"class_weights": [1, 2, 3]})
    with pytest.raises(ConfigError, match="has 3 values for 2 classes; give one for each of at, gc"):
        finetune(config, tmp_path / "cls", progress=False)
    assert not (tmp_path / "cls").exists()


def test_balanced_weights_find_the_rare_class(tmp_path: Path) -> None:
    """Overlapping classes, nine to one: unweighted, the prior wins."""
    rows = [row for row in gc_rows(600, 5, length=6) if row[1] == "at"][:270]
    rows += [row for row in gc_rows(600, 6, length=6) if row[1] == "gc"][:30]
    train = write_table(tmp_path / "train.csv", rows)
    test = write_table(tmp_path / "test.csv", gc_rows(200, 7, length=6))
    recall = {}
    for name, weights in (("none", None), ("balanced", "balanced")):
        config = finetune_config(
            train,
            test,
            loss={"class_weights": weights},
            method={"name": "probe"},
            trainer={"monitor": "loss"},
        )
        result = finetune(config, tmp_path / name, progress=False)
        recall[name] = result.test.confusion[1][1] / sum(result.test.confusion[1])
    assert recall["balanced"] > recall["none"] + 0.1


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"method": {"name": "prob"}},
            r"method.name must be one of full, probe, lora, .*did you mean 'probe'",
        ),
        ({"method": {"name": "probe", "rank": 3}}, "there is no setting 'method.rank'"),
        ({"method": {"name": "full", "layer_lr_decay": 0.0}}, "method.layer_lr_decay is 0"),
        ({"method": {"name": "lora", "rank": 0}}, "rank of the adapters is 0"),
        ({"loss": {"class_weights": "balansed"}}, r"loss.class_weights must be .*did you mean 'balanced'"),
        ({"loss": {"class_weights": [1.0, 0.0]}}, "each must be above 0"),
        ({"loss": {"label_smoothing": 1.0}}, "loss.label_smoothing is 1.0"),
        ({"head": {"n_windows": 0}}, "head.n_windows is 0"),
        ({"method": {"name": "probe"}, "head": {"pooling": "attention"}}, "attention is learned"),
    ],
)
def test_mistakes_get_one_line(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        finetune_config(Path("a"), Path("b"), **sections)
    assert "\n" not in str(caught.value)


def test_a_method_is_built_again_from_its_values() -> None:
    config = finetune_config(Path("a"), Path("b"), method={"name": "lora", "targets": ["*.fc1"], "rank": 2})
    assert config.method == LoraMethodConfig(rank=2, targets=("*.fc1",))
    assert build(FinetuneConfig, plain(config)) == config
