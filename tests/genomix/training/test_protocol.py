"""Several seeds, folds and tasks: which runs there are, that finished ones are kept, and what they say together."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from genomix.checkpoint.native import save_model
from genomix.evaluation.run_record import read_run
from genomix.models.registry import build_model, hyenadna_config
from genomix.report.protocol_report import write_protocol_report
from genomix.training import protocol
from genomix.training.build import build
from genomix.training.config import ModelConfig
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.finetune_data import leakage_of, read_tables
from genomix.training.protocol import Run, run_protocol, runs_of
from genomix.training.side_by_side import Done, n_workers, run_side_by_side
from genomix.training.suite import run_suite
from genomix.training.sweep import run_sweep
from genomix_data.errors import ConfigError, GenomixError, InputFileError
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer
from tests.genomix.side_by_side_jobs import double
from tests.genomix.training.test_pretrain_options import tiny_sh2
from tests.genomix.training_helpers import finetune_config, gc_rows, tiny_model, write_table


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tables")
    return write_table(folder / "train.csv", gc_rows(60, 1)), write_table(folder / "test.csv", gc_rows(30, 2))


def quick(tables: tuple[Path, Path], **changes: object) -> FinetuneConfig:
    config = finetune_config(*tables, trainer={"max_epochs": 1})
    return replace(config, **changes)  # type: ignore[arg-type]


def test_which_runs_there_are(tables: tuple[Path, Path]) -> None:
    config = quick(tables, seeds=3)
    runs = runs_of(config, "out")
    assert [run.name for run in runs] == ["seed-2222", "seed-2223", "seed-2224"]
    assert [run.config.trainer.seed for run in runs] == [2222, 2223, 2224]
    assert {run.split_seed for run in runs} == {2222}, "the split is the same, the training is not"
    assert {run.config.seeds for run in runs} == {1}
    assert [run.folder for run in runs_of(quick(tables), "out")] == [Path("out")], (
        "a single one has the folder"
    )
    folds = runs_of(quick(tables, protocol="cv5"), "out")
    assert [(run.name, run.fold) for run in folds] == [(f"fold-{i + 1}", i) for i in range(5)]
    assert len(runs_of(quick(tables, protocol="cv10", seeds=2), "out")) == 20


def test_validation_of_every_protocol(tables: tuple[Path, Path], tmp_path: Path) -> None:
    data = quick(tables).data
    paper = read_tables(data, seed=1, protocol="paper")
    assert paper["valid"].sequences == paper["test"].sequences
    assert len(paper["train"]) == 60, "all of it is trained on"
    assert leakage_of(paper, "paper").total.has_near_copy == 0, "the test is compared with training only"
    folds = [read_tables(data, seed=1, protocol="cv5", fold=fold) for fold in range(5)]
    assert all(parts["test"].sequences == paper["test"].sequences for parts in folds)
    assert len({tuple(parts["valid"].sequences) for parts in folds}) == 5, "another part each time"
    whole = write_table(tmp_path / "all.csv", gc_rows(50, 3))
    alone = replace(data, train=whole, test=None, split="random")
    tests = [read_tables(alone, seed=1, protocol="cv5", fold=fold)["test"].sequences for fold in range(5)]
    assert sorted(text for texts in tests for text in texts) == sorted(text for text, _ in gc_rows(50, 3)), (
        "each sequence is tested once"
    )
    for fold in range(5):
        parts = read_tables(alone, seed=1, protocol="cv5", fold=fold)
        assert not set(parts["train"].sequences) & set(parts["test"].sequences)
        assert not set(parts["valid"].sequences) & set(parts["test"].sequences)
        assert sum(len(part) for part in parts.values()) == 50


def test_seeds_are_summed_up_and_finished_ones_kept(
    tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    summary = run_protocol(quick(tables, seeds=2), out, progress=False)
    values = [read_run(out / "runs" / name).result["test"]["auroc"] for name in ("seed-2222", "seed-2223")]
    assert summary.test["auroc"].values == tuple(values)
    assert summary.test["auroc"].mean == pytest.approx(np.mean(values))
    assert summary.test["auroc"].sd == pytest.approx(np.std(values, ddof=1))
    record = json.loads((out / "result.json").read_text())
    assert record["test"]["auroc"]["mean"] == summary.test["auroc"].mean
    low, high = record["test"]["auroc"]["ci95"]
    assert low <= np.mean(values) <= high
    assert [run["name"] for run in record["runs"]] == ["seed-2222", "seed-2223"]
    assert record["test_clean"]["auroc"]["mean"] == record["test"]["auroc"]["mean"], (
        "there are no near copies"
    )
    assert Path(record["model"]).is_dir()
    assert summary.ensemble is not None
    assert "| 2 (holdout) |" in (out / "table.md").read_text()
    made: list[str] = []
    real = protocol._make

    def making(run: protocol.Run) -> None:
        made.append(run.name)
        real(run)

    monkeypatch.setattr(protocol, "_make", making)
    more = run_protocol(quick(tables, seeds=3), out, progress=False)
    assert made == ["seed-2224"], "the others are there"
    assert more.test["auroc"].values[:2] == tuple(values)
    with pytest.raises(InputFileError, match="holds a run of other settings"):
        run_protocol(
            replace(quick(tables, seeds=2), data=replace(quick(tables).data, batch_size=4)),
            out,
            progress=False,
        )


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StripedHyena 2, while settings that name no model are of HyenaDNA."""
    torch.manual_seed(3)
    model = build_model(tiny_sh2(context_len=64).config)
    folder = tmp_path_factory.mktemp("lm") / "model"
    return save_model(model, folder, tokenizer=ByteTokenizer(), provenance={}, card="a test")


def test_runs_from_a_checkpoint_of_another_family_than_the_default_are_found_again(
    tables: tuple[Path, Path], backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = tmp_path / "model"
    shutil.copytree(backbone, init)
    method = {"name": "probe", "strengths": [1.0]}
    config = replace(
        finetune_config(*tables, method=method), seeds=2, model=replace(ModelConfig(), init=init)
    )
    out = tmp_path / "out"
    first = run_protocol(config, out, progress=False)
    record = first.records[0].result["provenance"]["config"]
    assert build(FinetuneConfig, record).model.config == tiny_sh2(context_len=64).config, (
        "it can be made again"
    )
    monkeypatch.setattr(protocol, "_make", None)  # nothing is made
    assert run_protocol(config, out, progress=False).test == first.test
    moved = tmp_path / "moved"
    folders = (out, first.records[0].folder)
    asked, ran = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in folders)
    assert asked["model"] == ran["model"], "the architecture of the checkpoint, not that of the default"
    init.rename(moved)
    again = replace(config, model=replace(config.model, init=moved))
    assert run_protocol(again, out, progress=False).test == first.test, "the same weights elsewhere"
    other = build_model(tiny_sh2(context_len=64).config)
    save_model(other, moved, tokenizer=ByteTokenizer(), provenance={}, card="trained anew")
    with pytest.raises(InputFileError, match=r"other settings \(SHA-256 of model.init was \w{64} and is"):
        run_protocol(again, out, progress=False)


def test_dropout_is_a_setting_of_a_run_from_a_checkpoint(tables: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_model(
        build_model(tiny_model().config), folder, tokenizer=CharTokenizer(), provenance={}, card="a test"
    )
    default = ModelConfig()
    config = replace(quick(tables, seeds=2), model=replace(default, init=folder))
    run_protocol(config, tmp_path / "out", progress=False)
    run_protocol(config, tmp_path / "out", progress=False)
    dropping = replace(default, init=folder, config=replace(hyenadna_config(default.name), resid_dropout=0.3))
    with pytest.raises(InputFileError, match=r"model.resid_dropout was 0.0 and is 0.3"):
        run_protocol(replace(config, model=dropping), tmp_path / "out", progress=False)


def test_a_summary_is_not_written_among_the_files_of_a_single_run(
    tables: tuple[Path, Path], tmp_path: Path
) -> None:
    run_protocol(quick(tables), tmp_path / "out", progress=False)
    before = (tmp_path / "out" / "result.json").read_text()
    with pytest.raises(InputFileError, match="holds a single run, and 2 are asked for"):
        run_protocol(quick(tables, seeds=2), tmp_path / "out", progress=False)
    assert (tmp_path / "out" / "result.json").read_text() == before


def test_folds_of_one_table_have_no_common_interval(tmp_path: Path) -> None:
    whole = write_table(tmp_path / "all.csv", gc_rows(40, 3))
    method = {"name": "probe", "strengths": [1.0]}
    base = finetune_config(whole, whole, trainer={"max_epochs": 1}, method=method)
    config = replace(base, protocol="cv5", data=replace(base.data, test=None, split="random"))
    summary = run_protocol(config, tmp_path / "out", progress=False)
    assert len(summary.records) == 5
    assert summary.test["auroc"].interval is None
    assert summary.ensemble is None
    assert sum(record.result["test"]["n"] for record in summary.records) == 40


def test_processes_side_by_side_make_the_same_models(tables: tuple[Path, Path], tmp_path: Path) -> None:
    config = quick(tables, seeds=2)
    one = run_protocol(config, tmp_path / "one", progress=False)
    beside = replace(config, trainer=replace(config.trainer, workers=2))
    two = run_protocol(beside, tmp_path / "two", progress=False)
    assert one.test["auroc"].values == pytest.approx(two.test["auroc"].values, abs=1e-6)


def test_an_error_of_a_run_is_told(tables: tuple[Path, Path], tmp_path: Path) -> None:
    bad = write_table(tmp_path / "bad.csv", [("ACGT", "gc"), ("AC-T", "at")])
    config = quick((tables[0], bad), seeds=2)
    with pytest.raises(GenomixError, match=r"seed-2222: .*bad.csv:3"):
        run_protocol(config, tmp_path / "out", progress=False)


@pytest.fixture
def unlucky(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Seeds whose runs fail as one does whose loss is no number."""
    seeds: set[int] = set()
    make = protocol._make

    def make_or_fail(run: Run) -> None:
        if run.config.trainer.seed in seeds:
            raise ConfigError("the loss is nan at step 520\n(learning rate 0.00053).")
        make(run)

    monkeypatch.setattr(protocol, "_make", make_or_fail)
    return seeds


def test_the_others_are_made_and_summed_up_where_a_run_fails(
    tables: tuple[Path, Path], tmp_path: Path, unlucky: set[int]
) -> None:
    out = tmp_path / "out"
    unlucky.add(2222)
    summary = run_protocol(quick(tables, seeds=3), out, progress=False)
    error = "the loss is nan at step 520\n(learning rate 0.00053)."
    assert (summary.names, summary.failed) == (("seed-2223", "seed-2224"), (("seed-2222", error),))
    assert len(summary.test["auroc"].values) == 2
    written = json.loads((out / "result.json").read_text())
    assert written["failed"] == [{"name": "seed-2222", "error": error}]
    assert [run["name"] for run in written["runs"]] == ["seed-2223", "seed-2224"]
    table = (out / "table.md").read_text()
    assert "| 2 of 3 (holdout) |" in table
    assert table.endswith("- seed-2222: the loss is nan at step 520 (learning rate 0.00053).\n")
    page, _ = write_protocol_report(out, written, tmp_path / "page.html", tmp_path / "page.json")
    assert "2 runs (seed-2222 could not be made)" in page.read_text()

    unlucky.clear()
    stamp = (out / "runs/seed-2223/result.json").stat().st_mtime_ns
    whole = run_protocol(quick(tables, seeds=3), out, progress=False)
    assert (len(whole.records), whole.failed) == (3, ())
    assert (out / "runs/seed-2223/result.json").stat().st_mtime_ns == stamp
    assert "Not made" not in (out / "table.md").read_text()

    unlucky.update({2222, 2223})
    with pytest.raises(
        GenomixError, match=r"^seed-2222: the loss is nan .* \(nor could any other of the 2 runs"
    ):
        run_protocol(quick(tables, seeds=2), tmp_path / "none", progress=False)


def test_a_suite_names_what_failed_and_goes_on(
    tables: tuple[Path, Path], tmp_path: Path, unlucky: set[int]
) -> None:
    unlucky.add(2222)
    two = quick(tables, seeds=2)
    configs = {
        "none": replace(quick(tables), task="none"),
        "some": replace(two, task="some"),
        "all": replace(two, task="all", trainer=replace(two.trainer, seed=5)),
    }
    summaries, failed = run_suite(configs, tmp_path / "s", progress=False)
    assert [(summary.config.task, summary.n_runs) for summary in summaries] == [
        ("some", "1 of 2"),
        ("all", "2"),
    ]
    assert [line.partition(":")[0] for line in failed] == ["none seed-2222", "some seed-2222"]
    page = (tmp_path / "s/suite.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in page[2:4]] == ["| some", "| all"]
    assert page[-2:] == [f"- {line}" for line in failed]
    written = json.loads((tmp_path / "s/suite.json").read_text())
    assert written["failed"] == failed
    assert [len(task["failed"]) for task in written["tasks"]] == [1, 0]

    summaries, failed = run_suite({"none": configs["none"]}, tmp_path / "t", progress=False)
    assert (summaries, len(failed)) == ([], 1)
    assert (tmp_path / "t/suite.md").read_text().startswith("No task is finished.\n")


def test_a_suite_goes_on_where_it_was(tables: tuple[Path, Path], tmp_path: Path) -> None:
    bad = write_table(tmp_path / "bad.csv", [("ACGT", "gc"), ("AC-T", "at")])
    good = {name: replace(quick(tables), task=name) for name in ("a/1", "b")}
    summaries, failed = run_suite(
        {**good, "c": replace(quick((tables[0], bad)), task="c")}, tmp_path / "s", progress=False
    )
    assert [summary.config.task for summary in summaries] == ["a/1", "b"]
    assert len(failed) == 1
    assert failed[0].startswith("c seed-2222: ")
    assert json.loads((tmp_path / "s" / "suite.json").read_text())["failed"] == failed
    rows = (tmp_path / "s" / "suite.md").read_text().splitlines()
    assert [row.split(" | ")[0] for row in rows[2:4]] == ["| a/1", "| b"]
    assert rows[-1] == f"- {failed[0]}"
    stamp = (tmp_path / "s" / "a/1" / "result.json").stat().st_mtime_ns
    again, failed = run_suite(good, tmp_path / "s", progress=False)
    assert (len(again), failed) == (2, [])
    assert (tmp_path / "s" / "a/1" / "result.json").stat().st_mtime_ns == stamp
    with pytest.raises(ConfigError, match="no tasks were chosen"):
        run_suite({}, tmp_path / "s", progress=False)


def test_a_sweep_looks_at_validation_and_tests_the_best_once(
    tables: tuple[Path, Path], tmp_path: Path
) -> None:
    config = quick(tables, seeds=2)
    points = [
        ({"optimizer.lr": str(lr)}, replace(config, optimizer=replace(config.optimizer, lr=lr)))
        for lr in (1e-6, 1e-2)
    ]
    result = run_sweep(points, tmp_path / "sweep", progress=False)
    assert result.trials[0]["settings"]["optimizer.lr"] == "0.01"
    assert len(result.best.records) == 2
    for path in (tmp_path / "sweep" / "trials").iterdir():
        assert "test" not in json.loads(path.read_text()), "no trial knows the test set"
    stamps = [path.stat().st_mtime_ns for path in sorted((tmp_path / "sweep" / "trials").iterdir())]
    run_sweep(points, tmp_path / "sweep", progress=False)
    again = [path.stat().st_mtime_ns for path in sorted((tmp_path / "sweep" / "trials").iterdir())]
    assert again == stamps
    assert "| 0.01 |" in (tmp_path / "sweep" / "sweep.md").read_text()
    with pytest.raises(ConfigError, match="tune on the test"):
        run_sweep([({}, replace(config, protocol="paper"))], tmp_path / "other", progress=False)


def test_a_sweep_goes_on_after_a_trial_that_diverges(tables: tuple[Path, Path], tmp_path: Path) -> None:
    config = quick(tables)
    points = [
        ({"optimizer.lr": text}, replace(config, optimizer=replace(config.optimizer, lr=float(text))))
        for text in ("1e30", "1e-2")
    ]
    result = run_sweep(points, tmp_path / "sweep", progress=False)
    assert [trial["settings"] for trial in result.trials] == [{"optimizer.lr": "1e-2"}]
    [line] = result.not_made
    assert line.startswith("optimizer.lr=1e30: ")
    assert "the loss is" in line
    assert f"- {line}\n" in (tmp_path / "sweep" / "sweep.md").read_text()
    written = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [failed["settings"] for failed in written["failed"]] == [{"optimizer.lr": "1e30"}]
    with pytest.raises(
        GenomixError, match=r"^trial optimizer.lr=1e30: .*nor could any other of the 2 trials"
    ):
        run_sweep([points[0], points[0]], tmp_path / "none", progress=False)


def test_jobs_come_back_with_what_they_returned_or_why_they_failed() -> None:
    expected = [Done(1, 2), Done(2, 4), Done(3, None, "three is not doubled"), Done(4, 8)]
    assert list(run_side_by_side(double, [1, 2, 3, 4], 1)) == expected
    found: list[Done[int]] = []
    with pytest.raises(RuntimeError, match="ended with code 9"):  # and no wait for ever
        found.extend(run_side_by_side(double, [1, 3, 2, 7], 2))
    assert all(done in expected for done in found)


def test_how_many_run_at_once() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert n_workers(None, 10, cpu) == 1
    assert n_workers(4, 10, cpu) == 4
    assert n_workers(4, 2, cpu) == 2
    assert 1 <= n_workers(None, 10, cuda) <= 8
