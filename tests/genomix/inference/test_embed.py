"""Embeddings: the official activations, and pooling that depends on neither batch nor chunk."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from genomix.inference.embed import Pool, embed
from genomix.inference.embedding_files import EmbeddingRow, write_embeddings
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.registry import build_model, hyenadna_config
from genomix_data.alphabet import reverse_complement
from genomix_data.errors import ConfigError
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer
from tests.genomix.stripedhyena2_golden import LOGITS, arrays, official_model

BYTES = ByteTokenizer()
TEXTS = ["".join(np.random.default_rng(n).choice(list("ACGT"), n)) for n in (40, 1, 7, 100)]
NAMED = list(enumerate(TEXTS))


@pytest.fixture(scope="module")
def hyenadna() -> HyenaDNA:
    torch.manual_seed(0)
    return build_model(hyenadna_config("hyenadna/demo"), d_model=16, d_inner=32, l_max=128).eval()


@pytest.mark.parametrize("chunk", [7, 8192])
@pytest.mark.parametrize(
    ("layer", "name"),
    [
        ("blocks.5.mlp.l3", "act.blocks.5.mlp.l3"),
        ("blocks.2", "act.block_2"),
        ("norm", "act.norm"),
        (None, "act.norm"),
    ],
)
def test_the_official_activations(layer: str | None, name: str, chunk: int) -> None:
    golden = arrays("tiny_forward.npz")
    text = bytes(golden["input_ids"][0].tolist()).decode("ascii")
    (found,) = embed(official_model(), BYTES, [("x", text)], layer=layer, pool="none", chunk=chunk)
    expected = golden[name][0].numpy()
    positions = golden["act_positions"].numpy()
    np.testing.assert_allclose(found.rows[positions], expected, atol=LOGITS, rtol=1e-5)


def test_what_pooling_means() -> None:
    model, text = official_model(), TEXTS[3]
    tokens = next(embed(model, BYTES, [(0, text)], pool="none")).rows
    assert tokens.shape == (100, 64)
    mean = next(embed(model, BYTES, [(0, text)], pool="mean"))
    np.testing.assert_allclose(mean.rows[0], tokens.mean(0), atol=1e-5)
    last = next(embed(model, BYTES, [(0, text)], pool="last"))
    np.testing.assert_allclose(last.rows[0], tokens[-1], atol=1e-5)
    assert (mean.bounds, last.bounds) == ([(0, 100)], [(99, 100)])
    windows = next(embed(model, BYTES, [(0, text)], pool="window:30"))
    assert windows.bounds == [(0, 30), (30, 60), (60, 90), (90, 100)]
    np.testing.assert_allclose(windows.rows[3], tokens[90:].mean(0), atol=1e-5)


@pytest.mark.parametrize("pool", ["mean", "last", "none", "window:9"])
@pytest.mark.parametrize("layer", [None, "backbone.layers.1.mixer", "backbone.layers.0"])
def test_neither_batch_nor_chunk_changes_anything(hyenadna: HyenaDNA, pool: str, layer: str | None) -> None:
    alone = [next(embed(hyenadna, CharTokenizer(), [pair], pool=pool, layer=layer)) for pair in NAMED]
    together = embed(hyenadna, CharTokenizer(), NAMED, pool=pool, layer=layer, batch_size=3, chunk=11)
    for one, other in zip(alone, together, strict=True):
        assert (one.key, one.bounds) == (other.key, other.bounds)
        np.testing.assert_allclose(one.rows, other.rows, atol=1e-5)


@pytest.mark.parametrize("pool", ["mean", "none", "window:9"])
def test_the_other_strand_is_at_the_same_positions(hyenadna: HyenaDNA, pool: str) -> None:
    for _, text in NAMED:
        both = next(embed(hyenadna, CharTokenizer(), [(0, text)], pool=pool, strand="both", chunk=11)).rows
        tokens = next(embed(hyenadna, CharTokenizer(), [(0, reverse_complement(text))], pool="none")).rows[
            ::-1
        ]
        expected = [tokens[start:end].mean(0) for start, end in Pool.parse(pool).bounds(len(text))]
        np.testing.assert_allclose(both[:, 16:], np.stack(expected), atol=1e-5)


def test_the_model_is_left_as_it_was(hyenadna: HyenaDNA) -> None:
    before = dict(vars(hyenadna.backbone.layers[0]))
    list(embed(hyenadna, CharTokenizer(), NAMED[:1], layer="backbone.layers.0"))
    assert vars(hyenadna.backbone.layers[0]).keys() == before.keys()
    assert not hyenadna.backbone.layers[0]._forward_hooks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "backbone.layer.1"}, r"no layer 'backbone\.layer\.1'\. Did you mean backbone\.layers"),
        ({"layer": "zzz"}, "It has backbone"),
        ({"layer": "backbone.layers"}, "is not run on its own"),
        (
            {"layer": "backbone.layers.0.mixer.filter_fn"},
            "which is not one vector a token|not run on its own",
        ),
        ({"pool": "max"}, "pooling 'max' is not known"),
        ({"pool": "window:0"}, "pooling 'window:0' is not known"),
        ({"strand": "reverse"}, "strand 'reverse' is not known"),
    ],
)
def test_what_is_not_known(hyenadna: HyenaDNA, options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list(embed(hyenadna, CharTokenizer(), NAMED, **options))  # type: ignore[arg-type]


ROWS = [EmbeddingRow(f"s{i}", i, i + 2, np.full(3, i, dtype=np.float32)) for i in range(5)]


def test_npz(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "x.npz", iter(ROWS), {"pool": "mean"})
    with np.load(tmp_path / "x.npz") as stored:
        assert stored["embeddings"].tolist() == [[i] * 3 for i in range(5)]
        assert stored["name"].tolist() == [row.name for row in ROWS]
        assert stored["end"].tolist() == [2, 3, 4, 5, 6]
        assert json.loads(str(stored["about"])) == {"pool": "mean"}


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    monkeypatch.setattr("genomix.inference.embedding_files.ROWS_AT_ONCE", 2)
    write_embeddings(tmp_path / "x.parquet", iter(ROWS), {"pool": "mean"})
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.column("embedding").to_pylist() == [[i] * 3 for i in range(5)]
    assert table.column("start").to_pylist() == list(range(5))
    assert json.loads(table.schema.metadata[b"genomix"]) == {"pool": "mean"}


def test_another_suffix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"written as \.npz or \.parquet"):
        write_embeddings(tmp_path / "x.csv", iter(ROWS), {})
