"""The parts of a pretraining run that have windows of one length: one, or several where the length warms up.

Tokens in a step are the same in all of them: a stage of shorter windows has more of them in a batch. Each stage has an
order of windows of its own, a pure function of the seed as ever.
"""

from dataclasses import dataclass

from genomix.training.config import PretrainConfig
from genomix_data.corpus import Corpus
from genomix_data.lm_dataset import TrainingWindows
from genomix_data.n_policy import NPolicy
from genomix_data.sampler import mix64

_STAGE = 11  # keeps the seeds of the stages apart from others


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Steps with windows of one length.

    Args:
        windows: The training windows.
        batch_size: Windows in a batch.
        first_step: Step of the run (0-based) that it begins with.
        steps: How many it has; None is all that are left.
    """

    windows: TrainingWindows
    batch_size: int
    first_step: int = 0
    steps: int | None = None

    @property
    def batches_per_epoch(self) -> int:
        """Batches in a pass over the windows."""
        return -(-len(self.windows) // self.batch_size)

    @property
    def tokens_per_batch(self) -> int:
        """Target tokens of a full batch."""
        return min(self.batch_size, len(self.windows)) * self.windows.seqlen

    def stop(self, max_steps: int) -> int:
        """Return the first step that no longer belongs to it, in a run of so many steps."""
        return max_steps if self.steps is None else min(self.first_step + self.steps, max_steps)


def training_stages(corpus: Corpus, config: PretrainConfig) -> tuple[Stage, ...]:
    """Return the stages that the settings ask for; the last has windows of ``data.seqlen`` tokens."""
    stages, first = [], 0
    data, seed = config.data, config.trainer.seed
    for number, (steps, seqlen) in enumerate(data.seqlen_warmup or ()):
        windows = training_windows(corpus, config, seqlen=seqlen, seed=mix64(seed, _STAGE, number) >> 1)
        batch_size = data.batch_size * data.seqlen // seqlen
        stages.append(Stage(windows=windows, batch_size=batch_size, first_step=first, steps=steps))
        first += steps
    windows = training_windows(corpus, config)
    return (*stages, Stage(windows=windows, batch_size=data.batch_size, first_step=first))


def training_windows(
    corpus: Corpus, config: PretrainConfig, *, seqlen: int | None = None, seed: int | None = None
) -> TrainingWindows:
    """Return the training windows that the settings ask for, of another length or order if given."""
    data = config.data
    return TrainingWindows(
        corpus,
        data.seqlen if seqlen is None else seqlen,
        seed=config.trainer.seed if seed is None else seed,
        jitter=data.jitter,
        rc_augment=data.rc_augment,
        add_eos=data.add_eos,
        n_policy=NPolicy.parse(data.n_policy),
        weights=data.weights,
        packing=data.packing,
        soft_mask_weight=data.soft_mask_weight,
    )
