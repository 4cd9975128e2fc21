"""The whole path on real data that ships with genomix: pretrain, fine-tune, score, report."""

from genomix.demo.story import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
