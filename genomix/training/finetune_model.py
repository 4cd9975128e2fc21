"""What a fine-tuning run trains: the backbone, its head, and the sequences as that model takes them."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from genomix.adapters.lora import add_adapters
from genomix.checkpoint.native import load_model
from genomix.heads.build import HeadModel, build_head, size_name
from genomix.inference.examples import Examples, Slots
from genomix.inference.predict import Inputs, encode_inputs, longest_input
from genomix.models.families import AnyConfig, AnyLanguageModel
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.registry import build_model
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.finetune_data import Parts
from genomix.training.finetune_method import FullConfig, LoraMethodConfig, ProbeConfig, SoftPromptConfig
from genomix.training.objectives import Objective, objective_of
from genomix.training.starting_model import finetuned_model
from genomix_data.errors import ConfigError
from genomix_data.table_dataset import complement_table
from genomix_data.tables.bases import BaseTable
from genomix_data.tables.pairs import PairTable
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that is ready to train.

    Args:
        config: As it is run: with the architecture of the checkpoint that it starts from.
        tables: The parts; cut as the sequences are.
        slots: Ids of the sequences of each part.
        tokenizer: What made them.
        objective: What the head is trained for.
        model: On the device, with what is not trained frozen.
        device: Where to train.
        n_truncated: Sequences that were cut.
        init_sha256: Of the weights that it starts from; None for random ones.
        n_parameters: That are trained.
    """

    config: FinetuneConfig
    tables: Parts
    slots: dict[str, Slots]
    tokenizer: Tokenizer
    objective: Objective
    model: HeadModel
    device: torch.device
    n_truncated: int
    init_sha256: str | None
    n_parameters: int

    def examples(self, part: str, *, both_strands: bool) -> Examples:
        """Return the sequences of a part on the device."""
        return Examples(self.slots[part], self.tokenizer, device=self.device, both_strands=both_strands)

    @property
    def longest(self) -> int:
        """The most bases of a sequence that the model takes."""
        return longest_input(self.model)

    @property
    def n_beyond_context(self) -> int:
        """Sequences longer than what the backbone was trained at, where it takes them nevertheless."""
        context = self.model.config.context_len
        return sum(len(ids) > context for slots in self.slots.values() for slot in slots for ids in slot)


def prepare_model(config: FinetuneConfig, tables: Parts, device: torch.device) -> Prepared:
    """Return a run that is ready to train. Random weights are those of torch's current random state.

    Raises:
        GenomixError: for a model or sequences that do not fit.
    """
    config, backbone, tokenizer, init_sha256 = _start(config)
    objective = objective_of(config, tables["train"])
    model = _with_head(config, backbone, objective, tokenizer).to(device)
    slots: dict[str, Slots] = {}
    n_truncated = 0
    cut: Parts = dict(tables)
    for name, table in tables.items():
        alts = table.alts if isinstance(table, PairTable) else None
        inputs = Inputs(table.sequences, f"{table.source} ({name})", alts=alts)
        slots[name], n_cut = encode_inputs(model, tokenizer, inputs, config.data.too_long)
        n_truncated += n_cut
        if n_cut and isinstance(table, BaseTable):
            cut[name] = table.cut([len(ids) for ids in slots[name][0]])
    return Prepared(
        config=config,
        tables=cut,
        slots=slots,
        tokenizer=tokenizer,
        objective=objective,
        model=model,
        device=device,
        n_truncated=n_truncated,
        init_sha256=init_sha256,
        n_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )


def _with_head(
    config: FinetuneConfig, backbone: AnyLanguageModel, objective: Objective, tokenizer: Tokenizer
) -> HeadModel:
    """Return the model with its head, and with what is not trained frozen."""
    method, head = config.method, config.head
    settings: dict[str, Any] = {
        "kind": head.kind,
        size_name(head.kind): len(objective.names),
        "pooling": head.pooling,
        "n_windows": head.n_windows,
        "dropout": head.dropout,
        "lookahead": head.lookahead,
        "pair": head.pair,
        "rc_invariant": head.rc_invariant,
        "hidden": method.hidden if isinstance(method, ProbeConfig) and method.classifier == "mlp" else 0,
        **objective.extra_head_settings(),
    }
    if isinstance(method, SoftPromptConfig):
        settings |= {"prompt_len": method.n_tokens, "prompt_dropout": method.dropout}
    model = build_head(backbone, settings, torch.from_numpy(complement_table(tokenizer)))
    if isinstance(method, SoftPromptConfig) and longest_input(model) < 1:
        raise ConfigError(
            f"method.n_tokens is {method.n_tokens}, which leaves no room in the longest input of the model, "
            f"{model.config.longest_input} tokens. Take fewer, or a model of longer context."
        )
    if isinstance(method, LoraMethodConfig):
        add_adapters(model.backbone, method.adapters())
    elif not isinstance(method, FullConfig):
        model.backbone.requires_grad_(False)
    return model


def _start(config: FinetuneConfig) -> tuple[FinetuneConfig, AnyLanguageModel, Tokenizer, str | None]:
    """Return the config as it is run, the language model to start from, its tokenizer and the hash of its weights."""
    model = config.model
    if model.init is None:
        return config, build_model(model.config), _tokenizer_for(model.config), None
    # Weights that are trained are trained in fp32, whatever they are stored in.
    dtype = torch.float32 if isinstance(config.method, FullConfig) else None
    loaded = load_model(model.init, dtype=dtype, expect="language_model")
    as_run, _ = finetuned_model(model)
    start = loaded.language_model
    if isinstance(as_run.config, HyenaDNAConfig):
        backbone: AnyLanguageModel = build_model(as_run.config)
        backbone.load_state_dict(start.state_dict())
    else:
        backbone = start.train()
    return dataclasses.replace(config, model=as_run), backbone, loaded.tokenizer, loaded.sha256


def _tokenizer_for(config: AnyConfig) -> Tokenizer:
    return CharTokenizer() if isinstance(config, HyenaDNAConfig) else ByteTokenizer(case="upper")
