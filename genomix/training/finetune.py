"""Fine-tuning: a model with a head, from a config to a folder with the model and its test metrics.

Validation chooses the epoch; the test set is scored once, at the end. The folder appears whole or not at all:

    config.yaml, labels.json, leakage.json, metrics.csv, result.json, test_predictions.tsv, test_composition.tsv,
    model/ (the native checkpoint), adapters.safetensors (of ``method=lora``, which are merged into the model)
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomix.adapters.lora import adapter_state, merge_adapters
from genomix.inference.head_scores import all_scores
from genomix.provenance import run_record
from genomix.training.build import plain
from genomix.training.device import choose_device, own_random_state
from genomix.training.finetune_checks import class_warnings, counts_of
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.finetune_data import (
    clean_metrics,
    leakage_of,
    near_copies_in_validation,
    read_tables,
)
from genomix.training.finetune_folder import write_finetuned
from genomix.training.finetune_loop import FinetuneLoop
from genomix.training.finetune_method import ProbeConfig
from genomix.training.finetune_model import Prepared, prepare_model
from genomix.training.intervals import bootstrap_intervals
from genomix.training.probe import Probe
from genomix.training.results import FinetuneResult
from genomix.training.run_folder import RunFolder
from genomix.training.screen import Screen
from genomix_data.benchmarks.published import published_results
from genomix_data.leakage import LeakageReport

if TYPE_CHECKING:
    from rich.console import Console

LEAKY_VALIDATION = 0.1
"""Part of the validation set with near copies in training from which on a run says so."""


def finetune(
    config: FinetuneConfig,
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
    progress: "bool | Console" = True,
    fold: int = 0,
    split_seed: int | None = None,
) -> FinetuneResult[Any]:
    """Train a model once, score it once on the test set, and return what came of it.

    Several seeds or folds are for `genomix.training.protocol.run_protocol`, which calls this for each.

    Args:
        config: What to run.
        output: Folder to write.
        overwrite: Replace a folder that an earlier run wrote.
        command: Command line, for provenance.
        progress: A rich console to speak through; True makes one on stderr, False says nothing.
        fold: Which run of a cross-validation, from 0.
        split_seed: Seed of the splits; that of the training by default.

    Raises:
        GenomixError: for input that does not fit; before any training.
        KeyboardInterrupt: when SIGINT stopped the run; nothing is written.
    """
    started = time.perf_counter()
    RunFolder(output).check_free(overwrite=overwrite)
    screen, device = Screen(progress), choose_device(config.trainer)
    tables = read_tables(
        config.data,
        seed=config.trainer.seed if split_seed is None else split_seed,
        kind=config.head.kind,
        protocol=config.protocol,
        fold=fold,
    )
    leakage = leakage_of(tables, config.protocol)
    with own_random_state(config.trainer.seed):
        prepared = prepare_model(config, tables, device)
        loop = train(prepared, screen, leakage=leakage)
    config, model, objective = prepared.config, prepared.model, prepared.objective
    backbone = model.backbone
    adapters = {name: tensor.cpu() for name, tensor in adapter_state(backbone).items()}
    merge_adapters(backbone)
    objective.finish(model)
    test = prepared.tables["test"]
    both = config.head.both_strands
    scores = all_scores(model, prepared.examples("test", both_strands=both), both_strands=both)
    truth = objective.truth(test)
    assert loop.best is not None
    folder = Path(output)
    result: FinetuneResult[Any] = FinetuneResult(
        folder=folder,
        model_folder=folder / "model",
        class_names=objective.names,
        n_parameters=prepared.n_parameters,
        n_train=len(prepared.tables["train"]),
        n_valid=len(prepared.tables["valid"]),
        n_shared=leakage.total.identical + leakage.total.identical_other_strand,
        n_truncated=prepared.n_truncated,
        best_epoch=loop.best.epoch,
        epochs=loop.validation[-1].epoch,
        monitor=config.monitor,
        history=tuple(loop.history),
        validation=tuple(loop.validation),
        valid=loop.best.metrics,
        test=objective.metrics(scores, truth),
        test_clean=clean_metrics(objective, scores, test, leakage),
        intervals=bootstrap_intervals([scores], truth, config.head.kind, sequence=objective.sequence(test)),
        published=tuple(published_results(config.data.benchmark)),
        leakage=leakage,
        split=config.data.split,
        method=config.method.name,
        kind=config.head.kind,
        protocol=config.protocol,
        task=config.task,
        chosen=loop.chosen,
        counts=counts_of(tables),
        test_probabilities=scores,
        test_labels=truth,
        train_seconds=loop.train_seconds,
        seconds=time.perf_counter() - started,
        sequences_per_second=loop.n_seen / max(loop.train_seconds, 1e-9),
        provenance=run_record(
            command,
            seed=config.trainer.seed,
            device=device.type,
            config=plain(config),
            init_sha256=prepared.init_sha256,
            fold=fold,
            tables={name: table.source for name, table in tables.items()},
        ),
    )
    write_finetuned(prepared, result, adapters)
    return result


def train(
    prepared: Prepared, screen: Screen, *, leakage: LeakageReport | None = None
) -> FinetuneLoop | Probe:
    """Train what was prepared; its model then has the weights that were best on validation.

    Args:
        prepared: Model and data.
        screen: Where to speak.
        leakage: What the test shares with training, to be pointed out; None says nothing.
    """
    config, objective = prepared.config, prepared.objective
    is_probe = isinstance(config.method, ProbeConfig)
    rc_augment = config.data.rc_augment
    fitter = Probe if is_probe else FinetuneLoop
    loop = fitter(
        config,
        screen,
        model=prepared.model,
        objective=objective,
        train=prepared.examples("train", both_strands=rc_augment),
        targets=objective.targets(prepared.tables["train"], both_strands=rc_augment),
        valid=prepared.examples("valid", both_strands=config.head.both_strands),
        valid_truth=objective.truth(prepared.tables["valid"]),
        device=prepared.device,
    )
    if leakage is not None:
        _introduce(screen, prepared, leakage)
    loop.run()
    return loop


def _introduce(screen: Screen, prepared: Prepared, leakage: LeakageReport) -> None:
    config = prepared.config
    sizes = {name: len(table) for name, table in prepared.tables.items()}
    start = f"from {config.model.init}" if config.model.init else f"{config.model.name} from scratch"
    verb = {
        "full": "fine-tuning",
        "probe": "probing",
        "lora": "fine-tuning adapters",
        "soft_prompt": "tuning a soft prompt",
    }[config.method.name]
    names = prepared.objective.names
    outputs = {"multilabel": "labels", "regressor": "targets"}.get(config.head.kind, "classes")
    screen.say(
        f"{verb} {start} on {sizes['train']:,} sequences of {len(names)} {outputs} "
        f"({sizes['valid']:,} for validation, {sizes['test']:,} for the test), {prepared.device.type}"
    )

    def warn(line: str) -> None:
        screen.say(f"  warning: {line}", style="yellow")

    if config.protocol == "paper":
        warn(
            "protocol=paper lets the test set choose the epoch, as HyenaDNA was published: the result is optimistic, "
            "and comparable with that publication only"
        )
    if config.method.name != "full" and config.model.init is None:
        warn(
            f"the backbone is frozen at random weights; method={config.method.name} is of use with a pretrained model "
            "(model.init=FOLDER)"
        )
    for line in class_warnings(prepared.tables, config.loss):
        warn(line)
    total = leakage.total
    if n_shared := total.identical + total.identical_other_strand:
        warn(
            f"{n_shared:,} of the {sizes['test']:,} test sequences are also in the training data, so the test flatters "
            "the model; data.drop_shared=true leaves them out of training"
        )
    if total.has_near_copy > n_shared:
        warn(
            f"{total.has_near_copy:,} of the {sizes['test']:,} test sequences have a near copy in training; the result "
            "is given without them as well, and data.split=cluster makes parts that share none"
        )
    copies = None if config.protocol == "paper" else near_copies_in_validation(prepared.tables)
    if copies is not None and copies > LEAKY_VALIDATION * sizes["valid"]:
        remedy = "" if config.data.valid is not None else "; data.valid_split=cluster makes one that does not"
        warn(
            f"{copies:,} of the {sizes['valid']:,} validation sequences have a near copy in training, so validation "
            f"will prefer a model that knows its training set by heart{remedy}"
        )
    if prepared.n_truncated:
        warn(f"{prepared.n_truncated:,} sequences were cut to their first {prepared.longest:,} bases")
    beyond = prepared.n_beyond_context
    if beyond:
        warn(
            f"{beyond:,} sequences are longer than the {prepared.model.config.context_len:,} bases that the model was "
            "trained at"
        )
