"""Model cards: what a native checkpoint says of itself."""

from genomix.training.config import PretrainConfig
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.results import FinetuneResult, PretrainResult


def language_model_card(config: PretrainConfig, result: PretrainResult) -> str:
    """Return the README.md of a pretrained model."""
    genomes = ", ".join(path.name for path in config.data.fasta)
    markov = result.markov
    return f"""# {config.model.name}, pretrained on {genomes}

A causal language model of DNA, one token a base, trained with genomix.

| | |
|---|---|
| parameters | {result.n_parameters:,} |
| longest input | {config.model.config.l_max:,} tokens |
| trained on | {result.n_train_bases:,} bases, {result.steps:,} steps ({result.epochs:.2f} epochs) |
| weights of | step {result.best_step:,}, the best on validation |
| held-out bases | {result.held_out.n_bases:,} |
| bits per base | {result.held_out.bits_per_base:.4f} |
| bits per base over A, C, G, T | {result.held_out.bits_per_base_acgt:.4f} |
| Markov model of order {markov.best_order}, same bases | {markov.bits_per_base:.4f} |

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
}


def classifier_card(config: FinetuneConfig, result: FinetuneResult) -> str:
    """Return the README.md of a fine-tuned classifier."""
    start = f"weights of {config.model.init}" if config.model.init else "random weights"
    data = config.data.folder or config.data.train
    test = result.test
    auroc = "not defined" if test.auroc is None else f"{test.auroc:.4f}"
    assert data is not None
    clean = result.test_clean
    without = (
        "none is left"
        if clean is None
        else f"{clean.n:,}: accuracy {clean.accuracy:.4f}, MCC {clean.mcc:.4f}"
    )
    return f"""# Classifier of {", ".join(result.class_names)}

A HyenaDNA backbone with a pooled head, {_TRAINED[result.method]}, with genomix on {data.name}, starting from {start}.

| | |
|---|---|
| parameters that were trained | {result.n_parameters:,} |
| longest input | {config.model.config.l_max:,} bases |
| sequences | {result.n_train:,} for training, {result.n_valid:,} for validation, {test.n:,} for the test |
| test sequences also in training | {result.n_shared:,} |
| weights of | {result.chosen}, by {result.monitor} on validation |
| test accuracy | {test.accuracy:.4f} |
| test MCC | {test.mcc:.4f} |
| test F1 | {test.f1:.4f} |
| test AUROC | {auroc} |
| split | {result.split} |
| test sequences without a near copy in training | {without} |

The test set was scored once, after this had been chosen. `config.json` beside this file holds the settings,
versions and checksums of the run.

```
genomix evaluate {result.model_folder.name} table.csv
genomix predict {result.model_folder.name} table.csv -o predictions.tsv
```
"""
