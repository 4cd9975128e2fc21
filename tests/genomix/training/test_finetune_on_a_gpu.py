"""All weights of the model that ships on a GPU: a run as a user starts it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from genomix.inference.examples import Examples
from genomix.training.finetune import finetune
from genomix.training.results import FinetuneResult
from genomix_configs.compose import compose
from genomix_data.tokenizers import CharTokenizer
from tests.genomix.training_helpers import letters, write_table

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]

LENGTH = 70  # no multiple of what kernels load at once


def _rows(n: int, seed: int) -> list[tuple[str, str]]:
    weights = (0.1, 0.4, 0.4, 0.1), (0.35, 0.15, 0.15, 0.35)
    return [(letters(LENGTH, seed * 1000 + i, weights[i % 2]), ("gc", "at")[i % 2]) for i in range(n)]


def _run(folder: Path, *overrides: str) -> FinetuneResult:
    train, test = (
        write_table(folder / "train.csv", _rows(160, 1)),
        write_table(folder / "test.csv", _rows(60, 2)),
    )
    config, _ = compose(
        "finetune",
        [
            f"data.train={train}",
            f"data.test={test}",
            "data.batch_size=16",
            "trainer.max_epochs=3",
            "optimizer.lr=6e-4",
            *overrides,
        ],
    )
    return finetune(config, folder / "run", progress=False)


@pytest.mark.parametrize("with_graphs", [False, True])
def test_the_model_that_ships_learns_an_easy_task(with_graphs: bool, tmp_path: Path) -> None:
    result = _run(tmp_path, "trainer.device=cuda", f"trainer.cuda_graphs={str(with_graphs).lower()}")
    assert result.test.auroc is not None
    assert result.test.auroc > 0.95


def test_batches_are_looked_up_where_the_tokens_are() -> None:
    ids = [CharTokenizer().encode(row) for row, _ in _rows(5, 3)]
    examples = Examples([ids], CharTokenizer(), device="cuda")
    rows = np.array([3, 1])
    width, is_even = examples.extent(rows)
    batch = examples.batch(examples.locate(rows), width, is_even=is_even)
    assert batch.ids.is_cuda
    assert batch.ids.cpu().tolist() == [ids[3].tolist(), ids[1].tolist()]
