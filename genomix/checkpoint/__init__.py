"""Checkpoints: our own folder format."""
