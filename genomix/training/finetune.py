"""Fine-tuning: a classifier of sequences, from a config to a folder with the model and its test metrics.

Validation chooses the epoch; the test set is scored once, at the end. The folder appears whole or not at all:

    config.yaml, labels.json, leakage.json, metrics.csv, result.json, test_predictions.tsv,
    model/ (the native checkpoint), adapters.safetensors (of ``method=lora``, which are merged into the model)
"""

import csv
import dataclasses
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from genomix.adapters.lora import adapter_state, add_adapters, merge_adapters
from genomix.checkpoint.native import load_model, save_model
from genomix.heads.classifier import SequenceClassifier
from genomix.inference.predict import Predictions, predict_probabilities, write_predictions_file
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.registry import build_model, hyenadna_config
from genomix.provenance import run_record
from genomix.training.build import plain
from genomix.training.cards import classifier_card
from genomix.training.config import ModelConfig
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.finetune_data import class_warnings, clean_metrics, leakage_of, read_tables
from genomix.training.finetune_loop import FinetuneLoop
from genomix.training.finetune_method import LoraMethodConfig, ProbeConfig
from genomix.training.loop import choose_device, own_random_state
from genomix.training.metrics import classification_metrics
from genomix.training.probe import Probe
from genomix.training.results import FinetuneResult
from genomix.training.run_folder import RunFolder, to_yaml, write_json
from genomix.training.screen import Screen
from genomix_data.atomic import atomic_folder
from genomix_data.errors import ConfigError
from genomix_data.leakage import LeakageReport
from genomix_data.table_dataset import LabelledSequences, encode_sequences
from genomix_data.tables import SequenceTable
from genomix_data.tokenizers import CharTokenizer

if TYPE_CHECKING:
    from rich.console import Console

MAY_DIFFER = ("embed_dropout", "resid_dropout")
"""What may be set for a model that starts from a checkpoint; all else comes from there."""


@dataclass(frozen=True, slots=True)
class _Part:
    table: SequenceTable
    ids: list[NDArray[np.uint8]]


def finetune(
    config: FinetuneConfig,
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
    progress: "bool | Console" = True,
) -> FinetuneResult:
    """Train a classifier, score it once on the test set, and return what came of it.

    Args:
        config: What to run.
        output: Folder to write.
        overwrite: Replace a folder that an earlier run wrote.
        command: Command line, for provenance.
        progress: A rich console to speak through; True makes one on stderr, False says nothing.

    Raises:
        GenomixError: for input that does not fit; before any training.
        KeyboardInterrupt: when SIGINT stopped the run; nothing is written.
    """
    started = time.perf_counter()
    RunFolder(output).check_free(overwrite=overwrite)
    screen, device = Screen(progress), choose_device(config.trainer)
    tables = read_tables(config.data, seed=config.trainer.seed)
    leakage = leakage_of(tables)
    class_names = tables["train"].class_names
    with own_random_state(config.trainer.seed):
        config, backbone, tokenizer, init_sha256 = _backbone(config)
        parts, n_truncated = _encode(config, tables, tokenizer)
        model = _classifier(config, backbone, len(class_names)).to(device)
        train = LabelledSequences(
            parts["train"].ids,
            parts["train"].table.labels,
            tokenizer,
            seed=config.trainer.seed,
            rc_augment=config.data.rc_augment,
        )
        n_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        fitter = Probe if isinstance(config.method, ProbeConfig) else FinetuneLoop
        loop = fitter(
            config,
            screen,
            model=model,
            train=train,
            valid_ids=parts["valid"].ids,
            valid_labels=parts["valid"].table.labels,
            class_names=class_names,
            device=device,
        )
        _introduce(screen, config, parts, leakage, n_truncated, device)
        stopped_by = loop.run()
    if stopped_by == signal.SIGTERM:
        raise SystemExit(128 + stopped_by)
    if stopped_by is not None:
        raise KeyboardInterrupt
    adapters = {name: tensor.cpu() for name, tensor in adapter_state(model.backbone).items()}
    merge_adapters(model.backbone)
    test = parts["test"]
    probabilities = predict_probabilities(model, test.ids, tokenizer.pad_id, device=device)
    assert loop.best is not None
    folder = Path(output)
    result = FinetuneResult(
        folder=folder,
        model_folder=folder / "model",
        class_names=class_names,
        n_parameters=n_parameters,
        n_train=len(parts["train"].ids),
        n_valid=len(parts["valid"].ids),
        n_shared=leakage.total.identical + leakage.total.identical_other_strand,
        n_truncated=n_truncated,
        best_epoch=loop.best.epoch,
        epochs=loop.validation[-1].epoch,
        monitor=config.trainer.monitor,
        history=tuple(loop.history),
        validation=tuple(loop.validation),
        valid=loop.best.metrics,
        test=classification_metrics(probabilities, test.table.labels, class_names),
        test_clean=clean_metrics(probabilities, test.table, leakage),
        leakage=leakage,
        split=config.data.split,
        method=config.method.name,
        chosen=loop.chosen,
        test_probabilities=probabilities,
        test_labels=test.table.labels,
        train_seconds=loop.train_seconds,
        seconds=time.perf_counter() - started,
        sequences_per_second=loop.n_seen / max(loop.train_seconds, 1e-9),
        provenance=run_record(
            command,
            seed=config.trainer.seed,
            device=device.type,
            config=plain(config),
            init_sha256=init_sha256,
            tables={name: part.table.source for name, part in parts.items()},
        ),
    )
    _write(config, result, model, tokenizer, adapters)
    return result


def _classifier(config: FinetuneConfig, backbone: HyenaDNA, n_classes: int) -> SequenceClassifier:
    """Return the classifier, with what is not trained frozen."""
    method, head = config.method, config.head
    model = SequenceClassifier(
        backbone,
        n_classes,
        pooling=head.pooling,
        dropout=head.dropout,
        n_windows=head.n_windows,
        hidden=method.hidden if isinstance(method, ProbeConfig) and method.classifier == "mlp" else 0,
    )
    if isinstance(method, ProbeConfig):
        model.backbone.requires_grad_(False)
    if isinstance(method, LoraMethodConfig):
        add_adapters(model.backbone, method.adapters())
    return model


def _backbone(config: FinetuneConfig) -> tuple[FinetuneConfig, HyenaDNA, CharTokenizer, str | None]:
    """Return the config as it is run, the language model to start from, its tokenizer and the hash of its weights."""
    model = config.model
    if model.init is None:
        return config, build_model(model.config), CharTokenizer(), None
    loaded = load_model(model.init, expect="language_model")
    start = loaded.hyenadna
    row = hyenadna_config(model.name)
    asked = {
        field.name: getattr(model.config, field.name)
        for field in dataclasses.fields(model.config)
        if getattr(model.config, field.name) != getattr(row, field.name)
    }
    for name, value in asked.items():
        if name not in MAY_DIFFER and value != getattr(start.config, name):
            raise ConfigError(
                f"model.{name}={value} does not go with model.init={model.init}: the architecture comes from that "
                f"checkpoint, which has {name}={getattr(start.config, name)}. Leave it out."
            )
    changes: dict[str, Any] = {name: asked[name] for name in MAY_DIFFER if name in asked}
    architecture = dataclasses.replace(start.config, **changes)
    backbone = build_model(architecture)
    backbone.load_state_dict(start.state_dict())
    run = dataclasses.replace(
        config, model=ModelConfig(name=model.name, config=architecture, init=model.init)
    )
    tokenizer = loaded.tokenizer
    assert isinstance(tokenizer, CharTokenizer)
    return run, backbone, tokenizer, loaded.sha256


def _encode(
    config: FinetuneConfig, tables: dict[str, SequenceTable], tokenizer: CharTokenizer
) -> tuple[dict[str, _Part], int]:
    parts: dict[str, _Part] = {}
    n_truncated = 0
    for name, table in tables.items():
        ids, cut = encode_sequences(
            table.sequences,
            tokenizer,
            config.model.config.l_max,
            too_long=config.data.too_long,
            source=f"{table.source} ({name})",
        )
        parts[name] = _Part(table, ids)
        n_truncated += cut
    return parts, n_truncated


def _introduce(
    screen: Screen,
    config: FinetuneConfig,
    parts: dict[str, _Part],
    leakage: LeakageReport,
    n_truncated: int,
    device: torch.device,
) -> None:
    sizes = {name: len(part.ids) for name, part in parts.items()}
    start = f"from {config.model.init}" if config.model.init else f"{config.model.name} from scratch"
    verb = {"full": "fine-tuning", "probe": "probing", "lora": "fine-tuning adapters"}[config.method.name]
    screen.say(
        f"{verb} {start} on {sizes['train']:,} sequences of {len(parts['train'].table.class_names)} classes "
        f"({sizes['valid']:,} for validation, {sizes['test']:,} for the test), {device.type}"
    )
    if config.method.name != "full" and config.model.init is None:
        screen.say(
            f"  warning: the backbone is frozen at random weights; method={config.method.name} is of use with a "
            "pretrained model (model.init=FOLDER)",
            style="yellow",
        )
    for line in class_warnings({name: part.table for name, part in parts.items()}, config.loss):
        screen.say(f"  warning: {line}", style="yellow")
    total = leakage.total
    if n_shared := total.identical + total.identical_other_strand:
        screen.say(
            f"  warning: {n_shared:,} of the {sizes['test']:,} test sequences are also in the training data, so the "
            "test flatters the model; data.drop_shared=true leaves them out of training",
            style="yellow",
        )
    if total.has_near_copy > n_shared:
        screen.say(
            f"  warning: {total.has_near_copy:,} of the {sizes['test']:,} test sequences have a near copy in training; "
            "the result is given without them as well, and data.split=cluster makes parts that share none",
            style="yellow",
        )
    if n_truncated:
        screen.say(
            f"  warning: {n_truncated:,} sequences were cut to their first {config.model.config.l_max:,} bases",
            style="yellow",
        )


def _write(
    config: FinetuneConfig,
    result: FinetuneResult,
    model: SequenceClassifier,
    tokenizer: CharTokenizer,
    adapters: dict[str, torch.Tensor],
) -> None:
    head = {"class_names": list(result.class_names), "too_long": config.data.too_long}
    with atomic_folder(result.folder) as fresh:
        (fresh / "config.yaml").write_text(to_yaml(plain(config)))
        with (fresh / "metrics.csv").open("w", newline="") as handle:
            writer = csv.writer(handle)
            has_l2 = any(point.l2 is not None for point in result.validation)
            last = ["l2"] if has_l2 else []
            writer.writerow(
                ["epoch", "step", "train_loss", "valid_loss", "accuracy", "mcc", "f1", "auroc", *last]
            )
            for point in result.validation:
                m = point.metrics
                row = [point.epoch, point.step, point.train_loss, m.loss, m.accuracy, m.mcc, m.f1, m.auroc]
                writer.writerow([*row, point.l2] if has_l2 else row)
        save_model(
            model,
            fresh / "model",
            tokenizer=tokenizer,
            head=head,
            provenance=result.provenance,
            card=classifier_card(config, result),
        )
        if adapters:
            assert isinstance(config.method, LoraMethodConfig)
            about = {"rank": str(config.method.rank), "alpha": str(config.method.alpha)}
            save_file(adapters, fresh / "adapters.safetensors", metadata=about)
        predictions = Predictions(result.test_probabilities, result.class_names, result.n_truncated, "")
        labels = [result.class_names[label] for label in result.test_labels]
        assert result.leakage is not None, "computed before training"
        write_predictions_file(
            fresh / "test_predictions.tsv",
            predictions,
            labels=labels,
            near_copies=result.leakage.has_near_copy,
        )
        write_json(fresh / "labels.json", {name: index for index, name in enumerate(result.class_names)})
        write_json(fresh / "leakage.json", result.leakage.to_dict())
        write_json(fresh / "result.json", result.to_dict())
