"""What each kind of head is trained for: its targets, the loss of a batch and the metrics of a whole set."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genomix.heads.build import HeadModel
from genomix.heads.sequence_model import SequenceModel
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.losses import classification_loss, multilabel_loss, regression_loss, token_loss
from genomix.training.metrics import Metrics, classification_metrics
from genomix.training.target_metrics import metrics_of_labels, metrics_of_numbers
from genomix_data.lm_batch import IGNORED
from genomix_data.tables.bases import BaseTable
from genomix_data.tables.joined import ExampleTable
from genomix_data.tables.table import SequenceTable
from genomix_data.tables.targets import TargetTable


class Objective(ABC):
    """One kind of task.

    Args:
        config: What to run.
        train: Training part, which fixes the classes and their weights.

    Attributes:
        names: Of the classes, labels or targets, in the order of the outputs.
    """

    names: tuple[str, ...]

    def __init__(self, config: FinetuneConfig, train: ExampleTable) -> None:
        self.config = config

    @abstractmethod
    def truth(self, table: ExampleTable) -> NDArray[Any]:
        """Return what `metrics` compares scores with: the same rows as the scores have."""

    def sequence(self, table: ExampleTable) -> NDArray[np.int64] | None:
        """Return which sequence each row of `truth` is of, from 0; None where each is of its own."""
        return None

    @abstractmethod
    def targets(self, table: ExampleTable, *, both_strands: bool) -> Tensor:
        """Return what `loss` compares outputs with, a row a sequence; those of the other strands follow, if wanted."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, in fp32 at least."""

    @abstractmethod
    def metrics(self, scores: NDArray[np.float64], truth: NDArray[Any]) -> Metrics:
        """Return the metrics of what `genomix.inference.head_scores` gave."""

    def rows(self, table: ExampleTable, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of scores and truth that belong to some sequences."""
        return chosen

    def own_scale(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scores of a model under training on the scale of the data."""
        return scores

    def finish(self, model: HeadModel) -> HeadModel:
        """Return a trained model so that it speaks on the scale of the data; changed in place."""
        return model

    def extra_head_settings(self) -> dict[str, Any]:
        """Return settings of the head that follow from the task."""
        return {}


class Classification(Objective):
    """A sequence, or a pair, has one of several classes."""

    def __init__(self, config: FinetuneConfig, train: ExampleTable) -> None:
        super().__init__(config, train)
        assert isinstance(train, SequenceTable)
        self.names = train.class_names
        self.class_weights = config.loss.weights(train.labels, self.names)

    def truth(self, table: ExampleTable) -> NDArray[np.int64]:
        """Return the class indices."""
        assert isinstance(table, SequenceTable)
        return table.labels

    def targets(self, table: ExampleTable, *, both_strands: bool) -> Tensor:
        """Return the class indices; a reverse complement has the class of its sequence."""
        labels = torch.from_numpy(self.truth(table))
        return labels.repeat(2) if both_strands else labels

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy, in nats."""
        outputs = _precise(outputs)
        if self.class_weights is not None:
            self.class_weights = self.class_weights.to(outputs)  # once; a copy at each step would wait for it
        return classification_loss(outputs, targets, self.class_weights, self.config.loss.label_smoothing)

    def metrics(self, scores: NDArray[np.float64], truth: NDArray[np.int64]) -> Metrics:
        """Return the metrics of class probabilities."""
        return classification_metrics(scores, truth, self.names)


class BaseClassification(Objective):
    """A base has one of several classes; metrics are over all bases that have one."""

    def __init__(self, config: FinetuneConfig, train: ExampleTable) -> None:
        super().__init__(config, train)
        self.names = _base_table(train).class_names
        known = self.truth(train)
        self.class_weights = config.loss.weights(known[known != IGNORED], self.names)

    def truth(self, table: ExampleTable) -> NDArray[np.int64]:
        """Return the classes of all bases of all sequences, one after the other."""
        return np.concatenate(_base_table(table).labels)

    def sequence(self, table: ExampleTable) -> NDArray[np.int64]:
        """Return which sequence each base is of."""
        lengths = [len(row) for row in _base_table(table).labels]
        return np.repeat(np.arange(len(lengths)), lengths)

    def targets(self, table: ExampleTable, *, both_strands: bool) -> Tensor:
        """Return the class of each base, `IGNORED` where there is none and beyond the end of a sequence."""
        rows = list(_base_table(table).labels)
        if both_strands:
            rows += [row[::-1] for row in rows]
        targets = np.full((len(rows), max(len(row) for row in rows)), IGNORED, dtype=np.int16)
        for place, row in enumerate(rows):
            targets[place, : len(row)] = row
        return torch.from_numpy(targets)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of the bases that have a class, in nats."""
        outputs = _precise(outputs)
        if self.class_weights is not None:
            self.class_weights = self.class_weights.to(outputs)
        return token_loss(outputs, targets[:, : outputs.shape[1]].long(), self.class_weights)

    def metrics(self, scores: NDArray[np.float64], truth: NDArray[np.int64]) -> Metrics:
        """Return the metrics over the bases that have a class."""
        known = truth != IGNORED
        return classification_metrics(scores[known], truth[known], self.names)

    def rows(self, table: ExampleTable, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of all bases of some sequences."""
        ends = np.cumsum([len(text) for text in table.sequences])
        starts = np.concatenate([[0], ends[:-1]])
        return np.concatenate([np.arange(starts[row], ends[row]) for row in chosen.tolist()])


class MultiLabel(Objective):
    """Labels of 0 or 1, each on its own; NaN where one is not known."""

    def __init__(self, config: FinetuneConfig, train: ExampleTable) -> None:
        super().__init__(config, train)
        self.names = _target_table(train).target_names

    def truth(self, table: ExampleTable) -> NDArray[np.float64]:
        """Return 0, 1 or NaN for each label."""
        return _target_table(table).targets.astype(np.float64)

    def targets(self, table: ExampleTable, *, both_strands: bool) -> Tensor:
        """Return the labels; a reverse complement has those of its sequence."""
        targets = torch.from_numpy(_target_table(table).targets)
        return targets.repeat(2, 1) if both_strands else targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean binary cross-entropy of the labels that are known, in nats."""
        outputs = _precise(outputs)
        return multilabel_loss(outputs, targets.to(outputs.dtype))

    def metrics(self, scores: NDArray[np.float64], truth: NDArray[np.float64]) -> Metrics:
        """Return the metrics of label probabilities."""
        return metrics_of_labels(scores, truth, self.names)


class Regression(Objective):
    """Numbers; NaN where one is not known. Training sees them with zero mean and unit variance, but for counts."""

    def __init__(self, config: FinetuneConfig, train: ExampleTable) -> None:
        super().__init__(config, train)
        table = _target_table(train)
        self.names = table.target_names
        self.is_counts = config.loss.regression == "poisson"
        values = table.targets.astype(np.float64)
        n_targets = values.shape[1]
        self.mean, self.scale = np.zeros(n_targets), np.ones(n_targets)
        if not self.is_counts:
            self.mean = np.nan_to_num(np.nanmean(values, axis=0))
            deviation = np.nan_to_num(np.nanstd(values, axis=0))
            self.scale = np.where(deviation > 0, deviation, 1.0)

    def truth(self, table: ExampleTable) -> NDArray[np.float64]:
        """Return the numbers as the table has them."""
        return _target_table(table).targets.astype(np.float64)

    def targets(self, table: ExampleTable, *, both_strands: bool) -> Tensor:
        """Return the scaled numbers; a reverse complement has those of its sequence."""
        scaled = ((self.truth(table) - self.mean) / self.scale).astype(np.float32)
        targets = torch.from_numpy(scaled)
        return targets.repeat(2, 1) if both_strands else targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of the targets that are known, on their training scale."""
        outputs = _precise(outputs)
        return regression_loss(outputs, targets.to(outputs.dtype), self.config.loss.regression)

    def metrics(self, scores: NDArray[np.float64], truth: NDArray[np.float64]) -> Metrics:
        """Return the metrics of numbers on the scale of the data."""
        return metrics_of_numbers(scores, truth, self.names)

    def own_scale(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return numbers of a model under training on the scale of the data."""
        return scores * self.scale + self.mean

    def finish(self, model: HeadModel) -> HeadModel:
        """Fold the scaling into the last linear map."""
        assert isinstance(model, SequenceModel)
        layer = model.head.output_transform
        scale, mean = (torch.from_numpy(values).to(layer.weight) for values in (self.scale, self.mean))
        with torch.no_grad():
            layer.weight.mul_(scale[:, None])
            layer.bias.mul_(scale).add_(mean)
        return model

    def extra_head_settings(self) -> dict[str, Any]:
        """Return that counts are predicted by their logarithm."""
        return {"link": "log"} if self.is_counts else {}


_OBJECTIVES: Mapping[str, type[Objective]] = {
    "classifier": Classification,
    "variant_classifier": Classification,
    "token_classifier": BaseClassification,
    "multilabel": MultiLabel,
    "regressor": Regression,
}


def objective_of(config: FinetuneConfig, train: ExampleTable) -> Objective:
    """Return what the head of a config is trained for.

    Raises:
        ConfigError: if the config does not fit the classes.
    """
    return _OBJECTIVES[config.head.kind](config, train)


def _precise(outputs: Tensor) -> Tensor:
    """Return outputs in fp32 at least; the solver of a linear probe has them in fp64."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def _base_table(table: ExampleTable) -> BaseTable:
    assert isinstance(table, BaseTable)
    return table


def _target_table(table: ExampleTable) -> TargetTable:
    assert isinstance(table, TargetTable)
    return table
