import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.registry import MODELS, build_model, get_model, hyenadna_config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.models.stripedhyena2.sizes import SIZES
from genomix_data.errors import ConfigError
from tests.genomix.golden import values

ROOT = Path(__file__).resolve().parents[3]
ZOO = values("zoo_param_counts.json")


def n_trainable(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_published_sizes_and_ours() -> None:
    hyenadna = {f"hyenadna/{size}" for size in ZOO} | {"hyenadna/demo"}
    assert set(MODELS) == hyenadna | {size.name for size in SIZES}


@pytest.mark.parametrize("size", ZOO)
def test_published_sizes_and_parameter_counts(size: str) -> None:
    row, official = get_model(f"hyenadna/{size}"), ZOO[size]
    config = hyenadna_config(row.name)
    assert (config.d_model, config.n_layers, config.d_inner, config.l_max) == (
        official["d_model"],
        official["n_layer"],
        official["d_inner"],
        official["l_max"],
    )
    assert config.shift == 0.05
    assert row.n_parameters == config.n_parameters == official["trainable_params_tied"]
    assert row.licence == "BSD-3-Clause"
    assert row.source is not None
    assert row.source.startswith("LongSafari/hyenadna-")
    with torch.device("meta"):
        assert n_trainable(HyenaDNA(config)) == official["trainable_params_tied"]
        assert n_trainable(build_model(config, tie_embeddings=False)) == official["lm_head_untied_params"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"order": 3},
        {"linear_mixer": True},
        {"lr_pos_emb": 1e-5},
        {"n_inner_mlps": 0, "emb_dim": 7, "short_filter_order": 5},
        {"tie_embeddings": False, "filter_order": 10},
    ],
    ids=str,
)
def test_the_counted_parameters_are_those_of_the_model(changes: dict[str, object]) -> None:
    with torch.device("meta"):
        model = build_model(hyenadna_config("hyenadna/demo"), **changes)
    assert model.config.n_parameters == n_trainable(model)


def test_every_row_is_consistent() -> None:
    for name, row in MODELS.items():
        assert row.name == name
        assert row.n_parameters == row.config.n_parameters
        for digest in (row.sha256, row.original_sha256):
            assert digest is None or re.fullmatch("[0-9a-f]{64}", digest)


def test_the_demo_trains_on_a_laptop() -> None:
    assert get_model("hyenadna/demo").n_parameters < 300_000
    assert get_model("hyenadna/demo").context_len == 1026


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("hyenadna/tiny-1", "hyenadna/tiny-1k"),
        ("small-32k", "hyenadna/small-32k"),
        ("7b_base", "evo2/7b_base"),
        ("evo2/7", "evo2/7b"),
    ],
)
def test_an_unknown_name_says_what_was_meant(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"no model is named '{name}'. Did you mean '{meant}'"):
        get_model(name)


def test_fields_can_be_changed_when_building() -> None:
    model = build_model(hyenadna_config("hyenadna/demo"), shift=0.0, n_layers=1)
    assert model.config.shift == 0.0
    assert len(model.backbone.layers) == 1


def test_both_families_are_built_by_name() -> None:
    with torch.device("meta"):
        model = build_model("evo2/7b", pattern="SMLA", d_inner=64)
    assert isinstance(model, StripedHyena2)
    assert model.config.pattern == "SMLA"
    with pytest.raises(
        ConfigError, match=r"'sh2/7m' is a stripedhyena2 model; this works with hyenadna/\* only"
    ):
        hyenadna_config("sh2/7m")


def test_the_registry_needs_no_torch() -> None:
    code = "import sys, genomix.models.registry; sys.exit('torch' in sys.modules)"
    paths = [str(ROOT), str(ROOT / "data"), str(ROOT / "kernels")]
    assert (
        subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"]).returncode
        == 0
    )


def test_the_table_in_the_documentation_is_the_registry() -> None:
    text = (ROOT / "docs" / "models.md").read_text()
    for row in MODELS.values():
        config = row.config
        sizes = f"{config.n_layers} | {config.d_model} | {config.context_len:,} | {row.n_parameters:,}"
        line = f"| `{row.name}` | {sizes} |"
        assert line in text, f"docs/models.md lacks {line}"
