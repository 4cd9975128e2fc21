"""Optimization and training loops."""
