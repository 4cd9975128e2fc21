"""How fast and how exact each backend of each operation is on this machine."""

from genomix_kernels.bench.cases import RequestError
from genomix_kernels.bench.run import measure_kernels

__all__ = ["RequestError", "measure_kernels"]
