#!/bin/bash
#SBATCH --job-name=genomix
#SBATCH --array=1-32
#SBATCH --gpus=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --requeue
# One shard a task. A task that is requeued or runs out of time goes on from where it was: submit the same line again.
# Submit: sbatch slurm.sh in.vcf.gz ref.fa MODEL shards
set -euo pipefail
vcf=$1 fasta=$2 model=$3 folder=$4
mkdir -p "$folder"
part=$folder/part.$SLURM_ARRAY_TASK_ID.vcf.gz
test -e "$part" || genomix score "$vcf" -f "$fasta" -m "$model" \
    --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --resume -o "$part"
