"""What a score was computed from, as a key: the model, all settings that change a number, and the letters of windows.

Neither names of contigs nor coordinates are in it, nor anything of other variants: the same bases with the same edit
have the same score in every genome file and in every VCF. Which windows an allele has is a matter of its key too, so
that normalization, haplotypes, tiles and contig ends need no entry of their own among the settings.

Left out is what changes a score by no more than the contract allows: threads, the size of batches, the kernels.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from typing import Any

from genomix import __version__
from genomix.checkpoint.native import LoadedModel
from genomix.models.families import model_type_of
from genomix.operators.fp8 import ScaledLinear
from genomix.variant_effect.contract import OF_WHOLE_WINDOWS, ScoreOptions
from genomix.variant_effect.strands import StrandWindows
from genomix.variant_effect.substitutions import PlacedSubstitutions

KEY_BYTES = 16
"""128 bits: among a billion keys two are alike with a probability of 1e-21."""
_SUBSTITUTION, _ALLELE = b"S", b"A"
_EDIT = struct.Struct("<QB")
_PLACES = struct.Struct("<8Q")


def identity_of(model: LoadedModel) -> str:
    """Return the SHA-256 of all that makes a model: weights, config, tokenizer, head, and its precision as loaded."""
    parts = {
        "weights": model.sha256,
        "type": model_type_of(model.config),
        "config": model.config.to_dict(),
        "tokenizer": model.tokenizer.to_dict(),
        "head": model.head_info,
        "dtypes": sorted({str(parameter.dtype) for parameter in model.model.parameters()}),
        "runs_fp8": any(
            module.runs_fp8 for module in model.model.modules() if isinstance(module, ScaledLinear)
        ),
    }
    return hashlib.sha256(_as_json(parts).encode()).hexdigest()


def settings_of(
    model: str, options: ScoreOptions, *, window: int, device: str, shares: bool, head: str | None
) -> dict[str, Any]:
    """Return the settings that change a number.

    Args:
        model: SHA-256 of the model, by `identity_of`.
        options: Of the run.
        window: In bp.
        device: ``cpu`` or ``cuda``.
        shares: Whether ALT windows go on from REF windows.
        head: SHA-256 of the fine-tuned model, likewise.
    """
    has_distances = not {"cos", "l2"}.isdisjoint(options.scores)
    return {
        "genomix": __version__,
        "model": model,
        "window": window,
        "mode": options.mode,
        "horizon": options.horizon,
        "strand": options.strand,
        "reduce": options.reduce,
        "dtype": options.dtype,
        "device": device,
        "shares": shares,
        # llr, and the likelihoods that it is made of, are always there; z and rank are taken from it anew
        "more": sorted({"entropy", *OF_WHOLE_WINDOWS} & set(options.scores)),
        "layer": options.layer if has_distances else None,
        "head": head,
        "head_class": options.head_class,
    }


class AlleleKeys:
    """The keys of one run.

    Args:
        settings: By `settings_of`.

    Attributes:
        text: The settings as JSON.
        digest: Of them.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.text = _as_json(settings)
        self.digest = hashlib.blake2b(self.text.encode(), digest_size=32).digest()
        self._n_strands = 2 if settings["strand"] == "both" else 1
        self._begun = hashlib.blake2b(self.digest, digest_size=KEY_BYTES)

    def of_substitutions(self, placed: PlacedSubstitutions) -> list[bytes]:
        """Return the key of each single-base substitution of a block."""
        letters = memoryview(placed.letters)
        windows: dict[int, Any] = {}
        keys: list[bytes] = []
        rows = zip(
            placed.at.tolist(),
            placed.length.tolist(),
            placed.offset.tolist(),
            placed.alt.tolist(),
            strict=True,
        )
        for at, length, offset, alt in rows:
            begun = windows.get(at)
            if begun is None:
                # the alleles of a site, and of a tile, share their REF window
                windows[at] = begun = self._window(letters[at : at + length])
            keys.append(_edited(begun, offset, alt))
        return keys

    def of_allele(self, strands: Sequence[StrandWindows], ref: str, alt: str) -> bytes:
        """Return the key of an allele of any kind.

        Args:
            strands: Its windows; with several haplotypes those of the first come first.
            ref: REF as it is scored, in upper case.
            alt: ALT, likewise.
        """
        forward = strands[0]
        if len(ref) == len(alt) == 1 and len(strands) == self._n_strands:
            return _edited(self._window(forward.ref), forward.offset, ord(alt))
        hashed = self._begun.copy()
        hashed.update(_ALLELE)
        for strand in strands:
            hashed.update(
                _PLACES.pack(
                    len(strand.ref),
                    len(strand.alt),
                    *strand.ref_span,
                    *strand.alt_span,
                    strand.n_scored,
                    strand.offset,
                )
            )
            hashed.update(strand.ref)
            hashed.update(strand.alt)
        return hashed.digest()

    def _window(self, letters: bytes | memoryview) -> Any:
        hashed = self._begun.copy()
        hashed.update(_SUBSTITUTION)
        hashed.update(letters)
        return hashed


def _edited(window: Any, offset: int, alt: int) -> bytes:
    hashed = window.copy()
    hashed.update(_EDIT.pack(offset, alt))
    digest: bytes = hashed.digest()
    return digest


def _as_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
