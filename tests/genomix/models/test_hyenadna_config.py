import json
from typing import Any

import pytest

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix_data.errors import ConfigError

SIZES: dict[str, Any] = {"d_model": 32, "n_layers": 2, "d_inner": 128, "l_max": 256}


def test_it_survives_json() -> None:
    config = HyenaDNAConfig(**SIZES, shift=0.0, order=3, channel_layout="standalone")
    assert HyenaDNAConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    partial = HyenaDNAConfig(**SIZES, filter_len=20, extended_len=400)
    assert HyenaDNAConfig.from_dict(json.loads(json.dumps(partial.to_dict()))) == partial


def test_what_it_was_trained_at_and_what_it_takes() -> None:
    plain = HyenaDNAConfig(**SIZES)
    assert (plain.context_len, plain.longest_input) == (256, 256)
    extended = HyenaDNAConfig(**SIZES, extended_len=400)
    assert (extended.context_len, extended.longest_input) == (256, 400)


@pytest.mark.parametrize(("vocab_size", "rows"), [(12, 16), (16, 16), (17, 24), (1, 8)])
def test_padded_vocabulary(vocab_size: int, rows: int) -> None:
    assert HyenaDNAConfig(**SIZES, vocab_size=vocab_size).padded_vocab_size == rows


def test_a_misspelt_key_says_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"no field 'd_modle'\. Did you mean 'd_model'\?"):
        HyenaDNAConfig.from_dict({**SIZES, "d_modle": 32})
    with pytest.raises(ConfigError, match=r"no field 'zzz'\. It has d_model, n_layers"):
        HyenaDNAConfig.from_dict({**SIZES, "zzz": 1})


def test_a_missing_size_is_named() -> None:
    with pytest.raises(ConfigError, match="needs d_inner, l_max; add the missing fields"):
        HyenaDNAConfig.from_dict({"d_model": 32, "n_layers": 2})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("d_model", 0, "an integer >= 1"),
        ("l_max", 1.5, "an integer >= 1"),
        ("n_layers", True, "an integer >= 1"),
        ("order", 1, "an integer >= 2"),
        ("emb_dim", 4, "odd and at least 3"),
        ("emb_dim", 1, "odd and at least 3"),
        ("n_inner_mlps", -1, "at least 0"),
        ("decay_target", 1.0, "between 0 and 1"),
        ("fast_decay_pct", 0.0, "above 0"),
        ("embed_dropout", 1.0, "at least 0 and below 1"),
        ("resid_dropout", -0.1, "at least 0 and below 1"),
        ("lr_pos_emb", -1.0, "at least 0"),
        ("shift", float("nan"), "a finite number"),
        ("w", "10", "a finite number"),
        ("channel_layout", "hf", "'repo' or 'standalone'"),
        ("filter_len", 0, "None, or an integer from 1 to l_max = 256"),
        ("filter_len", 257, "None, or an integer from 1 to l_max = 256"),
        ("filter_len", True, "None, or an integer from 1 to l_max = 256"),
        ("extended_len", 256, "None, or an integer above l_max = 256"),
        ("extended_len", 1e6, "None, or an integer above l_max = 256"),
    ],
)
def test_a_bad_value_is_named(name: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"HyenaDNAConfig\.{name} is {value!r}; it must be {expected}"):
        HyenaDNAConfig.from_dict({**SIZES, name: value})
