from typing import Any

import pytest
import torch
from torch import Tensor

from genomix.heads.classification import SequenceDecoder
from tests.genomix.golden import assert_close, tensors, values

META: dict[str, dict[str, Any]] = values("decoder_meta.json")
WORKING = [case for case, meta in META.items() if "error" not in meta]
BROKEN_UPSTREAM = [case for case, meta in META.items() if "error" in meta]


@pytest.fixture(scope="module")
def stored() -> dict[str, Tensor]:
    return tensors("decoder.npz")


def run(case: str, stored: dict[str, Tensor]) -> Tensor:
    meta = META[case]
    decoder = SequenceDecoder(8, 3, **meta["ctor"])
    decoder.output_transform.load_state_dict({"weight": stored["weight"], "bias": stored["bias"]})
    mask = stored[case.partition("l0_")[2]] if "mask" in case else None
    lengths = stored["lengths"] if "lengths" in meta["forward"] else None
    result: Tensor = decoder(stored["x"], lengths=lengths, mask=mask)
    return result


@pytest.mark.parametrize("case", WORKING)
def test_against_official_decoder(case: str, stored: dict[str, Tensor]) -> None:
    actual = run(case, stored)
    assert list(actual.shape) == META[case]["shape"]
    assert_close(actual, stored[f"out__{case}"])


@pytest.mark.parametrize("case", BROKEN_UPSTREAM)
def test_running_means_where_the_standalone_file_crashes(case: str, stored: dict[str, Tensor]) -> None:
    assert_close(run(case, stored), stored[f"out__{case.replace('standalone', 'repo')}"])


def test_lengths_leave_the_padding_out(stored: dict[str, Tensor]) -> None:
    decoder = SequenceDecoder(8, 3, l_output=0, mode="pool", use_lengths=True)
    padded = stored["x"].clone()
    expected = decoder(padded, lengths=stored["lengths"])
    for row, length in enumerate(stored["lengths"].tolist()):
        padded[row, length:] = 100.0
    torch.testing.assert_close(decoder(padded, lengths=stored["lengths"]), expected)


def test_lengths_that_are_needed_are_asked_for(stored: dict[str, Tensor]) -> None:
    for decoder in (
        SequenceDecoder(8, 3, mode="ragged"),
        SequenceDecoder(8, 3, l_output=0, use_lengths=True),
    ):
        with pytest.raises(ValueError, match=r"mode '(ragged|last)' of this decoder needs the lengths"):
            decoder(stored["x"])


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="mode is 'mean'; it must be 'last', 'first'"):
        SequenceDecoder(8, 3, mode="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'ragged' keeps the padding"):
        SequenceDecoder(8, 3, mode="ragged", use_lengths=True)
