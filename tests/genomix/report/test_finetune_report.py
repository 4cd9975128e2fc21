"""The report of a run is made of its folder alone: whole, self-contained, and of every kind of head."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from genomix.evaluation.finetuned import evaluate_run
from genomix.evaluation.run_record import read_run
from genomix.inference.prediction_files import write_predictions_file
from genomix.report.finetune_report import write_finetune_report
from genomix.training.metrics import classification_metrics
from genomix_data.errors import InputFileError
from genomix_data.tables.composition import write_composition
from tests.genomix.training_helpers import letters

N = 120
COUNTS = {
    "n": N, "identical": 1, "identical_other_strand": 0, "near_identical": 2, "near": 3, "shares_kmer": 9, "covered": 3,
    "overlapping": None, "overlapping_half": None, "inside": None, "has_near_copy": 3,
}  # fmt: skip


def sequences() -> list[str]:
    found = [letters(int(n), seed) for seed, n in enumerate(np.random.default_rng(0).integers(30, 90, N))]
    return [text.lower() if row % 7 == 0 else text for row, text in enumerate(found)]


def write_run(folder: Path, kind: str, names: tuple[str, ...], **more: Any) -> Path:
    """Write a folder with the files that a run leaves, with random predictions that are right more often than not."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {"row": list(range(1, N + 1))}
    result: dict[str, Any] = {
        "kind": kind, "method": "full", "protocol": "holdout", "split": "official", "chosen": "epoch 2 of 3",
        "monitor": "mcc", "best_epoch": 2, "class_names": list(names), "n_train": 400, "n_valid": 50,
        "n_parameters": 1234, "seconds": 9.5, "train_seconds": 8.0, "sequences_per_second": 150.0, "n_truncated": 0,
        "model": "x/model", "test": {"n": N}, "test_clean": None,
        "provenance": {"genomix": "0.1.0", "seed": 3, "device": "cpu", "command": "genomix finetune data.train=a.csv",
                       "tables": {"train": "a.csv", "test": "b.csv"}},
        **more,
    }  # fmt: skip
    if kind in ("classifier", "token_classifier"):
        labels = rng.integers(0, len(names), N)
        p = rng.dirichlet(np.ones(len(names)), N)
        p[np.arange(N), labels] += 0.4
        p = (p / p.sum(axis=1, keepdims=True)).round(6)
        columns |= {"label": [names[label] for label in labels]}
        columns |= {"predicted": [names[place] for place in p.argmax(axis=1)]}
        columns |= {f"p_{name}": p[:, place].tolist() for place, name in enumerate(names)}
        result["test"] = classification_metrics(p, labels, names).to_dict()
        result["test_clean"] = classification_metrics(p[3:], labels[3:], names).to_dict()
    else:
        truth = (
            rng.integers(0, 2, (N, len(names))) if kind == "multilabel" else rng.normal(size=(N, len(names)))
        )
        guess = truth + rng.normal(size=truth.shape)
        prefix = "p_" if kind == "multilabel" else "predicted_"
        columns |= {name: truth[:, place].tolist() for place, name in enumerate(names)}
        columns[names[0]][5] = ""
        columns |= {f"{prefix}{name}": guess[:, place].tolist() for place, name in enumerate(names)}
    columns["near_copy_in_training"] = ["yes" if row < 3 else "no" for row in range(N)]
    write_predictions_file(folder / "test_predictions.tsv", columns)
    (folder / "metrics.csv").write_text(
        "epoch,step,train_loss,valid_loss,mcc,auroc\n1,10,0.7,0.71,0.1,0.6\n2,20,0.6,0.65,0.3,0.7\n3,30,0.5,0.66,0.2,\n"
    )
    write_composition(folder / "test_composition.tsv", sequences())
    leakage = {"n_train": 450, "total": COUNTS, "by_class": {}, "k": 24}
    (folder / "leakage.json").write_text(json.dumps(leakage))
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def replace_in(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def links(page: Path) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]*)"', page.read_text())


def test_a_classifier(tmp_path: Path) -> None:
    published = [{"model": "HyenaDNA", "metric": "accuracy", "value": 0.966, "protocol": "paper"}]
    folder = write_run(tmp_path / "run", "classifier", ("other", "promoter"), published=published)
    page, numbers = write_finetune_report(folder)
    assert (page, numbers) == (folder / "report.html", folder / "report.json")
    text = page.read_text()
    for part in (
        "Training", "Calibration", "Where it is wrong", "Beside published numbers", "HyenaDNA", "0.966", "this one",
        "What the test shares with training", "without near copies", "genomix finetune data.train=a.csv", "soft-masked",
    ):  # fmt: skip
        assert part in text, part
    assert len(links(page)) == 9, "log, confusion, ROC, PR, calibration, and four strata"
    assert all(link.startswith("data:") for link in links(page)), "nothing beside the page is needed"

    found = json.loads(numbers.read_text())
    test = json.loads((folder / "result.json").read_text())["test"]
    evaluation = found["evaluation"]
    assert evaluation["overall"]["accuracy"]["value"] == pytest.approx(test["accuracy"])
    assert evaluation["overall"]["mcc"]["value"] == pytest.approx(test["mcc"])
    assert evaluation["areas"]["promoter"]["auroc"]["value"] == pytest.approx(test["auroc"], abs=1e-4)
    assert evaluation["n_without_near_copies"] == N - 3
    wrong = round((1 - test["accuracy"]) * N)
    for name in ("length", "gc", "soft_masked", "repeated_words"):
        bins = evaluation["errors"][name]
        assert sum(each["n"] for each in bins) == N
        assert sum(each["n"] * each["share"] for each in bins) == pytest.approx(wrong)
    assert evaluation["the_same_in_all_sequences"] == ["n"]
    assert found["run"]["published"] == published
    assert found["leakage"]["n_train"] == 450


@pytest.mark.parametrize(
    ("kind", "names", "n_figures"),
    [
        ("classifier", ("a", "b", "c", "d"), 9),
        ("multilabel", ("TF1", "TF2", "TF3", "TF4", "TF5", "TF6", "TF7"), 3),
        ("regressor", ("activity",), 2),
    ],
)
def test_every_kind_of_head(tmp_path: Path, kind: str, names: tuple[str, ...], n_figures: int) -> None:
    folder = write_run(tmp_path / "run", kind, names)
    page, numbers = write_finetune_report(folder, tmp_path / "elsewhere.html")
    assert page.name == "elsewhere.html"
    assert numbers.name == "elsewhere.json"
    assert len(links(page)) == n_figures
    evaluation = json.loads(numbers.read_text())["evaluation"]
    if kind == "regressor":
        measures = evaluation["correlations"]["activity"]
        assert measures["Pearson"]["low"] < measures["Pearson"]["value"] < measures["Pearson"]["high"]
        assert 0.5 < measures["Spearman"]["value"] < 0.9
    else:
        expected = names[1:] if len(names) == 2 else names
        assert sorted(evaluation["areas"]) == sorted(expected)


def test_names_from_data_come_through_whole(tmp_path: Path) -> None:
    """Quotation marks, markup, dollars and underscores are part of a class name, in files, on the page, in drawings."""
    names = ('"a" <b>', "_$x$ & 'y'")
    page, numbers = write_finetune_report(write_run(tmp_path / "run", "classifier", names))
    found = json.loads(numbers.read_text())["evaluation"]
    assert found["n"] == N, "no row is lost to the spelling of its class"
    assert [each["name"] for each in found["classes"]] == list(names)
    assert sum(each["n"] for each in found["classes"]) == N
    assert list(found["areas"]) == [names[1]]
    text = page.read_text()
    assert "<b>" not in text
    assert all(str(escape(name)) in text for name in names)


def test_what_is_not_drawn_is_said(tmp_path: Path) -> None:
    labels, numbers = (
        write_finetune_report(write_run(tmp_path / kind, kind, tuple("abcdefg"), protocol="paper"))[
            0
        ].read_text()
        for kind in ("multilabel", "regressor")
    )
    assert labels.count("The first 5 of 7 are drawn.") == 4, "two captions, which are read aloud as well"
    assert "The first 5 of 7 targets are drawn." in numbers
    assert "optimistic" in labels
    assert "optimistic" in numbers


def test_a_missing_target_is_left_out_of_its_own_label_only(tmp_path: Path) -> None:
    found = evaluate_run(read_run(write_run(tmp_path / "run", "multilabel", ("x", "y"))), n_resamples=20)
    counts = {name: each.n_positive + each.n_negative for name, each in found.separations.items()}
    assert counts == {"x": N - 1, "y": N}


def test_a_probe_of_an_earlier_version_whose_test_has_one_class(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "classifier", ("other", "promoter"))
    (folder / "test_composition.tsv").unlink()
    (folder / "leakage.json").unlink()
    result = json.loads((folder / "result.json").read_text())
    for key in ("kind", "protocol", "test_clean"):
        del result[key]
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "metrics.csv").write_text(
        "epoch,step,train_loss,valid_loss,mcc,l2\n1,10,0.7,0.7,0.1,1.0\n2,9,0.6,0.6,0.3,0.1\n"
    )
    header, *rows = (folder / "test_predictions.tsv").read_text().splitlines()
    cells = [row.split("\t")[1:] for row in rows if row.split("\t")[1] == "promoter"]
    kept = ["\t".join([str(number), *row]) for number, row in enumerate(cells, start=1)]
    (folder / "test_predictions.tsv").write_text("\n".join([header, *kept]) + "\n")
    page, numbers = write_finetune_report(folder)
    assert "did not write what its test sequences are made of" in page.read_text()
    assert "L2 strength" in page.read_text()
    assert len(links(page)) == 3, "log, confusion, calibration: one class alone has no curves"
    assert json.loads(numbers.read_text())["evaluation"]["areas"] == {}


def test_bases_are_put_to_the_sequences_that_they_are_of(tmp_path: Path) -> None:
    """Of a head of single bases there are many rows a sequence; strata are of the sequences that they are of."""
    folder = write_run(tmp_path / "run", "token_classifier", ("intron", "exon"))
    header, *rows = (folder / "test_predictions.tsv").read_text().splitlines()
    doubled = [row for row in rows for _ in range(2)]
    doubled[0] = "\t".join([doubled[0].split("\t")[0], ".", *doubled[0].split("\t")[2:]])
    (folder / "test_predictions.tsv").write_text("\n".join([header, *doubled]) + "\n")
    found = evaluate_run(read_run(folder), n_resamples=20)
    assert found.n == 2 * N - 1, "a base without a class is not judged"
    assert sum(each.share.n for each in found.errors["length"]) == 2 * N - 1
    page, _ = write_finetune_report(folder)
    assert "resamples of whole sequences" in page.read_text()
    lengths = sorted(len(text) for text in sequences())
    assert (found.errors["length"][0].start, found.errors["length"][-1].end) == (lengths[0], lengths[-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "result.json").unlink(), "has no result.json"),
        (lambda folder: (folder / "result.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "result.json").write_text('{"held_out": {}}'), "not of one fine-tuning"),
        (lambda folder: (folder / "test_predictions.tsv").unlink(), "has no test_predictions.tsv"),
        (lambda folder: (folder / "test_predictions.tsv").write_text("row\tlabel\n"), "has no rows"),
        (
            lambda folder: (folder / "test_predictions.tsv").write_text("row\tlabel\n1\tother\n"),
            "that is called 'p_other'",
        ),
        (
            lambda folder: replace_in(folder / "test_predictions.tsv", "\tpromoter\t", "\tpromotor\t"),
            "that is called 'promotor'",
        ),
        (
            lambda folder: replace_in(folder / "test_predictions.tsv", "\t0.", "\tO."),
            "column 'p_other' .*'O.",
        ),
        (lambda folder: replace_in(folder / "test_predictions.tsv", "\t0.", "\tnan 0."), "is damaged"),
        (lambda folder: replace_in(folder / "metrics.csv", "0.7,", "x,"), "column 'train_loss'"),
        (lambda folder: (folder / "test_composition.tsv").write_text("row\tlength\n1\t3\n"), "has 1 rows"),
    ],
)
def test_folders_that_are_no_run(tmp_path: Path, damage: Any, message: str) -> None:
    folder = write_run(tmp_path / "run", "classifier", ("other", "promoter"))
    damage(folder)
    with pytest.raises(InputFileError, match=message):
        write_finetune_report(folder)
    assert not (folder / "report.html").exists()


def test_a_folder_of_runs_says_where_they_are(tmp_path: Path) -> None:
    write_run(tmp_path / "seed0", "classifier", ("other", "promoter"))
    with pytest.raises(InputFileError, match=r"There are runs in .*seed0\."):
        read_run(tmp_path)


def write_protocol(folder: Path, names: tuple[str, ...]) -> Path:
    """Write a folder of runs as a protocol leaves it."""
    runs = []
    for name in names:
        write_run(folder / "runs" / name, "classifier", ("other", "promoter"))
        runs.append({"name": name, "folder": f"gone/{name}", "best_epoch": 2, "seconds": 9.5, "valid": 0.3})
    spread = {"mean": 0.81, "sd": 0.01, "min": 0.8, "max": 0.82, "values": [0.8, 0.82], "ci95": [0.75, 0.86]}
    published = [
        {"protocol": "cv5", "model": "Caduceus-Ph", "metric": "accuracy", "value": 0.946, "spread": 0.7}
    ]
    result = {
        "task": "gb/promoters", "kind": "classifier", "method": "full", "protocol": "holdout", "split": "official",
        "runs": runs, "monitor": "mcc", "n_train": 400, "n_valid": 50, "n_test": N, "model": "runs/seed-2/model",
        "test": {"auroc": spread, "accuracy": spread, "loss": {**spread, "ci95": None}},
        "test_clean": {"auroc": {**spread, "mean": 0.79}}, "ensemble": {"auroc": 0.83}, "published": published,
        "provenance": {"command": "genomix finetune task=gb/promoters seeds=2", "config": {}},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_several_runs_have_one_page(tmp_path: Path) -> None:
    folder = write_protocol(tmp_path / "all", ("seed-1", "seed-2"))
    page, numbers = write_finetune_report(folder)
    text = page.read_text()
    for part in (
        "0.810",
        "sd 0.010",
        "seed-2",
        "0.7900",
        "0.8300",
        "Caduceus-Ph",
        "0.946",
        "seeds=2",
        "this one",
    ):
        assert part in text, part
    assert len(links(page)) == 2
    assert json.loads(numbers.read_text())["summary"]["runs"][1]["name"] == "seed-2"
    shutil.rmtree(folder / "runs" / "seed-2")
    with pytest.raises(InputFileError, match=r"the run 'seed-2' of .* is not there"):
        write_finetune_report(folder)
