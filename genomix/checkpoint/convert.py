"""Checkpoints from one layout to another, with a report of what was found, assumed, left out and lost."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from genomix.checkpoint.describe import Choices, Described, describe, from_layout, to_foreign
from genomix.checkpoint.files import CONFIG_FILE, write_json
from genomix.checkpoint.foreign import LAYOUTS, Foreign, Layout, open_foreign
from genomix.checkpoint.native import build_from_settings, write_folder
from genomix.checkpoint.shards import INDEX_FILE, WEIGHTS_FILE, write_tensors
from genomix.checkpoint.shipped import located, name_of
from genomix.checkpoint.strict import check_fits
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.infer import settings_for_hugging_face
from genomix.models.registry import MODELS
from genomix.provenance import run_record
from genomix_data.atomic import atomic_file, atomic_folder
from genomix_data.errors import ConfigError, preview
from genomix_data.tokenizers import tokenizer_from_dict

CHECKED_BYTES = 2 * 10**9
"""Models up to this size are mapped back and compared bit by bit; larger ones would need their size in memory."""
CHECKPOINT_FILES = (CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE, "model-*-of-*.safetensors", "README.md")
"""What a folder that a conversion writes may hold; one that holds something else is not replaced."""


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """What a conversion did.

    Attributes:
        source: What was read.
        source_layout: Its layout.
        source_sha256: Of the file.
        output: What was written.
        layout: Its layout.
        model_type: Family.
        matches: Registered sizes of these shapes.
        is_published_file: The registered size whose published file this is, by its SHA-256.
        n_tensors, n_bytes: That were written.
        dtypes: How many tensors of each dtype.
        config: Of the model.
        notes: What was assumed, added or left out, and why.
        dropped: What the file held besides weights.
        is_lossless: Whether mapping the result back gives every tensor bit for bit; None where it was not checked.
        changed: Tensors that would come back differently, or not at all.
    """

    source: str
    source_layout: Layout
    source_sha256: str
    output: str
    layout: Layout
    model_type: str
    matches: list[str]
    is_published_file: str | None
    n_tensors: int
    n_bytes: int
    dtypes: dict[str, int]
    config: dict[str, Any]
    notes: list[str]
    dropped: list[str]
    is_lossless: bool | None
    changed: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return asdict(self)


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    to: Layout = "native",
    choices: Choices | None = None,
) -> ConversionReport:
    """Write a checkpoint in another layout, and return what was done.

    ``native`` and ``hyenadna-hf`` are folders; the others are one file, safetensors where its name ends so, else a
    pickle of plain tensors. Tensors keep their dtypes. Native folders are written tensor by tensor.

    Args:
        source: File, folder, or first part of a split file; its layout is read off its keys. Or a shipped model's name.
        output: File or folder; replaced if it is there.
        to: The layout to write.
        choices: What the checkpoint does not say.

    Raises:
        UnsafePickleError: if the file asks for code; nothing of it has run.
        CheckpointError: if it is damaged, of no known layout, or does not fit its config key by key.
        ConfigError: if what is needed is neither in it nor chosen, or ``to`` cannot hold it.
    """
    if to not in LAYOUTS:
        raise ConfigError(f"layout {to!r} is not known; there are {', '.join(LAYOUTS)}.")
    out, read = Path(output), located(source)
    if out.exists() and read.exists() and out.resolve() == read.resolve():
        raise ConfigError(f"{str(out)!r} is what is read; give another output.")
    _refuse_foreign_folder(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with open_foreign(read, out.parent) as foreign:
        found = describe(foreign, choices or Choices())
        with torch.device("meta"):
            model = build_from_settings(read, found.config, found.head_info)
        check_fits(model.state_dict(), found.tensors, read)
        foreign_tensors = to_foreign(found.tensors, found.config, to)
        changed = _changed(foreign, found, foreign_tensors, to)
        report = _report(foreign, found, foreign_tensors, changed, out, to)
        _write(out, found, foreign_tensors, to, report)
    return report


def _refuse_foreign_folder(out: Path) -> None:
    """Raise a ConfigError if a folder would be replaced that holds more than a checkpoint of an earlier conversion."""
    if out.is_dir():
        other = sorted(
            entry.name for entry in out.iterdir() if not any(entry.match(name) for name in CHECKPOINT_FILES)
        )
        if other:
            raise ConfigError(
                f"the output folder {str(out)!r} holds {preview(other)}, which would be lost: a checkpoint is a "
                "folder of its own. Choose another output."
            )


def _write(
    out: Path, found: Described, tensors: Mapping[str, Tensor], to: Layout, report: ConversionReport
) -> None:
    if to == "native":
        write_folder(
            out,
            tensors.items(),
            config=found.config,
            head_info=found.head_info,
            tokenizer=tokenizer_from_dict(found.tokenizer),
            provenance=run_record(conversion={**report.to_dict(), "config": None}),
            card=_card(report),
            compute_dtype=found.compute_dtype,
        )
    elif to == "hyenadna-hf":
        assert isinstance(found.config, HyenaDNAConfig)
        with atomic_folder(out) as fresh:
            write_tensors(fresh, tensors.items())
            write_json(fresh / CONFIG_FILE, settings_for_hugging_face(found.config))
    else:
        with atomic_file(out) as temporary:
            if out.suffix == ".safetensors":
                save_file(_owned(tensors), temporary, metadata={"format": "pt"})
            elif to == "hyenadna-lightning":
                torch.save({"state_dict": _owned(tensors), "epoch": 0, "global_step": 0}, temporary)
            else:
                torch.save(_owned(tensors), temporary)


def _owned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _changed(
    foreign: Foreign, found: Described, written: Mapping[str, Tensor], to: Layout
) -> list[str] | None:
    """Return the tensors that the way back would not give bit for bit; None for a model too large to compare."""
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in found.tensors.values())
    if n_bytes > CHECKED_BYTES:
        return None
    back = from_layout(written, found.config, to)
    changed = _differences(found.tensors, back)
    if foreign.layout != "native":
        again = to_foreign(found.tensors, found.config, foreign.layout)
        changed += _differences(foreign.tensors, again)
    return changed


def _differences(expected: Mapping[str, Tensor], actual: Mapping[str, Tensor]) -> list[str]:
    def differs(name: str, tensor: Tensor) -> bool:
        other = actual.get(name)
        return other is None or other.dtype != tensor.dtype or not torch.equal(other, tensor)

    return [name for name, tensor in expected.items() if differs(name, tensor)]


def _report(
    foreign: Foreign,
    found: Described,
    written: Mapping[str, Tensor],
    changed: list[str] | None,
    out: Path,
    to: Layout,
) -> ConversionReport:
    dtypes: dict[str, int] = {}
    for tensor in written.values():
        name = str(tensor.dtype).removeprefix("torch.")
        dtypes[name] = dtypes.get(name, 0) + 1
    notes = list(found.notes)
    if to in ("vortex", "savanna") and any(name.endswith("_scale") for name in found.tensors):
        notes.append(
            f"left out: scales of 8-bit projections, which {to} keeps in pickled objects of another library"
        )
    if "savanna" in (to, foreign.layout):
        notes.append(
            "savanna holds poles as p and gamma and filters as h and decay; only their combinations matter, and on the "
            "way to savanna gamma = 0 and decay = 1 are chosen"
        )
    if found.head_info is None and to == "hyenadna-standalone":
        notes.append("left out: lm_head.weight, which that layout does not have")
    return ConversionReport(
        source=name_of(foreign.path),
        source_layout=foreign.layout,
        source_sha256=foreign.sha256,
        output=str(out),
        layout=to,
        model_type=foreign.model_type,
        matches=found.matches,
        is_published_file=_published(foreign.sha256),
        n_tensors=len(written),
        n_bytes=sum(tensor.numel() * tensor.element_size() for tensor in written.values()),
        dtypes=dtypes,
        config=found.config.to_dict(),
        notes=notes,
        dropped=list(foreign.dropped),
        is_lossless=None if changed is None else not changed,
        changed=changed or [],
    )


def _published(digest: str) -> str | None:
    return next((row.name for row in MODELS.values() if digest in (row.sha256, row.original_sha256)), None)


def _card(report: ConversionReport) -> str:
    notes = "\n".join(f"- {note}" for note in report.notes) or "- nothing had to be assumed"
    matches = ", ".join(report.matches) or "no registered size"
    return f"""# {Path(report.output).name}

Converted by genomix from `{Path(report.source).name}`, {report.source_layout} layout,
SHA-256 `{report.source_sha256}`.

| | |
|---|---|
| model | {report.model_type}; shapes of {matches} |
| tensors | {report.n_tensors:,}, {report.n_bytes:,} bytes |

{notes}
"""
