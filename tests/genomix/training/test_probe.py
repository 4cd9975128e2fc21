import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from genomix.checkpoint.native import load_model, save_model
from genomix.heads.classifier import SequenceClassifier
from genomix.inference.examples import Examples
from genomix.inference.head_scores import BATCH_TOKENS, batches_by_length
from genomix.inference.predict import predict
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.registry import build_model
from genomix.training import probe
from genomix.training.embeddings import pooled_embeddings
from genomix.training.evaluate import evaluate
from genomix.training.finetune import finetune
from genomix.training.finetune_config import FinetuneConfig, HeadConfig
from genomix.training.finetune_method import ProbeConfig
from genomix.training.results import FinetuneResult
from genomix_data.errors import ConfigError
from genomix_data.table_dataset import complement_table
from genomix_data.tokenizers import CharTokenizer
from tests.genomix.training_helpers import finetune_config, gc_rows, letters, tiny_model, write_table


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


def probing(tables: tuple[Path, Path], model: Path, **sections: Any) -> FinetuneConfig:
    method = {"name": "probe", **sections.pop("method", {})}
    config = finetune_config(*tables, method=method, **sections)
    return replace(config, model=replace(config.model, init=model))


@pytest.fixture(scope="module")
def result(
    tables: tuple[Path, Path], language_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> FinetuneResult:
    return finetune(probing(tables, language_model), tmp_path_factory.mktemp("run") / "probe", progress=False)


def test_an_easy_task_is_learnt(result: FinetuneResult) -> None:
    assert result.test.accuracy > 0.9
    assert (result.method, result.n_parameters) == ("probe", 2 * 16 + 2)
    assert "L2 strength" in result.chosen
    assert result.validation[result.best_epoch - 1].metrics == result.valid
    assert json.loads((result.folder / "result.json").read_text())["chosen"] == result.chosen


def test_evaluate_and_predict_take_the_saved_probe(result: FinetuneResult, tables: tuple[Path, Path]) -> None:
    again = evaluate(result.model_folder, tables[1])
    assert again.metrics == result.test
    np.testing.assert_array_equal(
        predict(result.model_folder, tables[1]).probabilities, result.test_probabilities
    )


def test_the_backbone_stays_bit_for_bit(result: FinetuneResult, language_model: Path) -> None:
    before = load_model(language_model).language_model.state_dict()
    after = load_model(result.model_folder).classifier.state_dict()
    assert set(after) - set(before) == {"head.output_transform.weight", "head.output_transform.bias"}
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name


def test_each_strength_is_a_row_of_the_log(result: FinetuneResult) -> None:
    rows = list(csv.DictReader((result.folder / "metrics.csv").open()))
    assert [float(row["l2"]) for row in rows] == list(ProbeConfig.DEFAULT_STRENGTHS)
    losses = [float(row["train_loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True), "a weaker penalty fits the training set better"


def test_every_sequence_is_embedded_once(
    tables: tuple[Path, Path], language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counting(model: SequenceClassifier, examples: Examples, **options: Any) -> Any:
        found = pooled_embeddings(model, examples, **options)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(probe, "pooled_embeddings", counting)
    finetune(probing(tables, language_model), tmp_path / "a", progress=False)
    assert sizes == [60, 20], "training and validation; the test goes through the finished model"
    sizes.clear()
    finetune(probing(tables, language_model, data={"rc_augment": True}), tmp_path / "b", progress=False)
    assert sizes == [120, 20], "both strands"


@pytest.mark.parametrize("pooling", ["mean", "max", "last", "window"])
def test_a_probe_is_the_same_every_time_with_any_pooling(
    tables: tuple[Path, Path], language_model: Path, tmp_path: Path, pooling: str
) -> None:
    config = probing(tables, language_model, head={"pooling": pooling, "n_windows": 3})
    first, second = (finetune(config, tmp_path / name, progress=False) for name in "ab")
    np.testing.assert_array_equal(first.test_probabilities, second.test_probabilities)
    assert evaluate(first.model_folder, tables[1]).metrics == first.test


def test_an_mlp_is_trained_by_epochs_and_saved(
    tables: tuple[Path, Path], language_model: Path, tmp_path: Path
) -> None:
    config = probing(
        tables,
        language_model,
        method={"classifier": "mlp", "hidden": 8},
        trainer={"max_epochs": 30, "patience": 5},
        head={"dropout": 0.1},
        loss={"class_weights": "balanced", "label_smoothing": 0.05},
    )
    first, second = (finetune(config, tmp_path / name, progress=False) for name in "ab")
    assert first.test.accuracy > 0.9
    assert first.chosen.startswith("epoch ")
    assert first.n_parameters == 16 * 8 + 8 + 8 * 2 + 2
    assert first.epochs <= first.best_epoch + 5, "stopped on validation"
    np.testing.assert_array_equal(first.test_probabilities, second.test_probabilities)
    assert evaluate(first.model_folder, tables[1]).metrics == first.test
    assert load_model(first.model_folder).classifier.head.hidden is not None


def test_an_embedding_is_the_same_alone_and_in_any_batch() -> None:
    torch.manual_seed(0)
    model = SequenceClassifier(build_model(tiny_model(shift=0.02).config), 2)
    tokenizer = CharTokenizer()
    ids = [tokenizer.encode(letters(n, n)) for n in (40, 3, 64, 1, 17, 40)]
    model.train()
    examples = Examples([ids], tokenizer, device="cpu", both_strands=True)
    together = pooled_embeddings(model, examples, both_strands=True)
    assert model.training, "left as it was"
    alone = [pooled_embeddings(model, Examples([[row]], tokenizer, device="cpu")) for row in ids]
    np.testing.assert_allclose(together[: len(ids)], np.concatenate(alone), atol=1e-6)
    flip = complement_table(tokenizer)
    other = Examples([[flip[row[::-1]] for row in ids]], tokenizer, device="cpu")
    np.testing.assert_allclose(together[len(ids) :], pooled_embeddings(model, other), atol=1e-6)


def test_batches_hold_every_row_once_within_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BATCH_TOKENS, "cpu", 64)
    lengths, cpu = np.array([5, 900, 5, 7, 30, 30, 31, 2]), torch.device("cpu")
    found = list(batches_by_length(lengths, cpu))
    assert sorted(int(row) for rows in found for row in rows) == list(range(8))
    for rows in found:
        assert len(rows) == 1 or len(rows) * max(lengths[rows]) <= 64
    assert [len(rows) for rows in batches_by_length(lengths, cpu, 3)] == [3, 3, 2]
    assert list(batches_by_length(np.array([], dtype=np.int64), cpu)) == []


def test_random_weights_and_odd_classes_are_pointed_out(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*gc_rows(80, 1), *((letters(30, i), "GC ") for i in range(3))]
    train = write_table(tmp_path / "train.csv", rows)
    config = finetune_config(train, tables[1], method={"name": "probe"})
    finetune(config, tmp_path / "probe", progress=Console(stderr=True, width=400))
    said = capsys.readouterr().err
    assert "probing hyenadna/demo from scratch" in said
    assert "frozen at random weights; method=probe is of use with a pretrained model" in said
    assert "class 'GC' has 2 training sequences and is spelt almost as 'gc'" in said
    assert "the classes are unbalanced: 'GC' has 2 training sequences, 'at' 30" in said
    assert "the test set has no sequence of class GC" in said


def test_a_label_that_is_almost_a_class_is_named(
    tables: tuple[Path, Path], language_model: Path, tmp_path: Path
) -> None:
    train = write_table(
        tmp_path / "train.csv", [(s, {"gc": "rich", "at": "poor"}[y]) for s, y in gc_rows(20, 1)]
    )
    test = write_table(tmp_path / "test.csv", [("ACGT", "rich"), ("ACGA", "por")])
    with pytest.raises(ValueError, match=r"test.csv:3: label 'por' is not one of .*Did you mean 'poor'\?"):
        finetune(probing((train, test), language_model), tmp_path / "probe", progress=False)
    assert not (tmp_path / "probe").exists()


def test_a_model_that_overflows_is_refused(tables: tuple[Path, Path], tmp_path: Path) -> None:
    model = build_model(tiny_model().config)
    assert isinstance(model, HyenaDNA)
    with torch.no_grad():
        model.backbone.ln_f.weight.fill_(float("nan"))
    folder = save_model(model, tmp_path / "lm", tokenizer=CharTokenizer(), provenance={}, card="a test")
    with pytest.raises(ConfigError, match="embeddings that are not numbers for 60 of 60 sequences"):
        finetune(probing(tables, folder), tmp_path / "probe", progress=False)
    assert not (tmp_path / "probe").exists()


def test_attention_cannot_be_probed(tables: tuple[Path, Path]) -> None:
    config = finetune_config(*tables)
    with pytest.raises(ConfigError, match="attention is learned, but method=probe embeds each sequence once"):
        replace(config, method=ProbeConfig(), head=HeadConfig(pooling="attention"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"strengths": ()}, "strengths is"), ({"strengths": (0.0,)}, "above 0"), ({"hidden": 0}, "hidden is 0")],
)
def test_impossible_probes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProbeConfig(**changes)
