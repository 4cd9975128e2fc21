"""Heads: from hidden states to classes."""
