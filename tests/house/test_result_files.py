"""The files of rows under docs/benchmarks say what the recorded runs beside them say, and nothing else."""

import json
from typing import Any

from tests.conftest import ROOT

BENCHMARKS = ROOT / "docs" / "benchmarks"
SPLITS_OF_BASES = {
    "all": "bits_per_base",
    "unmasked": "bits_per_base_not_soft_masked",
    "soft-masked": "bits_per_base_soft_masked",
}


def read(name: str) -> Any:
    return json.loads((BENCHMARKS / name).read_text())


def test_rows_of_pretraining_are_those_of_the_runs() -> None:
    runs = read("pretraining-h200.json")
    context = runs["context models"]["both strands"]
    assert context["markov"]["best_order"] == 10
    assert context["interpolated"]["best_order"] == 11
    measured = {
        ("human-6m", None): runs["human-6m"]["held_out"],
        ("human-2m", None): runs["human-2m"]["held_out"],
        ("markov-10", "markov-10"): context["markov"],
        ("interpolated-0-11", "interpolated-0-11"): context["interpolated"],
    }
    assert runs["human-6m"]["provenance"]["regions"] == runs["human-2m"]["provenance"]["regions"]
    assert read("pretraining.json")["rows"] == [
        {
            "model": model,
            "test": "chr21 second half",
            "bases": bases,
            "bits_per_base": numbers[key],
            "baseline": baseline,
        }
        for (model, baseline), numbers in measured.items()
        for bases, key in SPLITS_OF_BASES.items()
    ]


def test_rows_of_fine_tuning_are_those_of_the_runs() -> None:
    expected = [
        {
            "task": run["task"],
            "split": run["split"],
            "protocol": run["protocol"],
            "method": run["method"] if run["provenance"]["config"]["model"].get("init") else "scratch",
            "metric": metric,
            "value": run["test"][metric]["mean"],
            "ci": run["test"][metric]["ci95"],
            "seeds": len(run["test"][metric]["values"]),
        }
        for name in ("finetuning-h200.json", "finetuning-cpu.json")
        for run in read(name)["tasks"]
        for metric in ("auroc", "accuracy", "mcc")
    ]
    assert read("finetuning.json")["rows"] == expected
    assert {row["method"] for row in expected} == {"full", "scratch"}


def test_rows_of_kernels_and_models_are_those_of_the_other_files() -> None:
    kernels = [row for row in read("kernels-h200.json")["rows"] if row["op"] == "fftconv"]
    assert kernels == read("fftconv-h200.json")["rows"]
    models = read("models-h200.json")["rows"]
    scores = [
        (row["model"], row["window"], row["variants_per_s"], row["peak_gb"])
        for row in read("scoring-h200.json")["rows"]
        if row.get("processes", 1) == 1
    ]
    assert [
        tuple(row[key] for key in ("model", "L", "variants_per_s", "peak_gb"))
        for row in models
        if row["what"] == "score"
    ] == scores
    latest = {
        (row["model"], row["L"], row["B"]): (row["tokens_per_s"], row["ms"], row["peak_gb"])
        for row in read("hyenadna-training-h200.json")["rows"]
    }
    assert {
        (row["model"], row["L"], row["B"]): (row["tokens_per_s"], row["ms"], row["peak_gb"])
        for row in models
        if row["model"].startswith("hyenadna")
    } == latest
    assert all(row.keys() == models[0].keys() for row in models)
