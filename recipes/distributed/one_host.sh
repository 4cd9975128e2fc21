#!/usr/bin/env bash
# All GPUs of this host: bash one_host.sh -o run data.fasta=genome.fa parallel.context=2 ...
# NPROC: how many processes; by default one for each GPU.
set -euo pipefail

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"
# sequences of a million tokens need large pieces of memory, which may not be left between small ones
export PYTORCH_CUDA_ALLOC_CONF="${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}"

exec torchrun --standalone --nproc-per-node "${NPROC:-gpu}" -m genomix_cli.main pretrain "$@"
