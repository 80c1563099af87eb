#!/usr/bin/env bash
# Trains depth on many RGB-D scenes, everything else held: what docs/training.md tells of, and was not shipped.
#
#     tools/train_depth.sh PHOTOS RGBD SCENES FOLDER
#
# PHOTOS: the 340 photographs. RGBD: the 200 frames of 7-Scenes redkitchen. SCENES: train, train_far, validation and
# validation_far, with a folder per scene. FOLDER: where samples, runs and the model go.
# Rendering takes some 0.5 s per frame and core, training 5 minutes on half a core.
set -euo pipefail
photos=$(realpath "$1") rgbd=$(realpath "$2") scenes=$(realpath "$3")
mkdir -p "$4"
folder=$(realpath "$4")
cd "$(dirname "$0")/.."
run() { "${PYTHON:-python}" -m image_as_imu_training "$@"; }

# One folder per scene: each frame of mixed_scenes* is a scene of its own.
for scene in "$scenes"/{train,validation}*/*/; do
    part=$(basename "$(dirname "$scene")") name=$(basename "$scene")
    mkdir -p "$folder/scenes/$part"
    case $name in
    mixed_scenes*)
        for pose in "$scene"frame-*.pose.txt; do
            frame=$(basename "$pose" .pose.txt)
            one=$folder/scenes/$part/${name}_${frame#frame-}
            mkdir -p "$one"
            ln -sf "$scene$frame".* "$scene"camera-intrinsics.txt "$one"
        done
        ;;
    *) ln -sfn "${scene%/}" "$folder/scenes/$part/$name" ;;
    esac
done
# The kitchen has more frames than all scenes together: it counts as four.
kitchen=7scenes:$rgbd
render() {
    run render --photos "$photos" --rgbd "$kitchen" --rgbd "$kitchen" --rgbd "$kitchen" --rgbd "$kitchen" \
        --rgbd "7scenes:$folder/scenes" --samples 0 "$@"
}

render --frames 0 --output "$folder/data" # held out, of the default seed: to calibrate on
# Another seed needs a folder of its own, and renders held-out samples there, which nobody looks at.
render --frames 512 --room-share 0.3 --rgbd-share 0.7 --seed 90 --output "$folder/train"
mkdir -p "$folder/data/train_frames"
cp "$folder/train/train_frames"/shard_*.tar "$folder/data/train_frames"

# In three processes, as it was; other numbers draw other samples.
ACCELERATE_USE_CPU=1 OMP_NUM_THREADS=1 "${TORCHRUN:-torchrun}" --nproc_per_node 3 -m image_as_imu_training train \
    stage=depth data="$folder/data" init=models/blur_imu_small.safetensors checkpoint="$folder/runs/depth" \
    batch=3 precision=no validation.data=null log=none
run export --checkpoint "$folder/runs/depth" --data "$folder/data" --output "$folder/blur_imu_small.onnx" \
    --version trial --precision fp16 int8
