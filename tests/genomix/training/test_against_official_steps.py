import torch
from torch.nn import functional as F

from genomix.models.hyenadna.state_dict import from_foreign
from genomix.training.optim import parameter_groups
from tests.genomix.golden import model_of, tensors, tiny_config


def test_five_steps_of_the_official_training() -> None:
    """Losses, gradient norms and final weights of AdamW with the official groups, clipped at 1.0, without dropout."""
    recorded = tensors("train_steps.npz")
    model = model_of("train_steps_init.safetensors", tiny_config(embed_dropout=0.0)).train()
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=6e-4, weight_decay=0.1), lr=6e-4)
    losses, norms = [], []
    for batch in recorded["batches"]:
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        optimizer.step()
        losses.append(loss.detach())
    torch.testing.assert_close(torch.stack(losses), recorded["losses"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.stack(norms), recorded["grad_norms"], atol=0, rtol=1e-4)
    final, _ = from_foreign(tensors("train_steps_final.safetensors"))
    initial, _ = from_foreign(tensors("train_steps_init.safetensors"))
    for name, parameter in model.state_dict().items():
        torch.testing.assert_close(parameter, final[name], atol=2e-5, rtol=1e-4)
        assert (initial[name] - final[name]).abs().max() > 1e-3, f"{name} did not move"
