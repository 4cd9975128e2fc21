#!/bin/bash
# The BRCA1 sample that ships with genomix in two shards, one after the other, and merged: to see that all works.
# Usage: smoke.sh MODEL FOLDER
set -euo pipefail
model=$1 folder=$2
mkdir -p "$folder"
samples=$(python -c 'from genomix_data import samples; print(samples.path("brca1_sge.vcf.gz").parent)')
for number in 1 2; do
    genomix score "$samples/brca1_sge.vcf.gz" -f "$samples/brca1_region.fa.gz" -m "$model" --window 64 --horizon 8 \
        --exact-sample 0 --shard "$number/2" --resume -q -o "$folder/part.$number.vcf.gz"
done
genomix merge "$folder"/part.*.vcf.gz -o "$folder/scored.vcf.gz" -W
