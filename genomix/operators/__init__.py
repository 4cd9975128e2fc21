"""Sequence operators: what mixes positions in a block."""
