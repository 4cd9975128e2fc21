"""Adapters: small trainable changes of a frozen model."""
