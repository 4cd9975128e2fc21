"""Genomes as memory-mapped letters, one byte a base, for any number of readers; the files are described in `layout`."""

from genomix_data.token_store.layout import TokenStoreError
from genomix_data.token_store.letters import is_n, soft_mask, to_ids, token_table
from genomix_data.token_store.opening import check_store, find_store, open_store
from genomix_data.token_store.store import TokenStore

__all__ = [
    "TokenStore",
    "TokenStoreError",
    "check_store",
    "find_store",
    "is_n",
    "open_store",
    "soft_mask",
    "to_ids",
    "token_table",
]
