"""Foreign PyTorch checkpoints (``.pt``, ``.ckpt``, ``.bin``) opened without running what is inside them.

A pickle is a program. This one may only build tensors, numbers, text and containers; objects of libraries that training
codes leave beside the weights (OmegaConf settings, Lightning callbacks) become inert `Stub` values; any other name that
the file asks for is refused, and nothing of it is imported.
"""

import collections
import io
import os
import pickle
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from genomix_data.errors import CheckpointError


class UnsafePickleError(CheckpointError):
    """A checkpoint asks for code that no checkpoint needs."""


class Stub:
    """Stands for an object of a library that is not needed to read weights; holds what it was made of, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.kwargs = kwargs
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.kwargs[key] = value

    def append(self, value: Any) -> None:
        """Take an item, as a list would."""
        self.args = (*self.args, value)

    def extend(self, values: Any) -> None:
        """Take items, as a list would."""
        self.args = (*self.args, *values)


_PLAIN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("_codecs", "encode"): None,  # bytes written by protocol 2; see _encode
    ("_io", "BytesIO"): io.BytesIO,
    ("io", "BytesIO"): io.BytesIO,
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")
        for kind in (
            dict,
            list,
            set,
            frozenset,
            tuple,
            int,
            float,
            complex,
            bool,
            str,
            bytes,
            bytearray,
            slice,
        )
    },
    ("__builtin__", "long"): int,
    ("__builtin__", "unicode"): str,
}

_TORCH_FUNCTIONS = frozenset(
    {
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_tensor_v3"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch._tensor", "_rebuild_from_type_v2"),
        ("torch.nn.parameter", "Parameter"),
        ("torch", "Size"),
        ("torch", "Tensor"),
        ("torch", "device"),
        ("torch.serialization", "_get_layout"),
    }
)

_STUBBED_PACKAGES = frozenset(
    {
        "omegaconf",
        "pytorch_lightning",
        "lightning",
        "lightning_fabric",
        "torchmetrics",
        "transformer_engine",
        "transformers",
        "argparse",
        "typing",
        "pathlib",
        "numpy",
        "deepspeed",
        "megatron",
        "hydra",
    }
)


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise UnsafePickleError(
            f"the checkpoint encodes text as {encoding!r}, which no checkpoint does; refused."
        )
    return text.encode("latin1")


class RestrictedUnpickler(pickle.Unpickler):
    """Builds tensors and plain values; stubs known libraries' objects; refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what the pickle may use under this name.

        Raises:
            UnsafePickleError: if it may not use it.
        """
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return load_foreign_bytes
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        if (module, name) in _TORCH_FUNCTIONS:
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module in ("torch", "torch.storage") and name.isidentifier() and name.endswith("Storage"):
            return super().find_class(module, name)
        if module.split(".")[0] in _STUBBED_PACKAGES:
            return type(name, (Stub,), {"__module__": module})
        raise UnsafePickleError(
            f"the checkpoint asks for {module}.{name}, which weights do not need and which could run code; refused. "
            "Get the file from its publisher again, or ask for one in safetensors."
        )


def _restricted_load(file: Any, **options: Any) -> Any:
    return RestrictedUnpickler(file, **options).load()


_PICKLE_MODULE = types.ModuleType("genomix_restricted_pickle")
_PICKLE_MODULE.Unpickler = RestrictedUnpickler  # type: ignore[attr-defined]
_PICKLE_MODULE.load = _restricted_load  # type: ignore[attr-defined]


def load_foreign(path: str | os.PathLike[str], *, mmap: bool = True) -> Any:
    """Return what a PyTorch checkpoint holds, with tensors on the CPU.

    Args:
        path: File written by ``torch.save``, of either format.
        mmap: Leave tensors on disk until they are used, so that a checkpoint larger than memory can be converted.

    Raises:
        UnsafePickleError: if the file asks for code; nothing of it has run.
        CheckpointError: if it is missing, truncated, TorchScript, or no checkpoint.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"{str(file)!r} is not a file. Check the path.")
    is_zip = zipfile.is_zipfile(file)
    return _load(file, repr(str(file)), mmap=mmap and is_zip)


_LEGACY = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
"""What a file begins with that ``torch.save`` wrote in its old format."""


def load_foreign_bytes(data: bytes) -> Any:
    """Return what ``torch.save`` or ``pickle.dumps`` wrote into a string of bytes; see `load_foreign`."""
    name = "a part of the checkpoint"
    buffer = io.BytesIO(data)
    if zipfile.is_zipfile(buffer) or data.startswith(_LEGACY):
        return _load(buffer, name, mmap=False)
    return _read(lambda: RestrictedUnpickler(io.BytesIO(data)).load(), name)


def _load(file: Path | io.BytesIO, name: str, *, mmap: bool) -> Any:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(entry.endswith("/constants.pkl") for entry in archive.namelist()):
                raise UnsafePickleError(
                    f"{name} is a TorchScript archive, which is a program. Save its state_dict instead."
                )
    if isinstance(file, io.BytesIO):
        file.seek(0)
    return _read(
        lambda: torch.load(
            file, map_location="cpu", pickle_module=_PICKLE_MODULE, weights_only=False, mmap=mmap
        ),
        name,
    )


def _read(read: Callable[[], Any], name: str) -> Any:
    try:
        return read()
    except CheckpointError:
        raise
    except (
        pickle.UnpicklingError,
        EOFError,
        RuntimeError,
        KeyError,
        ValueError,
        AttributeError,
        TypeError,
        OSError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"{name} cannot be read as a PyTorch checkpoint ({reason}). It is truncated, damaged, or something else; "
            "compare its size and checksum with the publisher's."
        ) from error
