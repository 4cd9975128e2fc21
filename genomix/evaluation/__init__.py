"""How good predictions are, and what a test set of this size leaves open; needs no model, only its outputs."""
