"""Which assembly a set of contig lengths belongs to; the facts are in `genomix_data.assembly`."""

from genomix_data.assembly import build_hint, guess_build

__all__ = ["build_hint", "guess_build"]
