#!/bin/bash
# A Ray cluster of two nodes, both on this machine, that asks for a token: scores the BRCA1 sample through it, and
# compares the file with that of a single process. To see that Ray works before it is a cluster of many machines.
# Usage: ray_two_nodes.sh MODEL FOLDER
set -euo pipefail
model=$1 folder=$2
mkdir -p "$folder"
samples=$(python -c 'from genomix_data import samples; print(samples.path("brca1_sge.vcf.gz").parent)')
input=("$samples/brca1_sge.vcf.gz" -f "$samples/brca1_region.fa.gz" -m "$model" --window 64 --horizon 8 --strand forward
    --exact-sample 0 --device cpu -t BRCA1_hg19_chr17_41176312_41370000:1-33000)  # two blocks of records, a shard each

# One secret, the same for every node and for whoever scores; on many machines in a file that RAY_AUTH_TOKEN_PATH names.
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$folder/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_TOKEN RAY_ADDRESS
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
address=$(python -c 'import ray; print(ray.util.get_node_ip_address())'):$port
small=(--num-cpus 1 --num-gpus 0 --object-store-memory 100000000 --disable-usage-stats --block)

# --block keeps a node in the foreground of its own process, so that just these two are ended.
ray start --head --port "$port" --include-dashboard false "${small[@]}" > "$folder/head.log" 2>&1 &
head=$!
trap 'kill $head ${second:-} 2> /dev/null; wait' EXIT
until python -c "import socket; socket.create_connection(('${address%:*}', $port), 1)" 2> /dev/null; do
    kill -0 $head || { cat "$folder/head.log" >&2; exit 1; }
    sleep 0.2
done
ray start --address "$address" "${small[@]}" > "$folder/second.log" 2>&1 &
second=$!
until ray status --address "$address" 2> /dev/null | grep -q '/2.0 CPU'; do
    kill -0 $second || { cat "$folder/second.log" >&2; exit 1; }
    sleep 0.2
done

echo "== two nodes, two workers"
genomix score "${input[@]}" --engine ray --ray-address "$address" --ray-workers 2 --threads 1 \
    --cache "$folder/cache" --report "$folder/ray.json" -o "$folder/ray.vcf.gz" -W
echo "== one process"
genomix score "${input[@]}" --threads 1 -q -o "$folder/whole.vcf.gz"
cmp <(gzip -dc "$folder/ray.vcf.gz" | grep -v '^##genomixCommand') \
    <(gzip -dc "$folder/whole.vcf.gz" | grep -v '^##genomixCommand')
echo "the same file"

echo "== with another token: refused"
(umask 077 && python -c 'print("0" * 64, end="")' > "$folder/other_token")
code=0
RAY_AUTH_TOKEN_PATH=$folder/other_token genomix score "${input[@]}" --engine ray --ray-address "$address" \
    -o "$folder/refused.vcf.gz" 2> "$folder/refused.log" || code=$?
grep 'asks for a token' "$folder/refused.log"
test $code = 3
echo "exit code 3"
