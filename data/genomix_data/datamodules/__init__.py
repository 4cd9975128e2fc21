"""Lightning data modules: pretraining, classification, regression, multi-label and variants.

Nothing else of genomix_data imports Lightning. Every module gives training batches that depend on their number only,
for any number of workers and ranks, and held-out batches in their own order. With several ranks, tell Lightning to keep
its own sampler out: ``Trainer(use_distributed_sampler=False)``.
"""

from genomix_data.datamodules.ordered import OrderedData, OrderedDataset
from genomix_data.datamodules.pretraining import PretrainingData
from genomix_data.datamodules.tables import ClassificationData, MultiLabelData, RegressionData
from genomix_data.datamodules.variants import VariantData

__all__ = [
    "ClassificationData",
    "MultiLabelData",
    "OrderedData",
    "OrderedDataset",
    "PretrainingData",
    "RegressionData",
    "VariantData",
]
