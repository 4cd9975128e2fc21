"""Foreign pickles give their tensors, and nothing in them runs."""

import argparse
import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from genomix.checkpoint.foreign import scales_of
from genomix.checkpoint.unpickle import Stub, UnsafePickleError, load_foreign, load_foreign_bytes
from genomix_data.errors import CheckpointError
from tests.genomix.golden import FIXTURES, tensors


class Malicious:
    """Runs a command when it is unpickled, as real attacks do."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_code_in_a_checkpoint_is_refused_and_never_runs(tmp_path: Path, new_format: bool) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "evil.pt"
    torch.save(
        {"weight": torch.ones(2), "evil": Malicious(f"touch {marker}")},
        path,
        _use_new_zipfile_serialization=new_format,
    )
    with pytest.raises(UnsafePickleError, match=r"asks for (posix|nt)\.system, which weights do not need"):
        load_foreign(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the file does what it is meant to do"


def test_a_bare_pickle_inside_is_no_way_around(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    inner = pickle.dumps({"scale_fwd": Malicious(f"touch {marker}")})
    for extra_state in (io.BytesIO(inner), torch.frombuffer(bytearray(inner), dtype=torch.uint8)):
        with pytest.raises(UnsafePickleError, match="refused"):
            scales_of(extra_state)
    nested = io.BytesIO()
    torch.save({"x": Malicious(f"touch {marker}")}, nested)

    class LoadsBytes:
        def __reduce__(self) -> tuple[object, tuple[bytes]]:
            return torch.storage._load_from_bytes, (nested.getvalue(),)

    with pytest.raises(UnsafePickleError, match="refused"):
        load_foreign_bytes(pickle.dumps(LoadsBytes()))
    assert not marker.exists()


@pytest.mark.parametrize("name", ["eval", "exec", "getattr", "__import__", "open"])
def test_builtins_that_run_or_reach_are_refused(name: str) -> None:
    with pytest.raises(UnsafePickleError, match=rf"builtins\.{name}"):
        load_foreign_bytes(f"cbuiltins\n{name}\n.".encode())


def test_an_official_training_checkpoint(tmp_path: Path) -> None:
    content = load_foreign(FIXTURES / "lightning_like.ckpt")
    assert isinstance(content["hyper_parameters"], Stub)
    expected = tensors("lm_repo.safetensors")
    for name, tensor in expected.items():  # one step of weight decay apart
        torch.testing.assert_close(content["state_dict"][f"model.{name}"], tensor, rtol=1e-5, atol=0)


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool], ids=str)
def test_tensors_of_every_kind(tmp_path: Path, new_format: bool, dtype: torch.dtype) -> None:
    base = torch.arange(12).reshape(3, 4).to(dtype)
    content = OrderedDict(
        a=base,
        view=base[1:, ::2],
        parameter=torch.nn.Parameter(torch.ones(2)),
        number=3,
        args=argparse.Namespace(x=1),
    )
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=new_format)
    back = load_foreign(tmp_path / "x.pt")
    assert torch.equal(back["a"], base)
    assert torch.equal(back["view"], base[1:, ::2])
    assert back["number"] == 3
    assert isinstance(back["args"], Stub)


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "m.pt")
    with pytest.raises(UnsafePickleError, match="is a TorchScript archive, which is a program"):
        load_foreign(tmp_path / "m.pt")


@pytest.mark.parametrize("keep", [0, 10, 5000, -50])
def test_a_truncated_file_says_so(tmp_path: Path, keep: int) -> None:
    whole = (FIXTURES / "lightning_like.ckpt").read_bytes()
    path = tmp_path / "cut.ckpt"
    path.write_bytes(whole[:keep])
    with pytest.raises(CheckpointError, match="truncated, damaged, or something else"):
        load_foreign(path)


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a file"):
        load_foreign(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match=r"cannot be read as a PyTorch checkpoint|refused"):
        load_foreign(tmp_path / "text.pt")


@pytest.mark.parametrize("kind", ["BytesIO", "bytes", "tensor"])
def test_scales_of_8_bit_projections(kind: str) -> None:
    state = {"scale_fwd": torch.tensor([4.0, 128.0, 1.0]), "amax_history_fwd": torch.zeros(16, 3)}
    saved = io.BytesIO()
    torch.save(state, saved)
    pickled = pickle.dumps(state)
    extra_state: object = {
        "BytesIO": saved,
        "bytes": pickled,
        "tensor": torch.frombuffer(bytearray(pickled), dtype=torch.uint8),
    }[kind]
    found = scales_of(extra_state)
    assert found is not None
    assert [float(scale) for scale in found] == [4.0, 128.0]


def test_no_scales_where_there_are_none() -> None:
    assert scales_of(None) is None
    assert scales_of(io.BytesIO()) is None
    assert scales_of(pickle.dumps({"recipe": 1})) is None
