"""Probing: a small model on frozen embeddings, each computed once.

Validation chooses the L2 strength of the linear model, or the epoch of the MLP. What is found goes into the head of the
model as it stands in a checkpoint, so that a probe is saved, evaluated and used like any other model.
"""

import time
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from genomix.heads.build import HeadModel
from genomix.heads.sequence_model import PooledHead, SequenceModel
from genomix.inference.examples import Examples
from genomix.inference.head_scores import meaning
from genomix.training.device import seed_device
from genomix.training.embeddings import pooled_embeddings
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.finetune_method import ProbeConfig
from genomix.training.linear_probe import LinearFit, LinearProblem, Scaling
from genomix.training.metrics import rank
from genomix.training.objectives import Classification, MultiLabel, Objective
from genomix.training.results import EpochPoint, LossPoint
from genomix.training.screen import Screen
from genomix_data.errors import ConfigError
from genomix_data.sampler import mix64

_ORDER, _DROPOUT = 11, 12  # keep these seeds apart from each other


class Probe:
    """Fits a head to frozen embeddings and remembers the one that was best on validation.

    Args:
        config: What to run; its method is a `ProbeConfig`.
        screen: Where to speak.
        model: On the device; its backbone stays as it is.
        objective: What it is fitted for.
        train: Training sequences; with ``data.rc_augment`` each is seen on both strands.
        targets: What the objective made of their labels.
        valid: Validation sequences.
        valid_truth: What the objective compares their scores with.
        device: Where to embed and to fit.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        screen: Screen,
        *,
        model: HeadModel,
        objective: Objective,
        train: Examples,
        targets: Tensor,
        valid: Examples,
        valid_truth: NDArray[Any],
        device: torch.device,
    ) -> None:
        assert isinstance(config.method, ProbeConfig)
        assert isinstance(model, SequenceModel), "checked by the config"
        self.config = config
        self.method = config.method
        self.screen = screen
        self.model = model.requires_grad_(False)
        self.objective = objective
        self.train = train
        self.targets = targets.to(device)
        self.valid = valid
        self.valid_truth = valid_truth
        self.device = device
        self.history: list[LossPoint] = []
        self.validation: list[EpochPoint[Any]] = []
        self.best: EpochPoint[Any] | None = None
        self.train_seconds = 0.0
        self.n_seen = 0

    def run(self) -> None:
        """Embed, fit, and put the best head into the model; an interrupt raises as usual."""
        started = time.perf_counter()
        strands, both = (2 if self.config.data.rc_augment else 1), self.config.head.both_strands
        n_sequences = strands * self.train.n + (2 if both else 1) * self.valid.n
        with self.screen.bar("embed", n_sequences, "sequence") as bar:

            def advance(n: int) -> None:
                self.n_seen += n
                bar.update(self.n_seen, {})

            train = pooled_embeddings(self.model, self.train, both_strands=strands == 2, advance=advance)
            valid = pooled_embeddings(self.model, self.valid, both_strands=both, advance=advance)
        _check_finite(train)
        features = torch.from_numpy(train).to(self.device)
        scaling = Scaling.of(features)
        held_out = scaling(torch.from_numpy(valid).to(self.device))
        fit = self._fit_linear if self.method.classifier == "logistic" else self._fit_mlp
        self.model.head.load_state_dict(fit(scaling(features), held_out, scaling))
        self.train_seconds = time.perf_counter() - started

    @property
    def chosen(self) -> str:
        """What validation chose, in words."""
        assert self.best is not None
        if self.best.l2 is None:
            return f"epoch {self.best.epoch} of {self.validation[-1].epoch}"
        return f"L2 strength {self.best.l2:g} of {len(self.validation)}"

    def _fit_linear(self, features: Tensor, held_out: Tensor, scaling: Scaling) -> dict[str, Tensor]:
        best: LinearFit | None = None
        fit: LinearFit | None = None
        # from strong to weak: each optimum is a good start for the next, and of equal ones the simplest stays
        problem = LinearProblem(features, len(self.objective.names), self._loss)
        for number, strength in enumerate(sorted(self.method.strengths, reverse=True), start=1):
            fit = problem.fit(strength, start=fit)
            if not fit.is_solved:
                self.screen.say(
                    f"  note: L2 strength {strength:g} stopped after {fit.iterations:,} iterations with a gradient of "
                    f"{fit.gradient:.1e}",
                    style="dim",
                )
            outputs = held_out @ fit.weight.T + fit.bias
            if self._validate(outputs, epoch=number, step=fit.iterations, loss=fit.loss, l2=strength):
                best = fit
        assert best is not None
        weight, bias = scaling.fold(best.weight, best.bias)
        return {"output_transform.weight": weight.float(), "output_transform.bias": bias.float()}

    def _loss(self, outputs: Tensor) -> Tensor:
        """Return the mean loss of all rows in the precision of the outputs: the solver works in fp64."""
        if isinstance(self.objective, Classification | MultiLabel):
            return self.objective.loss(outputs, self.targets)
        return self.objective.loss(outputs, self.targets) / 2

    def _fit_mlp(self, features: Tensor, held_out: Tensor, scaling: Scaling) -> dict[str, Tensor]:
        trainer, optimizer, batch_size = (
            self.config.trainer,
            self.config.optimizer,
            self.config.data.batch_size,
        )
        features, held_out = features.float(), held_out.float()
        dropout = self.config.head.dropout
        head = PooledHead(features.shape[1], len(self.objective.names), dropout, self.method.hidden).to(
            self.device
        )
        adamw = torch.optim.AdamW(
            head.parameters(),
            optimizer.lr,
            optimizer.betas_for(self.model.config),
            optimizer.eps,
            optimizer.weight_decay,
        )
        best: dict[str, Tensor] = {}
        step = 0
        for epoch in range(1, trainer.max_epochs + 1):
            head.train()
            order = torch.from_numpy(
                np.random.default_rng(mix64(trainer.seed, epoch, _ORDER)).permutation(len(features))
            ).to(self.device)
            total = torch.zeros((), device=self.device)
            for rows in torch.split(order, batch_size):
                seed_device(mix64(trainer.seed, step, _DROPOUT) >> 1, self.device)
                with torch.enable_grad():
                    loss = self.objective.loss(head(features[rows]), self.targets[rows])
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
        self, outputs: Float[Tensor, "n C"], *, epoch: int, step: int, loss: float, l2: float | None = None
    ) -> bool:
        """Score the validation set and return whether this is the best so far."""
        scores = meaning(self.model, outputs)
        if self.config.head.both_strands:
            scores = scores.view(2, self.valid.n, -1).mean(dim=0)
        metrics = self.objective.metrics(self.objective.own_scale(scores.cpu().numpy()), self.valid_truth)
        point = EpochPoint(epoch=epoch, step=step, train_loss=loss, metrics=metrics, l2=l2)
        self.validation.append(point)
        monitor = self.config.monitor
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
