"""Model cards: what a native checkpoint says of itself."""

from pathlib import Path
from typing import Any

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.training.config import PretrainConfig
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.metrics import Metrics
from genomix.training.results import FinetuneResult, PretrainResult
from genomix_data.errors import preview


def language_model_card(config: PretrainConfig, result: PretrainResult) -> str:
    """Return the README.md of a pretrained model."""
    genomes = ", ".join(path.name for path in config.data.fasta)
    markov, mixture = result.markov, result.interpolated
    return f"""# {config.model.name}, pretrained on {genomes}

A causal language model of DNA, one token a base, trained with genomix.

| | |
|---|---|
| parameters | {result.n_parameters:,} |
| {"longest input" if config.architecture.longest_input else "context"} | {config.architecture.context_len:,} tokens |
| trained on | {result.n_train_bases:,} bases, {result.steps:,} steps ({result.epochs:.2f} epochs) |
| weights of | step {result.best_step:,}, the best on validation |
| held-out bases | {result.held_out.n_bases:,} |
| bits per base | {result.held_out.bits_per_base:.4f} |
| bits per base over A, C, G, T | {result.held_out.bits_per_base_acgt:.4f} |
| Markov model of order {markov.best_order}, same bases | {markov.bits_per_base:.4f} |
| context models of order 0 to {mixture.best_order} interpolated, same bases | {mixture.bits_per_base:.4f} |

Scored: {result.held_out_rule}.

`config.json` beside this file holds the settings, versions and checksums of the run.

```
genomix score variants.vcf.gz -f genome.fa -m {result.model_folder.name} -o scored.vcf.gz
genomix finetune model.init={result.model_folder.name} data.train=train.csv data.test=test.csv -o classifier
```
"""


_TRAINED = {
    "full": "all of it fine-tuned",
    "probe": "the head alone fitted to frozen embeddings",
    "lora": "fine-tuned through low-rank adapters, which are merged into its matrices",
    "soft_prompt": "a soft prompt and the head trained on the frozen backbone",
}
_KINDS = {
    "classifier": "Classifier of",
    "multilabel": "Labels",
    "regressor": "Regression of",
    "token_classifier": "Classifier of single bases:",
    "variant_classifier": "Classifier of variants:",
}


def head_card(config: FinetuneConfig, result: FinetuneResult[Any]) -> str:
    """Return the README.md of a fine-tuned model."""
    start = f"weights of {config.model.init}" if config.model.init else "random weights"
    data = config.data.benchmark or (config.data.folder or config.data.train or Path()).name
    test = result.test
    n_test = result.counts["test"]["sequences"]
    architecture = config.model.config
    family = "HyenaDNA" if isinstance(architecture, HyenaDNAConfig) else "StripedHyena 2"
    clean = result.test_clean
    without = "none is left" if clean is None else f"{clean.n:,}: {_values(clean, 3)}"
    values = "\n".join(f"| test {name} | {_number(value)} |" for name, value in test.headline())
    chose = "the test set itself" if config.protocol == "paper" else "validation"
    return f"""# {_KINDS[result.kind]} {preview(result.class_names)}

A {family} backbone with a head, {_TRAINED[result.method]}, with genomix on {data}, starting from {start}.

| | |
|---|---|
| parameters that were trained | {result.n_parameters:,} |
| {"longest input" if architecture.longest_input else "context"} | {architecture.context_len:,} bases |
| sequences | {result.n_train:,} for training, {result.n_valid:,} for validation, {n_test:,} for the test |
| test sequences also in training | {result.n_shared:,} |
| weights of | {result.chosen}, by {result.monitor} on {chose} |
{values}
| split | {result.split} |
| test sequences without a near copy in training | {without} |

The test set was scored once, after this had been chosen. `config.json` beside this file holds the settings,
versions and checksums of the run.

```
genomix evaluate {result.model_folder.name} table.csv
genomix predict {result.model_folder.name} table.csv -o predictions.tsv
```
"""


def _values(metrics: Metrics, most: int) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in metrics.headline()[:most])


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
