"""How processes are arranged, and what is said when they cannot be."""

import os
import subprocess
import sys

import pytest

from genomix.parallel.shape import MeshShape
from genomix_data.errors import ConfigError


def test_data_takes_the_processes_that_are_left() -> None:
    shape = MeshShape(shard=2, context=2).settled(12)
    assert shape.sizes == (3, 2, 2)
    assert shape.n_processes == 12
    assert shape.n_batch_parts == 6
    assert str(shape) == "data 3 x shard 2 x context 2"
    assert MeshShape().settled(1).n_processes == 1


@pytest.mark.parametrize(
    ("shape", "n", "message"),
    [
        (
            MeshShape(context=2),
            1,
            "needs a multiple of 2 processes, and there is 1. Start them with: torchrun",
        ),
        (MeshShape(context=2), 3, "needs a multiple of 2 processes, and there are 3"),
        (MeshShape(data=2, context=2), 2, "parallel.data=2 x parallel.shard=1 x parallel.context=2 needs 4"),
    ],
)
def test_a_number_of_processes_that_does_not_fit(shape: MeshShape, n: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shape.settled(n)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": 0}, "parallel.context is 0; it must be a whole number of at least 1"),
        ({"data": True}, "parallel.data is True"),
        (
            {"shard": 2, "strategy": "ddp"},
            "parallel.strategy=ddp keeps parameters whole, and parallel.shard=2",
        ),
        ({"data": 2, "strategy": "fsdp"}, "both are 1; raise parallel.shard"),
    ],
)
def test_shapes_that_mean_nothing(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MeshShape(**settings)  # type: ignore[arg-type]


def test_parameters_are_shared_where_asked() -> None:
    assert not MeshShape(data=2, context=2).shards_parameters
    assert MeshShape(shard=2).shards_parameters
    assert MeshShape(context=2, strategy="fsdp").shards_parameters


def test_lengths_and_batches_that_cannot_be_shared_are_refused_with_ones_that_can() -> None:
    shape = MeshShape(data=2, shard=2, context=3)
    shape.check_seqlen(9)
    shape.check_batch(8)
    with pytest.raises(ConfigError, match="take 9 or 12"):
        shape.check_seqlen(10)
    with pytest.raises(ConfigError, match="counts the windows of all ranks together: take 8"):
        shape.check_batch(6)


def test_a_shape_costs_no_torch() -> None:
    code = "import sys, genomix.parallel.shape; print('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
