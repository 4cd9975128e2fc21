"""Training on several processes: replicas, sharded parameters, and sequences that are split over ranks.

`shape` says how processes are arranged, `processes` joins them, `parallelize` prepares a model, `step` computes the
loss and reduces gradients, `checkpoint` writes what they hold together. Every engine under it is PyTorch's own.
"""
