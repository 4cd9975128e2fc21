"""Tokenizers: letters to ids in one look-up, and back."""

from genomix_data.tokenizers.byte import ByteTokenizer
from genomix_data.tokenizers.char import CharTokenizer
from genomix_data.tokenizers.protocol import TokenBatch, Tokenizer, tokenizer_from_dict

__all__ = ["ByteTokenizer", "CharTokenizer", "TokenBatch", "Tokenizer", "tokenizer_from_dict"]
