"""Settings of a model so small that a test can train it, as they stand on the command line."""

TINY_MODEL = [
    "model=hyenadna/demo",
    "model.d_model=16",
    "model.d_inner=32",
    "model.n_layers=1",
    "model.l_max=64",
    "trainer.device=cpu",
]
