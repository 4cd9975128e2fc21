import csv
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from genomix.checkpoint.native import load_model, save_model
from genomix.inference.examples import Examples
from genomix.inference.head_scores import all_scores
from genomix.inference.predict import predict, predict_sequences
from genomix.models.registry import build_model
from genomix.training import finetune as finetuning
from genomix.training.config import ModelConfig
from genomix.training.evaluate import evaluate
from genomix.training.finetune import finetune
from genomix.training.finetune_config import FinetuneConfig, TableDataConfig
from genomix.training.finetune_data import read_tables
from genomix.training.metrics import classification_metrics, rank
from genomix.training.results import FinetuneResult
from genomix.training.run_folder import RunFolder
from genomix_data.errors import CheckpointError, ConfigError, InputFileError, SequenceTooLongError
from genomix_data.tables.joined import as_sequences
from genomix_data.tokenizers import CharTokenizer
from tests.genomix.training_helpers import finetune_config, gc_rows, letters, tiny_model, write_table


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tables")
    return write_table(folder / "train.csv", gc_rows(80, 1)), write_table(folder / "test.csv", gc_rows(40, 2))


@pytest.fixture(scope="module")
def result(tables: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> FinetuneResult:
    return finetune(finetune_config(*tables), tmp_path_factory.mktemp("run") / "cls", progress=False)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("lm") / "model"
    config = tiny_model(l_max=50, shift=0.02).config
    return save_model(build_model(config), folder, tokenizer=CharTokenizer(), provenance={}, card="a test")


def test_an_easy_task_is_learnt(result: FinetuneResult) -> None:
    assert result.test.accuracy > 0.9
    assert result.test.auroc is not None
    assert result.test.auroc > 0.95
    assert result.class_names == ("at", "gc")
    assert (result.n_train, result.n_valid, result.test.n) == (60, 20, 40)


def test_the_reloaded_model_gives_exactly_the_same_test_metrics(
    result: FinetuneResult, tables: tuple[Path, Path]
) -> None:
    again = evaluate(result.model_folder, tables[1])
    assert again.metrics == result.test
    np.testing.assert_array_equal(again.predictions.probabilities, result.test_probabilities)
    assert (
        classification_metrics(result.test_probabilities, result.test_labels, result.class_names)
        == result.test
    )


def test_the_folder_tells_the_whole_story(result: FinetuneResult) -> None:
    names = sorted(path.name for path in result.folder.iterdir())
    assert names == [
        "config.yaml",
        "labels.json",
        "leakage.json",
        "metrics.csv",
        "model",
        "result.json",
        "test_composition.tsv",
        "test_predictions.tsv",
    ]
    record = json.loads((result.folder / "result.json").read_text())
    assert record["test"]["confusion"] == [list(row) for row in result.test.confusion]
    assert record["provenance"]["seed"] == 2222
    with (result.folder / "test_predictions.tsv").open() as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    assert [row["label"] for row in rows] == [result.class_names[i] for i in result.test_labels]
    assert np.allclose([float(row["p_gc"]) for row in rows], result.test_probabilities[:, 1], rtol=1e-5)
    assert len(list(csv.DictReader((result.folder / "metrics.csv").open()))) == len(result.validation)


def test_the_epoch_is_chosen_on_validation(result: FinetuneResult) -> None:
    best = max(result.validation, key=lambda point: rank(point.metrics, "mcc"))
    assert result.best_epoch == best.epoch
    assert result.valid == best.metrics
    assert [point.epoch for point in result.validation] == list(range(1, result.epochs + 1))


def test_the_test_set_is_looked_at_once_and_after_training(
    tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counting(model: Any, examples: Examples, **options: Any) -> Any:
        seen.append(examples.n)
        return all_scores(model, examples, **options)

    monkeypatch.setattr(finetuning, "all_scores", counting)
    monkeypatch.setattr("genomix.training.finetune_loop.all_scores", counting)
    finetune(finetune_config(*tables, trainer={"max_epochs": 3}), tmp_path / "cls", progress=False)
    assert seen == [20, 20, 20, 40], "validation three times, then the test"


def test_the_same_seed_gives_the_same_model(
    result: FinetuneResult, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    again = finetune(finetune_config(*tables), tmp_path / "cls", progress=False)
    weights = [(r.model_folder / "model.safetensors").read_bytes() for r in (result, again)]
    assert weights[0] == weights[1]
    other = finetune(finetune_config(*tables, trainer={"seed": 1}), tmp_path / "other", progress=False)
    assert (other.model_folder / "model.safetensors").read_bytes() != weights[0]


def test_training_stops_when_validation_does_not_improve(tables: tuple[Path, Path], tmp_path: Path) -> None:
    # A learning rate that changes nothing: the first epoch stays the best.
    frozen = finetune_config(
        *tables,
        model=tiny_model(embed_dropout=0.0),
        optimizer={"lr": 1e-12, "weight_decay": 0.0},
        trainer={"max_epochs": 9, "patience": 2, "monitor": "accuracy"},
    )
    result = finetune(frozen, tmp_path / "cls", progress=False)
    assert result.epochs <= result.best_epoch + 2 < 9


def test_predictions_do_not_depend_on_the_batch(result: FinetuneResult, tables: tuple[Path, Path]) -> None:
    loaded = load_model(result.model_folder)
    texts = [sequence for sequence, _ in gc_rows(40, 2)]
    together = predict_sequences(loaded, texts).probabilities
    for size in (1, 7):
        np.testing.assert_allclose(
            predict_sequences(loaded, texts, batch_size=size).probabilities, together, rtol=0, atol=2e-6
        )
    backwards = predict_sequences(loaded, texts[::-1]).probabilities
    np.testing.assert_allclose(backwards[::-1], together, rtol=0, atol=2e-6)
    np.testing.assert_allclose(together.sum(axis=1), 1)
    lower = predict_sequences(loaded, [text.lower() for text in texts]).probabilities
    np.testing.assert_array_equal(lower, together)


def test_a_language_model_is_the_start(
    tables: tuple[Path, Path], language_model: Path, tmp_path: Path
) -> None:
    config = finetune_config(*tables, trainer={"max_epochs": 1})
    config = replace(config, model=replace(ModelConfig(), init=language_model))
    result = finetune(config, tmp_path / "cls", progress=False)
    loaded = load_model(result.model_folder, expect="classifier")
    start = load_model(language_model)
    assert loaded.config == start.config
    assert loaded.config.context_len == 50
    assert result.provenance["init_sha256"] == start.sha256
    assert result.provenance["config"]["model"]["init"] == str(language_model)
    embedding = "backbone.embeddings.word_embeddings.weight"
    moved = (loaded.model.state_dict()[embedding] - start.model.state_dict()[embedding]).abs().max()
    assert 0 < moved < 0.2, "trained from there, not from scratch"


def test_two_batches_a_step_are_one_of_twice_the_size(tables: tuple[Path, Path], tmp_path: Path) -> None:
    settings = {"max_epochs": 2, "clip": None}
    still = tiny_model(embed_dropout=0.0, resid_dropout=0.0)
    whole = finetune_config(*tables, model=still, data={"batch_size": 20}, trainer=settings)
    parts = finetune_config(
        *tables, model=still, data={"batch_size": 10}, trainer={**settings, "accumulate": 2}
    )
    one, two = (finetune(c, tmp_path / str(c.data.batch_size), progress=False) for c in (whole, parts))
    assert [p.step for p in one.validation] == [p.step for p in two.validation] == [3, 6]
    assert [p.metrics.loss for p in two.validation] == pytest.approx(
        [p.metrics.loss for p in one.validation], rel=1e-4
    )


def test_graphs_are_for_the_family_that_has_them(tables: tuple[Path, Path], tmp_path: Path) -> None:
    config = finetune_config(*tables, trainer={"max_epochs": 1, "cuda_graphs": True})
    with pytest.raises(
        ConfigError, match=r"cuda_graphs=true is for StripedHyena 2; this model is a HyenaDNA"
    ):
        finetune(config, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_run_in_which_no_step_would_be_made_is_refused(tables: tuple[Path, Path], tmp_path: Path) -> None:
    config = finetune_config(*tables, trainer={"max_epochs": 1, "accumulate": 9})
    with pytest.raises(ConfigError, match=r"trainer.accumulate is 9, but the whole run has 8 batches"):
        finetune(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_whose_last_step_blows_up_is_an_error(tables: tuple[Path, Path], tmp_path: Path) -> None:
    config = finetune_config(
        *tables, trainer={"max_epochs": 1}, data={"batch_size": 40}, optimizer={"lr": 1e30}
    )
    message = r"the model's output for a validation sequence is nan at step \d+ .* Lower optimizer.lr"
    with pytest.raises(ConfigError, match=message):
        finetune(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "result.json").exists()


def with_init(config: FinetuneConfig, folder: Path, **changes: Any) -> FinetuneConfig:
    default = ModelConfig()
    return replace(
        config, model=replace(default, init=Path(folder), config=replace(default.config, **changes))
    )


def test_dropout_may_change_but_not_the_architecture_of_a_checkpoint(
    tables: tuple[Path, Path], language_model: Path, tmp_path: Path
) -> None:
    config = finetune_config(*tables, trainer={"max_epochs": 1})
    with pytest.raises(ConfigError, match=r"model.d_model=32 does not go with model.init=.*with d_model=16"):
        finetune(with_init(config, language_model, d_model=32), tmp_path / "cls", progress=False)
    result = finetune(with_init(config, language_model, embed_dropout=0.3), tmp_path / "cls", progress=False)
    assert load_model(result.model_folder).config.to_dict()["embed_dropout"] == 0.3


def test_a_checkpoint_of_another_kind_is_refused(
    tables: tuple[Path, Path], result: FinetuneResult, language_model: Path, tmp_path: Path
) -> None:
    config = with_init(finetune_config(*tables), result.model_folder)
    with pytest.raises(CheckpointError, match="is a classifier but a language model is needed"):
        finetune(config, tmp_path / "cls", progress=False)
    with pytest.raises(CheckpointError, match="is a language model but a classifier is needed"):
        evaluate(language_model, tables[1])
    with pytest.raises(CheckpointError):
        predict(tmp_path / "nowhere", tables[1])
    assert list(tmp_path.iterdir()) == []


def test_a_sequence_too_long_is_named_and_can_be_cut(tables: tuple[Path, Path], tmp_path: Path) -> None:
    rows = gc_rows(20, 3)
    rows[4] = (letters(70, 1), "at")
    train = write_table(tmp_path / "long.csv", rows)
    config = finetune_config(train, tables[1], trainer={"max_epochs": 1})
    with pytest.raises(
        SequenceTooLongError, match=r"long.csv.*has 70 bases, .*l_max=64.*data.too_long=truncate"
    ):
        finetune(config, tmp_path / "cls", progress=False)
    assert not (tmp_path / "cls").exists()
    cut = finetune_config(train, tables[1], trainer={"max_epochs": 1}, data={"too_long": "truncate"})
    result = finetune(cut, tmp_path / "cls", progress=False)
    assert result.n_truncated == 1
    with_long = write_table(tmp_path / "test.csv", [(letters(65, 2), "at"), ("ACGT", "gc")])
    assert evaluate(result.model_folder, with_long).predictions.n_truncated == 1, "as in fine-tuning"
    with pytest.raises(SequenceTooLongError, match=r"test.csv: sequence 1 has 65 bases"):
        evaluate(result.model_folder, with_long, too_long="error")


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([("ACGT", "a"), ("ACGA", "b")], "sequence,klass", "label"),
        ([("ACGT", "a"), ("ACGA", "a")], "sequence,label", "one class only"),
        ([("ACGT", "a"), ("AC!A", "b")], "sequence,label", r"bad.csv:3"),
        ([("ACGT", "a"), ("", "b")], "sequence,label", r"bad.csv:3"),
    ],
)
def test_a_bad_table_is_refused_before_anything_is_written(
    tables: tuple[Path, Path], tmp_path: Path, rows: list[tuple[str, str]], header: str, message: str
) -> None:
    bad = write_table(tmp_path / "bad.csv", rows, header)
    with pytest.raises(InputFileError, match=message):
        finetune(finetune_config(bad, tables[1]), tmp_path / "cls", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_a_label_that_training_lacks_is_refused(
    tables: tuple[Path, Path], result: FinetuneResult, tmp_path: Path
) -> None:
    test = write_table(tmp_path / "test.csv", [("ACGT", "at"), ("ACGA", "other")])
    with pytest.raises(InputFileError, match="'other' is not one of the classes"):
        finetune(finetune_config(tables[0], test), tmp_path / "cls", progress=False)
    with pytest.raises(InputFileError, match="'other' is not one of the classes"):
        evaluate(result.model_folder, test)


def test_shared_sequences_are_reported_and_can_be_left_out(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = gc_rows(40, 2)
    flip = str.maketrans("ACGT", "TGCA")
    shared = [rows[0], (rows[1][0][::-1].translate(flip), rows[1][1])]
    train = write_table(tmp_path / "train.csv", [*gc_rows(30, 4), *shared])
    console = Console(stderr=True, width=200)
    config = finetune_config(train, tables[1], trainer={"max_epochs": 1})
    result = finetune(config, tmp_path / "cls", progress=console)
    assert result.n_shared == 2
    assert "2 of the 40 test sequences are also in the training data" in capsys.readouterr().err
    apart = replace(config, data=replace(config.data, drop_shared=True))
    clean = finetune(apart, tmp_path / "clean", progress=False)
    assert clean.n_shared == 0
    assert clean.n_train + clean.n_valid == 30


def test_train_validation_and_test_do_not_mix(tables: tuple[Path, Path]) -> None:
    data = TableDataConfig(train=tables[0], test=tables[1], valid_fraction=0.25)
    parts = read_tables(data, seed=1)
    train, valid = set(parts["train"].sequences), set(parts["valid"].sequences)
    assert not train & valid
    assert len(train | valid) == 80
    assert as_sequences(parts["valid"]).n_per_class == {"at": 10, "gc": 10}
    assert parts["test"].sequences == [sequence for sequence, _ in gc_rows(40, 2)]
    given = read_tables(replace(data, valid=tables[1]), seed=1)
    assert len(given["train"]) == 80
    assert given["valid"].sequences == given["test"].sequences


def test_a_genomic_benchmarks_folder_will_do(tmp_path: Path) -> None:
    for part, seed, n in (("train", 5, 40), ("test", 6, 20)):
        for i, (sequence, name) in enumerate(gc_rows(n, seed)):
            folder = tmp_path / "task" / part / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.txt").write_text(sequence)
    base = finetune_config(Path("a"), Path("b"), trainer={"max_epochs": 2})
    config = replace(base, data=TableDataConfig(folder=tmp_path / "task", batch_size=8))
    result = finetune(config, tmp_path / "cls", progress=False)
    assert result.class_names == ("at", "gc")
    assert (result.n_train + result.n_valid, result.test.n) == (40, 20)


def test_ctrl_c_leaves_nothing_behind(tables: tuple[Path, Path], tmp_path: Path) -> None:
    class Interrupting(Console):
        def print(self, *objects: object, **options: Any) -> None:
            if objects and str(objects[0]).startswith("finetune: epoch 2/"):
                signal.raise_signal(signal.SIGINT)

    config = finetune_config(*tables, trainer={"max_epochs": 2})
    with pytest.raises(KeyboardInterrupt):
        finetune(config, tmp_path / "cls", progress=Interrupting(stderr=True, force_terminal=False))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_refused_before_training(
    tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the permission bits of a folder do not bind root, so the question of the system is answered here
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for output in (tmp_path / "run", tmp_path / "far" / "away" / "run"):
        with pytest.raises(InputFileError, match=r"the output folder '.*' is not writable"):
            RunFolder(output).check_free(overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_there_is_kept(
    tables: tuple[Path, Path], result: FinetuneResult, tmp_path: Path
) -> None:
    with pytest.raises(InputFileError, match="is not empty: replace it with --overwrite"):
        finetune(finetune_config(*tables), result.folder, progress=False)
    first = finetune(finetune_config(*tables, trainer={"max_epochs": 1}), tmp_path / "cls", progress=False)
    second = finetune(
        finetune_config(*tables, trainer={"max_epochs": 2}), tmp_path / "cls", overwrite=True, progress=False
    )
    assert (first.epochs, second.epochs) == (1, 2)
    assert json.loads((tmp_path / "cls" / "result.json").read_text())["epochs"] == 2


@pytest.mark.parametrize(("better", "worse"), [((0.5, 0.2), (0.4, 0.1)), ((0.5, 0.1), (0.5, 0.2))])
def test_equal_epochs_are_told_apart_by_their_loss(
    better: tuple[float, float], worse: tuple[float, float]
) -> None:
    base = classification_metrics(np.array([[0.6, 0.4], [0.4, 0.6]]), np.array([0, 1]), ["a", "b"])
    ranked = [rank(replace(base, mcc=mcc, loss=loss), "mcc") for mcc, loss in (better, worse)]
    assert ranked[0] > ranked[1]
    assert rank(replace(base, auroc=None), "auroc") < rank(base, "auroc")
    assert rank(replace(base, loss=0.1), "loss") > rank(replace(base, loss=0.2), "loss")
