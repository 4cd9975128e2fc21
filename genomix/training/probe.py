"""Probing: a small classifier on frozen embeddings, each computed once.

Validation chooses the L2 strength of the logistic regression, or the epoch of the MLP. What is found goes into the
head of the model as it stands in a checkpoint, so that a probe is saved, evaluated and used like any classifier.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from genomix.heads.classifier import SequenceClassifier
from genomix.heads.sequence_model import PooledHead
from genomix.training.embeddings import pooled_embeddings
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.finetune_method import ProbeConfig
from genomix.training.linear_probe import LogisticFit, LogisticProblem, Scaling
from genomix.training.losses import classification_loss
from genomix.training.metrics import ClassificationMetrics, classification_metrics, rank
from genomix.training.results import EpochPoint, LossPoint
from genomix.training.screen import Screen
from genomix_data.errors import ConfigError
from genomix_data.sampler import mix64
from genomix_data.table_dataset import LabelledSequences, complement_table

_ORDER, _DROPOUT = 11, 12  # keep these seeds apart from each other


class Probe:
    """Fits a head to frozen embeddings and remembers the one that was best on validation.

    Args:
        config: What to run; its method is a `ProbeConfig`.
        screen: Where to speak.
        model: A classifier on the device; its backbone stays as it is.
        train: Training sequences; with ``rc_augment`` each is seen on both strands.
        valid_ids: Token ids of the validation sequences.
        valid_labels: Their class indices.
        class_names: Names of the classes.
        device: Where to embed and to fit.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        screen: Screen,
        *,
        model: SequenceClassifier,
        train: LabelledSequences,
        valid_ids: Sequence[NDArray[np.uint8]],
        valid_labels: NDArray[np.int64],
        class_names: Sequence[str],
        device: torch.device,
    ) -> None:
        assert isinstance(config.method, ProbeConfig)
        self.config = config
        self.method = config.method
        self.screen = screen
        self.model = model.requires_grad_(False)
        self.train = train
        self.valid_ids = valid_ids
        self.valid_labels = valid_labels
        self.class_names = tuple(class_names)
        self.device = device
        self.history: list[LossPoint] = []
        self.validation: list[EpochPoint] = []
        self.best: EpochPoint | None = None
        self.train_seconds = 0.0
        self.n_seen = 0
        self._weights = config.loss.weights(train.labels, self.class_names)

    def run(self) -> int | None:
        """Embed, fit, and put the best head into the model; an interrupt raises as usual."""
        started = time.perf_counter()
        data = self.config.data
        ids = list(self.train.ids)
        labels = np.tile(self.train.labels, 2 if data.rc_augment else 1)
        if data.rc_augment:
            flip = complement_table(self.train.tokenizer)
            ids += [flip[row[::-1]] for row in ids]
        pad_id = self.train.tokenizer.pad_id
        n_sequences = len(ids) + len(self.valid_ids)
        with self.screen.bar("embed", n_sequences, "sequence") as bar:

            def advance(n: int) -> None:
                self.n_seen += n
                bar.update(self.n_seen, {})

            train = pooled_embeddings(self.model, ids, pad_id, device=self.device, advance=advance)
            valid = pooled_embeddings(self.model, self.valid_ids, pad_id, device=self.device, advance=advance)
        _check_finite(train)
        features = torch.from_numpy(train).to(self.device)
        scaling = Scaling.of(features)
        inputs = scaling(features), torch.from_numpy(labels).to(self.device)
        held_out = scaling(torch.from_numpy(valid).to(self.device))
        fit = self._fit_logistic if self.method.classifier == "logistic" else self._fit_mlp
        self.model.head.load_state_dict(fit(*inputs, held_out, scaling))
        self.train_seconds = time.perf_counter() - started
        return None

    @property
    def chosen(self) -> str:
        """What validation chose, in words."""
        assert self.best is not None
        if self.best.l2 is None:
            return f"epoch {self.best.epoch} of {self.validation[-1].epoch}"
        return f"L2 strength {self.best.l2:g} of {len(self.validation)}"

    def _fit_logistic(
        self, features: Tensor, labels: Tensor, held_out: Tensor, scaling: Scaling
    ) -> dict[str, Tensor]:
        best: LogisticFit | None = None
        fit: LogisticFit | None = None
        # from strong to weak: each optimum is a good start for the next, and of equal ones the simplest stays
        problem = LogisticProblem(
            features,
            labels,
            len(self.class_names),
            class_weights=self._weights,
            label_smoothing=self.config.loss.label_smoothing,
        )
        for number, strength in enumerate(sorted(self.method.strengths, reverse=True), start=1):
            fit = problem.fit(strength, start=fit)
            if not fit.is_solved:
                self.screen.say(
                    f"  note: L2 strength {strength:g} stopped after {fit.iterations:,} iterations with a gradient of "
                    f"{fit.gradient:.1e}",
                    style="dim",
                )
            logits = held_out @ fit.weight.T + fit.bias
            if self._validate(logits, epoch=number, step=fit.iterations, loss=fit.loss, l2=strength):
                best = fit
        assert best is not None
        weight, bias = scaling.fold(best.weight, best.bias)
        return {"output_transform.weight": weight.float(), "output_transform.bias": bias.float()}

    def _fit_mlp(
        self, features: Tensor, labels: Tensor, held_out: Tensor, scaling: Scaling
    ) -> dict[str, Tensor]:
        trainer, optimizer, batch_size = (
            self.config.trainer,
            self.config.optimizer,
            self.config.data.batch_size,
        )
        features, held_out = features.float(), held_out.float()
        dropout = self.config.head.dropout
        head = PooledHead(features.shape[1], len(self.class_names), dropout, self.method.hidden).to(
            self.device
        )
        adamw = torch.optim.AdamW(
            head.parameters(), optimizer.lr, optimizer.betas, optimizer.eps, optimizer.weight_decay
        )
        weights = None if self._weights is None else self._weights.to(self.device)
        best: dict[str, Tensor] = {}
        step = 0
        for epoch in range(1, trainer.max_epochs + 1):
            head.train()
            order = torch.from_numpy(
                np.random.default_rng(mix64(trainer.seed, epoch, _ORDER)).permutation(len(features))
            ).to(self.device)
            total = torch.zeros((), device=self.device)
            for rows in torch.split(order, batch_size):
                torch.manual_seed(mix64(trainer.seed, step, _DROPOUT) >> 1)
                with torch.enable_grad():
                    loss = classification_loss(
                        head(features[rows]), labels[rows], weights, self.config.loss.label_smoothing
                    )
                    adamw.zero_grad()
                    torch.autograd.backward(loss)
                if trainer.clip is not None:
                    nn.utils.clip_grad_norm_(head.parameters(), trainer.clip)
                adamw.step()
                total += loss.detach() * len(rows)
                step += 1
            head.eval()
            with torch.no_grad():
                logits = head(held_out)
            if self._validate(logits, epoch=epoch, step=step, loss=float(total) / len(features)):
                best = {name: tensor.clone() for name, tensor in head.state_dict().items()}
            assert self.best is not None
            if trainer.patience is not None and epoch - self.best.epoch >= trainer.patience:
                break
        weight, bias = scaling.fold(best["hidden.weight"], best["hidden.bias"])
        return {**best, "hidden.weight": weight.float(), "hidden.bias": bias.float()}

    def _validate(
        self, logits: Float[Tensor, "n C"], *, epoch: int, step: int, loss: float, l2: float | None = None
    ) -> bool:
        """Score the validation set and return whether this is the best so far."""
        probabilities = logits.double().softmax(dim=1).cpu().numpy()
        metrics: ClassificationMetrics = classification_metrics(
            probabilities, self.valid_labels, self.class_names
        )
        point = EpochPoint(epoch=epoch, step=step, train_loss=loss, metrics=metrics, l2=l2)
        self.validation.append(point)
        monitor = self.config.trainer.monitor
        if self.best is not None and rank(metrics, monitor) <= rank(self.best.metrics, monitor):
            return False
        self.best = point
        return True


def _check_finite(embeddings: NDArray[np.float32]) -> None:
    wrong = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(wrong):
        raise ConfigError(
            f"the model gives embeddings that are not numbers for {len(wrong):,} of {len(embeddings):,} sequences; "
            "its weights are damaged or overflow. Check the checkpoint (genomix likelihood)."
        )
