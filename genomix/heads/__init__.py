"""Heads: from hidden states to classes, labels, numbers, and a class at each base."""
