"""The folder that a fine-tuning run leaves behind, written whole or not at all."""

import csv
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from genomix.checkpoint.native import save_model
from genomix.inference.predict import Predictions
from genomix.inference.prediction_files import prediction_columns, write_predictions_file
from genomix.training.build import plain
from genomix.training.cards import head_card
from genomix.training.finetune_config import MONITORS
from genomix.training.finetune_method import LoraMethodConfig
from genomix.training.finetune_model import Prepared
from genomix.training.results import FinetuneResult
from genomix.training.run_folder import to_yaml, write_json
from genomix_data.atomic import atomic_folder
from genomix_data.tables.composition import write_composition


def write_finetuned(
    prepared: Prepared, result: FinetuneResult[Any], adapters: dict[str, torch.Tensor]
) -> None:
    """Write everything that is known of a run.

    Args:
        prepared: The model as it was trained, and its settings.
        result: What came of it.
        adapters: Of ``method=lora``, already merged into the model.
    """
    config = prepared.config
    head = {
        "class_names": list(result.class_names),
        "too_long": config.data.too_long,
        "both_strands": config.head.both_strands,
    }
    with atomic_folder(result.folder) as fresh:
        (fresh / "config.yaml").write_text(to_yaml(plain(config)))
        _write_log(fresh / "metrics.csv", result)
        save_model(
            prepared.model,
            fresh / "model",
            tokenizer=prepared.tokenizer,
            head=head,
            provenance=result.provenance,
            card=head_card(config, result),
        )
        if adapters:
            assert isinstance(config.method, LoraMethodConfig)
            about = {"rank": str(config.method.rank), "alpha": str(config.method.alpha)}
            save_file(adapters, fresh / "adapters.safetensors", metadata=about)
        lengths = tuple(len(ids) for ids in prepared.slots["test"][0])
        predictions = Predictions(
            result.test_probabilities,
            result.class_names,
            result.n_truncated,
            "",
            kind=config.head.kind,
            lengths=lengths,
        )
        assert result.leakage is not None, "computed before training"
        columns = prediction_columns(
            predictions, truth=result.test_labels, near_copies=result.leakage.has_near_copy
        )
        write_predictions_file(fresh / "test_predictions.tsv", columns)
        write_composition(fresh / "test_composition.tsv", prepared.tables["test"].sequences)
        write_json(fresh / "labels.json", {name: index for index, name in enumerate(result.class_names)})
        write_json(fresh / "leakage.json", result.leakage.to_dict())
        write_json(fresh / "result.json", result.to_dict())


def _write_log(path: Path, result: FinetuneResult[Any]) -> None:
    names = [name for name in MONITORS[result.kind] if name != "loss"]
    has_l2 = any(point.l2 is not None for point in result.validation)
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["epoch", "step", "train_loss", "valid_loss", *names, *(["l2"] if has_l2 else [])])
        for point in result.validation:
            row = [point.epoch, point.step, point.train_loss, point.metrics.loss]
            row += [point.metrics.value(name) for name in names]
            writer.writerow([*row, point.l2] if has_l2 else row)
