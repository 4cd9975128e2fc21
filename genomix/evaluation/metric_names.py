"""How metrics are called on pages, in tables and on screens, where their keys would not do."""

METRIC_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "mcc": "MCC",
    "f1": "F1",
    "median_auroc": "median AUROC",
    "r2": "R2",
}
