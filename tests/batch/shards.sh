#!/bin/bash
# Denoise the FITS files below a folder in shares, two at a time: shards.sh FOLDER RESULTS [SHARES] [OPTIONS...]
set -euo pipefail
folder=$1 results=$2 shares=${3:-4}
options=("${@:4}")
mkdir -p "$results"
find "$folder" -name '*.fits' | sort > "$results/list.txt"
[ -e "$results/noise.json" ] || xargs -d '\n' -a "$results/list.txt" astropy-n2v noise -o "$results/noise.json"
seq "$shares" | xargs -P 2 -I '{}' astropy-n2v denoise --files-from "$results/list.txt" -o "$results" \
    --noise "$results/noise.json" --skip-existing --shard '{}'/"$shares" ${options[@]+"${options[@]}"}
