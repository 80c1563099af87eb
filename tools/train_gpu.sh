#!/usr/bin/env bash
# Trains the shipped weights on, in the quarter of an hour that a GPU is lent for. Not run on one yet.
#
#     tools/train_gpu.sh MATERIAL FOLDER [DEVICE [WORKERS [MINUTES]]]
#
# MATERIAL: a folder with photos, photos_more, rgbd, rgbd_scenes and motions (tools/README.md, "Material").
# FOLDER: where samples, runs and the model go. DEVICE: cuda or cpu (default: cuda). WORKERS: processes that render
# (default: 15). MINUTES: of training, all together (default: 6.5).
# Sums over many threads differ in their last bits, so the weights will be alike, not the same.
set -euo pipefail
material=$(realpath "$1") device=${3:-cuda} workers=${4:-15} minutes=${5:-6.5}
mkdir -p "$2"
folder=$(realpath "$2")
cd "$(dirname "$0")/.."
run() { "${PYTHON:-python}" -m image_as_imu_training "$@"; }
share() { "${PYTHON:-python}" -c "print($1 * $minutes)"; }
train() { run train part=train_frames data="$folder/data" batch="${BATCH:-128}" steps=100000 log=none \
    validation.every=100000 validation.data="$folder/data/frames" "$@"; }

# The start: 0.8.0's weights, from this repository's history.
[ -s "$folder/start.safetensors" ] || git show df6a5b6:models/blur_imu_small.safetensors > "$folder/start.safetensors"

run render --photos "$material/photos" --photos "$material/photos_more" --rgbd "7scenes:$material/rgbd" \
    --rgbd "7scenes:$material/rgbd_scenes" --motions "$material/motions" --samples 0 --frames "${FRAMES:-38400}" \
    --room-share 0.4 --rgbd-share 0.25 --parts-share 0.15 --seed 901 --output "$folder/data" \
    --device "$device" --workers "$workers"

# First the first guess, then what refines it, then both.
train stage=velocity trains=first_guess init="$folder/start.safetensors" checkpoint="$folder/runs/first_guess" \
    minutes="$(share 0.6)" learning_rate=8e-4 freeze_norm=false weights.flow=0.25 weights.sigma=0.1 weights.depth=0.3
train stage=refinement init="$folder/runs/first_guess" checkpoint="$folder/runs/refinement" \
    minutes="$(share 0.2)" weights.depth=0
train stage=velocity trains=all init="$folder/runs/refinement" checkpoint="$folder/runs/all" \
    minutes="$(share 0.2)" learning_rate=1.5e-4 weights.flow=0.25 weights.sigma=0.1 weights.depth=0.3
