"""Ids, masks and texts as the published tokenizers give them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomix_data.alphabet import AMBIGUOUS, reverse_complement
from genomix_data.errors import ConfigError, GenomixError, SequenceTooLongError
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer, tokenizer_from_dict
from genomix_data.tokenizers.char import VOCAB

FIXTURES = Path(__file__).parent.parent / "fixtures" / "data"
GOLDEN: dict[str, Any] = json.loads((FIXTURES / "tokenizer.json").read_text())
BYTE_CASES: dict[str, Any] = json.loads((FIXTURES / "tokenizer_cases.json").read_text())
SPECIAL = {"repo": "sep", "standalone": "cls_sep"}
IMPLEMENTATIONS = [(name, side) for name in SPECIAL for side in ("left", "right")]

official = CharTokenizer.official()


def published(name: str, side: str) -> dict[str, Any]:
    cases: dict[str, Any] = GOLDEN["impl"][name][side]
    return cases


def our_call(name: str, side: str, kwargs: dict[str, Any], model_max_length: int | None) -> dict[str, Any]:
    """Translate a published call to ours."""
    return {
        "special": SPECIAL[name] if kwargs.get("add_special_tokens", True) else "none",
        "padding_side": side,
        "truncation": kwargs.get("truncation", False),
        "max_length": kwargs.get("max_length", model_max_length if kwargs.get("truncation") else None),
        "pad_to": kwargs["max_length"] if kwargs.get("padding") == "max_length" else None,
    }


@pytest.mark.parametrize("text_type", [str, bytes])
@pytest.mark.parametrize(
    "case", ["default", "nospecial", "pad_max_nospecial", "pad_max_special", "trunc_model_max"]
)
@pytest.mark.parametrize(("name", "side"), IMPLEMENTATIONS)
def test_char_against_published(name: str, side: str, case: str, text_type: type) -> None:
    kwargs, expected = published(name, side)[case]["kwargs"], published(name, side)[case]["out"]
    # The published objects were made with model_max_length = 12.
    call = our_call(name, side, kwargs, 12)
    assert len(expected) == len(GOLDEN["strings"]) == 22
    for text, out in zip(GOLDEN["strings"], expected, strict=True):
        if text_type is bytes and not text.isascii():
            continue
        batch = official.encode_batch([text if text_type is str else text.encode()], **call)
        assert batch.ids.dtype == batch.attention_mask.dtype == np.int64
        if not text and case == "pad_max_nospecial":
            # The published call does not pad a single text without tokens; a batch here is always a rectangle.
            assert out["input_ids"] == out["attention_mask"] == []
            assert (batch.ids.tolist(), batch.lengths.tolist()) == ([[official.pad_id] * 8], [0])
            continue
        assert batch.ids[0].tolist() == out["input_ids"], text
        assert batch.attention_mask[0].tolist() == out["attention_mask"], text


@pytest.mark.parametrize(("name", "side"), IMPLEMENTATIONS)
def test_char_batches_and_pairs_against_published(name: str, side: str) -> None:
    expected = published(name, side)
    texts = ["ACGT", "A", "ACGTACGT"]
    for case, special in (("batch_longest_nospecial", "none"), ("batch_longest_special", SPECIAL[name])):
        batch = official.encode_batch(texts, special=special, padding_side=side)  # type: ignore[arg-type]
        assert batch.ids.tolist() == expected[case]["input_ids"]
        assert batch.attention_mask.tolist() == expected[case]["attention_mask"]
        assert batch.lengths.tolist() == [sum(row) for row in expected[case]["attention_mask"]]
    pair = official.encode_batch(["ACG"], ["TT"], special=SPECIAL[name])  # type: ignore[arg-type]
    assert pair.ids[0].tolist() == expected["pair"]["input_ids"]
    assert pair.attention_mask[0].tolist() == expected["pair"]["attention_mask"]


@pytest.mark.parametrize(("name", "side"), IMPLEMENTATIONS)
def test_char_decoding_and_vocabulary_against_published(name: str, side: str) -> None:
    expected = published(name, side)
    for key, text in expected["decode"].items():
        assert official.decode(json.loads(key)) == text
    for key, text in expected["decode_skip"].items():
        assert official.decode(json.loads(key), skip_special=True) == text
    assert GOLDEN["impl"][name]["vocab"] == VOCAB
    special = expected["special"]
    ours = (
        official.bos_id,
        official.eos_id,
        official.sep_id,
        official.cls_id,
        official.pad_id,
        official.mask_id,
    )
    assert ours == tuple(special[key] for key in ("bos", "eos", "sep", "cls", "pad", "mask"))
    assert (official.unk_id, official.vocab_size) == (special["unk"], special["vocab_size"])


def test_ids_of_the_padded_vocabulary_have_no_text() -> None:
    assert GOLDEN["decode_12"] == "KeyError(12)"
    for wrong in (12, 15, -1):
        with pytest.raises(GenomixError, match=f"id {wrong} stands for no token"):
            official.decode([7, wrong])


def test_reverse_complement_where_the_published_one_is_right_and_where_not() -> None:
    agree = {text: out for text, out in GOLDEN["rc"].items() if set(text.upper()) <= set("ACGTN.")}
    assert len(agree) == 7
    for text, out in agree.items():
        assert reverse_complement(text) == out
    # The published helper reverses R, Y, K, M without complementing them.
    assert GOLDEN["rc"]["RYKM"] == "MKYR"
    assert reverse_complement("RYKM") == "KMRY"


def test_product_default_folds_case_and_ambiguity() -> None:
    tokenizer = CharTokenizer()
    assert tokenizer.encode("acgtn").tolist() == tokenizer.encode("ACGTN").tolist() == [7, 8, 9, 10, 11]
    assert set(tokenizer.encode(AMBIGUOUS + AMBIGUOUS.lower()).tolist()) == {tokenizer.n_id}
    assert tokenizer.encode("Uu").tolist() == [10, 10]
    assert tokenizer.encode("-*. X1é\n").tolist() == [6] * 8
    assert CharTokenizer(case="keep").encode("aRrA").tolist() == [6, 11, 6, 7]
    assert CharTokenizer(ambiguous="unk").encode("aRrUN").tolist() == [7, 6, 6, 6, 11]


def test_one_id_a_character_of_any_script() -> None:
    assert official.encode("Aé\U0001f9ecC").tolist() == [7, 6, 6, 8]


@given(st.text(alphabet="ACGTN", max_size=300))
def test_char_round_trip(text: str) -> None:
    for tokenizer in (CharTokenizer(), official):
        ids = tokenizer.encode(text)
        assert ids.dtype == np.uint8
        assert tokenizer.decode(ids) == text
        assert ids.tolist() == tokenizer.encode(text.encode()).tolist()
        assert ids.size == len(text)


@given(st.text(alphabet="ACGTNacgtnRYKMSWBDHVU", max_size=100))
def test_default_gives_bases_and_n_only(text: str) -> None:
    assert CharTokenizer().encode(text).min(initial=7) >= 7


@given(st.lists(st.text(alphabet="ACGTN", max_size=20), max_size=6), st.sampled_from(["left", "right"]))
def test_a_row_is_the_same_alone_and_in_a_batch(texts: list[str], side: Any) -> None:
    batch = official.encode_batch(texts, special="sep", padding_side=side)
    assert batch.ids.shape == batch.attention_mask.shape
    for text, ids, mask in zip(texts, batch.ids, batch.attention_mask, strict=True):
        assert ids[mask == 1].tolist() == [*official.encode(text).tolist(), 1]
        assert set(ids[mask == 0].tolist()) <= {official.pad_id}


@given(st.text(alphabet="AC", max_size=12), st.text(alphabet="GT", max_size=12), st.integers(2, 26))
def test_pairs_are_cut_one_by_one_from_the_longer(first: str, second: str, max_length: int) -> None:
    a, b = first, second
    while len(a) + len(b) + 2 > max_length:
        a, b = (a[:-1], b) if len(a) > len(b) else (a, b[:-1])
    batch = official.encode_batch([first], [second], special="sep", max_length=max_length, truncation=True)
    assert batch.ids[0].tolist() == [*official.encode(a).tolist(), 1, *official.encode(b).tolist(), 1]


def test_what_does_not_fit_is_an_error_unless_cut() -> None:
    with pytest.raises(SequenceTooLongError, match=r"9 tokens is longer than max_length=8.*truncation=True"):
        official.encode_batch(["ACGTACGT"], special="sep", max_length=8)
    with pytest.raises(SequenceTooLongError, match="8 tokens does not fit the padded length 4"):
        official.encode_batch(["ACGTACGT"], pad_to=4)
    with pytest.raises(SequenceTooLongError, match="no room for the special tokens"):
        official.encode_batch(["ACGT"], special="cls_sep", max_length=1, truncation=True)
    with pytest.raises(GenomixError, match="2 sequences came with 1 second"):
        official.encode_batch(["A", "C"], ["G"])
    with pytest.raises(ConfigError, match="special='eos' is not known"):
        official.encode_batch(["A"], special="eos")  # type: ignore[arg-type]


def test_empty_batch() -> None:
    assert official.encode_batch([]).ids.shape == (0, 0)


def test_byte_against_published() -> None:
    tokenizer = ByteTokenizer()
    for case in BYTE_CASES["encode"]:
        ids = tokenizer.encode(case["text"])
        assert ids.dtype == np.uint8
        assert ids.tolist() == case["ids"]
        assert tokenizer.decode(ids) == case["roundtrip"]
    for token, points in BYTE_CASES["decode_single_id_to_codepoint"].items():
        assert [ord(character) for character in tokenizer.decode([int(token)])] == points
    assert (tokenizer.eos_id, tokenizer.pad_id, tokenizer.vocab_size) == (
        BYTE_CASES["eos_id"],
        BYTE_CASES["pad_id"],
        BYTE_CASES["vocab_size"],
    )
    assert (BYTE_CASES["eod_id"], BYTE_CASES["has_bos"]) == (0, False)


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_byte_round_trip(text: str) -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert ByteTokenizer(case="upper").encode(text).tolist() == tokenizer.encode(text.upper()).tolist()


@pytest.mark.parametrize(
    "tokenizer",
    [CharTokenizer(), official, CharTokenizer(case="keep"), ByteTokenizer(), ByteTokenizer(case="upper")],
)
def test_settings_round_trip_through_json(tokenizer: Tokenizer) -> None:
    assert isinstance(tokenizer, Tokenizer)
    copy = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert copy == tokenizer
    assert (hash(copy), repr(copy)) == (hash(tokenizer), repr(tokenizer))
    assert copy.encode("acGTR").tolist() == tokenizer.encode("acGTR").tolist()
    assert [copy.encode(base).item() for base in "ACGT"] == list(tokenizer.acgt_ids)
    assert copy.encode("N").item() == tokenizer.n_id


def test_unknown_settings() -> None:
    with pytest.raises(ConfigError, match="'bpe' is not known; there are byte, char"):
        tokenizer_from_dict({"name": "bpe"})
    with pytest.raises(ConfigError, match=r"settings of the tokenizer 'char' are not valid.*colour"):
        tokenizer_from_dict({"name": "char", "colour": "red"})
    with pytest.raises(ConfigError, match="case='lower' is not known"):
        tokenizer_from_dict({"name": "char", "case": "lower"})
    with pytest.raises(ConfigError, match="ambiguous='x' is not known"):
        CharTokenizer(ambiguous="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="case='lower' is not known to the byte"):
        ByteTokenizer(case="lower")  # type: ignore[arg-type]
