"""A token store as a source of a `Genome`, so that what reads FASTA reads a store as well."""

from pathlib import Path

from genomix_data.token_store.store import TokenStore


class StoreSource:
    """The contigs of a store.

    Args:
        path: Folder of the store, absolute.

    Raises:
        TokenStoreError: see `TokenStore`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = TokenStore(path)
        self.contigs: dict[str, int] = self.store.contigs
        self.aliases: dict[str, str] = self.store.table.aliases

    def read(self, name: str, start: int, end: int) -> bytes:
        """Return the letters, soft-masked ones in lower case."""
        return self.store.window(name, start, end).tobytes()

    def close(self) -> None:
        """Let go of the mapping; it comes back when it is read again."""
        self.store.close()
