"""The log of a pretraining run: metrics.csv, and the boards that are asked for.

A row is written when its numbers have come from the device, which is one row later on a GPU: no step waits for the log.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genomix.training.boards import Board
from genomix.training.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is logged after some steps.

    Args:
        step: Steps done.
        epoch: Passes over the training windows.
        lr: Learning rate of the last step.
        tokens_per_second: Speed since the row before.
        n: Losses in ``sums``.
        sums: On the way from the device: the sum of the losses since the row before, the gradient's norm.
        arrived: Waits for them.
    """

    step: int
    epoch: float
    lr: float
    tokens_per_second: float
    n: int
    sums: Tensor
    arrived: Callable[[], object]


class MetricsLog:
    """Writes rows.

    Args:
        folder: The run folder, whose metrics.csv was begun.
        boards: That show the same numbers.
    """

    def __init__(self, folder: RunFolder, boards: Sequence[Board] = ()) -> None:
        self.folder = folder
        self._waiting: Row | None = None
        self._boards = tuple(boards)

    def add(self, row: Row, *, now: bool) -> dict[str, float]:
        """Take a row, and return the numbers of the last one written: ``loss``, ``bits_per_base``, ``step``.

        Args:
            row: The next row; it is written when the one after it comes.
            now: Write it at once.
        """
        written = self.flush()
        self._waiting = row
        return self.flush() if now else written

    def flush(self) -> dict[str, float]:
        """Write the row that waits, if any, and return its numbers."""
        row, self._waiting = self._waiting, None
        if row is None:
            return {}
        row.arrived()
        total, grad_norm = row.sums.tolist()
        loss = total / row.n
        bits = loss / math.log(2)
        self.folder.add_metrics(
            {
                "step": row.step,
                "epoch": f"{row.epoch:.4f}",
                "loss": repr(loss),
                "bits_per_base": f"{bits:.6f}",
                "lr": repr(row.lr),
                "grad_norm": f"{grad_norm:.6g}",
                "tokens_per_second": f"{row.tokens_per_second:.0f}",
            }
        )
        numbers = {"loss": loss, "bits_per_base": bits, "lr": row.lr, "grad_norm": grad_norm}
        self._show(row.step, {**numbers, "tokens_per_second": row.tokens_per_second})
        return {**numbers, "step": row.step, "tokens_per_second": row.tokens_per_second}

    def add_validation(self, step: int, epoch: float, bits: float) -> None:
        """Write a row of the validation after ``step`` steps."""
        self.flush()
        self.folder.add_metrics({"step": step, "epoch": f"{epoch:.4f}", "valid_bits_per_base": repr(bits)})
        self._show(step, {"valid_bits_per_base": bits})

    def close(self) -> None:
        """Write what waits and let go of the files."""
        self.flush()
        for board in self._boards:
            board.close()

    def _show(self, step: int, values: Mapping[str, float]) -> None:
        for board in self._boards:
            board.show(step, values)


def on_its_way(values: Tensor) -> tuple[Tensor, Callable[[], object]]:
    """Return a copy of a tensor on the CPU, and what waits until it is there; the device goes on meanwhile."""
    if not values.is_cuda:
        return values.clone(), _nothing
    there = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    there.copy_(values, non_blocking=True)
    event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    wait: Callable[[], object] = event.synchronize
    return there, wait


def _nothing() -> None:
    """Wait for nothing."""
