"""Every head and both families, from a config to a saved model that evaluates as it was tested; and bad input."""

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
from genomix.inference.predict import predict
from genomix.models.registry import build_model
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.training.config import ModelConfig
from genomix.training.evaluate import evaluate
from genomix.training.finetune import finetune
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.results import FinetuneResult
from genomix_data.alphabet import reverse_complement
from genomix_data.errors import ConfigError, GenomixError, InputFileError
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer
from tests.genomix.training_helpers import finetune_config, gc_rows, letters, tiny_model, write_table

SH2 = ModelConfig(
    name="sh2/7m",
    config=StripedHyena2Config(
        pattern="SML",
        d_model=16,
        n_heads=1,
        d_inner=32,
        context_len=64,
        vocab_size=256,
        n_groups=4,
        n_modes=2,
        mr_filter_len=8,
        gelu_blocks=None,
    ),
)


def rows_of(kind: str, n: int, seed: int) -> tuple[str, list[list[str]]]:
    texts = [text for text, _ in gc_rows(n, seed)]
    if kind == "multilabel":
        rows = [
            [
                t,
                str(int(t.count("G") + t.count("C") > len(t) / 2)),
                "" if i % 5 == 0 else str(int(t.count("A") > t.count("T"))),
            ]
            for i, t in enumerate(texts)
        ]
        return "sequence,gc,a", rows
    if kind == "regressor":
        rows = [
            [t, f"{100 + 20 * (t.count('G') + t.count('C')) / len(t):.4f}", "" if i % 5 == 0 else str(len(t))]
            for i, t in enumerate(texts)
        ]
        return "sequence,gc,size", rows
    if kind == "token_classifier":
        return "sequence,label", [
            [t, "".join("." if i % 11 == 0 else str(int(c in "GC")) for i, c in enumerate(t))] for t in texts
        ]
    rows = []
    for i, text in enumerate(texts):
        ref, alt = ("A", "G") if i % 2 else ("A", "T")
        rows.append([text[:9] + ref + text[10:], text[:9] + alt + text[10:], "gc" if alt == "G" else "at"])
    return "ref_sequence,alt_sequence,label", rows


def tables(folder: Path, kind: str) -> tuple[Path, Path]:
    paths = []
    for name, n, seed in (("train", 80, 1), ("test", 40, 2)):
        header, rows = rows_of(kind, n, seed)
        path = folder / f"{name}.csv"
        path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
        paths.append(path)
    return paths[0], paths[1]


@pytest.mark.parametrize(
    ("kind", "metric", "at_least"),
    [
        ("multilabel", "auroc", 0.7),
        ("regressor", "r2", 0.3),
        ("token_classifier", "accuracy", 0.95),
        ("variant_classifier", "auroc", 0.9),
    ],
)
def test_every_head_learns_and_is_evaluated_as_it_was_tested(
    kind: str, metric: str, at_least: float, tmp_path: Path
) -> None:
    train, test = tables(tmp_path, kind)
    config = finetune_config(train, test, head={"kind": kind}, trainer={"max_epochs": 12})
    result: FinetuneResult[Any] = finetune(config, tmp_path / "run", progress=False)
    value = result.test.value(metric)
    assert value is not None
    assert value > at_least
    assert evaluate(result.model_folder, test).metrics == result.test
    record = json.loads((result.folder / "result.json").read_text())
    assert (record["kind"], record["test"][metric]) == (kind, value)
    assert record["counts"]["train"]["sequences"] == 60
    with (result.folder / "test_predictions.tsv").open() as handle:
        written = list(csv.DictReader(handle, delimiter="\t"))
    n_rows = len(result.test_probabilities)
    assert len(written) == n_rows
    found = predict(result.model_folder, test)
    np.testing.assert_allclose(found.probabilities, result.test_probabilities)
    assert "| test " in (result.model_folder / "README.md").read_text()


@pytest.mark.parametrize("kind", ["multilabel", "regressor"])
def test_several_targets_can_be_probed(kind: str, tmp_path: Path) -> None:
    train, test = tables(tmp_path, kind)
    config = finetune_config(train, test, head={"kind": kind}, method={"name": "probe"})
    result = finetune(config, tmp_path / "run", progress=False)
    first = result.test.labels[0].auroc if kind == "multilabel" else result.test.targets[0].pearson
    assert first > 0.8, "the share of G and C"
    assert evaluate(result.model_folder, test).metrics == result.test


def test_counts_are_predicted_by_their_logarithm(tmp_path: Path) -> None:
    rows = [f"{t},{3 * t.count('G')}" for t, _ in gc_rows(80, 1)]
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    for path, some in ((train, rows[:60]), (test, rows[60:])):
        path.write_text("\n".join(["sequence,count", *some]) + "\n")
    config = finetune_config(
        train, test, head={"kind": "regressor"}, loss={"regression": "poisson"}, trainer={"max_epochs": 20}
    )
    result = finetune(config, tmp_path / "run", progress=False)
    assert (result.test_probabilities > 0).all()
    value = result.test.value("pearson")
    assert value is not None
    assert value > 0.8
    assert load_model(result.model_folder).head_info["link"] == "log"  # type: ignore[index]
    assert evaluate(result.model_folder, test).metrics == result.test


@pytest.mark.parametrize("method", ["full", "lora", "probe", "soft_prompt"])
def test_stripedhyena2_is_tuned_by_every_method(method: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    assert isinstance(SH2.config, StripedHyena2Config)
    language_model = save_model(
        build_model(SH2.config),
        tmp_path / "lm",
        tokenizer=ByteTokenizer(case="upper"),
        provenance={},
        card="a test",
    )
    train = write_table(tmp_path / "train.csv", gc_rows(80, 1))
    test = write_table(tmp_path / "test.csv", [(s.lower(), y) for s, y in gc_rows(40, 2)])
    options = {"n_tokens": 3} if method == "soft_prompt" else {}
    config = finetune_config(
        train, test, method={"name": method, **options}, model=SH2, trainer={"max_epochs": 8}
    )
    config = replace(config, model=replace(config.model, init=language_model))
    result = finetune(config, tmp_path / "run", progress=False)
    assert result.test.accuracy > 0.85, "case does not matter"
    assert evaluate(result.model_folder, test).metrics == result.test
    before, after = load_model(language_model).language_model.state_dict(), load_model(result.model_folder)
    tuned = after.head_model.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tuned[f"backbone.{name}"], tensor)}
    if method in ("probe", "soft_prompt"):
        assert not changed
    else:
        assert changed
    assert ("prompt" in tuned) == (method == "soft_prompt")
    assert result.n_parameters == {"probe": 34, "soft_prompt": 34 + 3 * 16}.get(method, result.n_parameters)


def test_stripedhyena2_can_start_from_random_weights(tmp_path: Path) -> None:
    train = write_table(tmp_path / "train.csv", gc_rows(80, 1))
    test = write_table(tmp_path / "test.csv", gc_rows(40, 2))
    config = finetune_config(train, test, model=SH2, trainer={"max_epochs": 6})
    result = finetune(config, tmp_path / "run", progress=False)
    assert result.test.accuracy > 0.8
    assert "StripedHyena 2" in (result.model_folder / "README.md").read_text()


def test_a_prompt_takes_room_from_the_longest_input(tmp_path: Path) -> None:
    train = write_table(tmp_path / "train.csv", gc_rows(20, 1))
    method = {"name": "soft_prompt", "n_tokens": 30}
    with pytest.raises(GenomixError, match=r"bases, but the model takes at most l_max=34"):
        finetune(finetune_config(train, train, method=method), tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match=r"method.n_tokens is 64, which leaves no room"):
        finetune(
            finetune_config(train, train, method={"name": "soft_prompt", "n_tokens": 64}),
            tmp_path / "run",
            progress=False,
        )


def test_both_strands_are_averaged_and_an_invariant_head_needs_no_average(tmp_path: Path) -> None:
    train = write_table(tmp_path / "train.csv", gc_rows(60, 1))
    test = write_table(tmp_path / "test.csv", gc_rows(30, 2))
    flipped = write_table(
        tmp_path / "flipped.csv", [(reverse_complement(text), label) for text, label in gc_rows(30, 2)]
    )
    for name, head in (("both", {"both_strands": True}), ("invariant", {"rc_invariant": True})):
        config = finetune_config(train, test, head=head, trainer={"max_epochs": 2})
        result = finetune(config, tmp_path / name, progress=False)
        assert evaluate(result.model_folder, test).metrics == result.test
        forward = predict(result.model_folder, test).probabilities
        other = predict(result.model_folder, flipped).probabilities
        np.testing.assert_allclose(forward, other, atol=1e-6)
        one = predict(result.model_folder, test, both_strands=False).probabilities
        back = predict(result.model_folder, flipped, both_strands=False).probabilities
        if name == "both":
            np.testing.assert_allclose((one + back) / 2, forward, atol=1e-6)
            assert np.abs(one - back).max() > 1e-4
        else:
            np.testing.assert_allclose(one, forward, atol=1e-6)


def test_the_class_balance_of_training_and_test_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """83 % of training against half of the test, as in a part of a published set; and one sequence of two classes."""
    rows = gc_rows(200, 1)
    some = [row for row in rows if row[1] == "gc"] + [row for row in rows if row[1] == "at"][:20]
    some.append((reverse_complement(some[0][0]), "at"))
    train = write_table(tmp_path / "train.csv", some)
    test = write_table(tmp_path / "test.csv", gc_rows(100, 2))
    config = finetune_config(train, test, method={"name": "probe"})
    result = finetune(config, tmp_path / "run", progress=Console(stderr=True, width=400))
    said = capsys.readouterr().err
    assert "class 'at' is 18 % of training and 50 % of the test" in said
    assert "1 training sequences stand under more than one class" in said
    assert result.counts["train"]["classes"]["gc"] == 75


@pytest.mark.parametrize(
    ("head", "lines", "message"),
    [
        (
            "multilabel",
            ["sequence,a", "ACGT,2", "ACGA,0"],
            r"train.csv:2: '2' in column 'a' should be 0 or 1",
        ),
        ("multilabel", ["sequence,a,b", "ACGT,1,0", "ACGA,1,0"], "no target varies"),
        ("multilabel", ["sequence,a", "ACGT,", "ACGA,"], "has no target that is known"),
        ("regressor", ["sequence", "ACGT", "ACGA"], "has no column of targets"),
        ("regressor", ["sequence,a", "ACGT,x", "ACGA,1"], "'x' in column 'a' is not a number"),
        ("token_classifier", ["sequence,label", "ACGT,01", "ACGA,0101"], "2 characters and the sequence 4"),
        ("variant_classifier", ["sequence,label", "ACGT,a", "ACGA,b"], "no column 'ref_sequence'"),
        ("variant_classifier", ["ref_sequence,alt_sequence,label", "A,C,x", "C,G,x"], "one class only"),
        ("classifier", ["sequence,label", "ACGT,x", "ACGA,x"], "one class only"),
        ("classifier", ["sequence,label", "ACGT,1.5", "ACGA,2"], "is a measurement, not a class"),
        ("classifier", ["sequence,label", "ACGT,x", "ACGA,y", "GGGG,y"], "'x' .* has one sequence only"),
    ],
)
def test_bad_tables_get_one_line_before_any_training(
    head: str, lines: list[str], message: str, tmp_path: Path
) -> None:
    train = tmp_path / "train.csv"
    train.write_text("\n".join(lines) + "\n")
    config = finetune_config(train, train, head={"kind": head})
    with pytest.raises(InputFileError, match=message) as caught:
        finetune(config, tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"head": {"kind": "regressor"}, "trainer": {"monitor": "mcc"}}, "a regressor does not have"),
        (
            {"head": {"kind": "regressor"}, "loss": {"class_weights": "balanced"}},
            "is for classes; a regressor",
        ),
        ({"head": {"kind": "multilabel"}, "loss": {"label_smoothing": 0.1}}, "not for a multilabel"),
        ({"loss": {"regression": "huber"}}, "loss.regression is for head=regression"),
        ({"head": {"kind": "token_classifier"}, "method": {"name": "probe"}}, "a class for each base"),
        ({"head": {"kind": "token_classifier"}, "method": {"name": "soft_prompt"}}, "a class for each base"),
        ({"head": {"rc_invariant": True, "both_strands": True}}, "choose one"),
        ({"head": {"rc_invariant": True}, "method": {"name": "soft_prompt"}}, "trains on one strand"),
        ({"head": {"lookahead": -1}}, "head.lookahead is -1"),
        ({"method": {"name": "soft_prompt", "n_tokens": 0}}, "method.n_tokens is 0"),
        ({"trainer": {"workers": 0}}, "trainer.workers is 0"),
        ({"data": {"train": None, "test": None, "benchmark": "gue/tf/0"}}, "where are the files of gue/tf/0"),
    ],
)
def test_settings_that_do_not_go_together(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        finetune_config(Path("a"), Path("b"), **sections)


def test_longer_sequences_of_bases_are_cut_with_their_labels(tmp_path: Path) -> None:
    rows = [[letters(70, 5), "01" * 35], *rows_of("token_classifier", 20, 1)[1]]
    train = tmp_path / "train.csv"
    train.write_text("\n".join(["sequence,label", *(",".join(row) for row in rows)]) + "\n")
    config = finetune_config(
        train,
        train,
        head={"kind": "token_classifier"},
        data={"too_long": "truncate"},
        trainer={"max_epochs": 1},
    )
    result = finetune(config, tmp_path / "run", progress=False)
    assert result.n_truncated >= 1
    assert evaluate(result.model_folder, train).metrics == result.test


def test_a_named_data_set_is_read_from_the_folder_of_data_sets(tmp_path: Path) -> None:
    folder = tmp_path / "sets" / "ienhancer_2l"
    folder.mkdir(parents=True)
    numbered = [(text, str(int(label == "gc"))) for text, label in gc_rows(40, 1)]
    write_table(folder / "layer1.train.csv", numbered)
    write_table(folder / "layer1.test.csv", numbered[:10])
    write_table(folder / "layer2.train.csv", numbered[:2])
    base = finetune_config(Path("a"), Path("b"), model=tiny_model(), trainer={"max_epochs": 1})
    data = replace(base.data, train=None, test=None, benchmark="layer1", root=tmp_path / "sets")
    config: FinetuneConfig = replace(base, data=data)
    result = finetune(config, tmp_path / "run", progress=False)
    assert (result.n_train + result.n_valid, len(result.test_labels)) == (40, 10)
    with pytest.raises(ConfigError, match="is a binary task, which needs head=pooled"):
        finetune(
            replace(config, head=replace(config.head, kind="regressor")), tmp_path / "other", progress=False
        )
    assert CharTokenizer().name == "char"
