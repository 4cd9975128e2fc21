"""HyenaDNA: config, model, and the layouts of its published checkpoints."""
