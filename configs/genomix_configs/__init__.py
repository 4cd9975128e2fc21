"""Hydra groups and the composition of a run from them."""
