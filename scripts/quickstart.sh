#!/usr/bin/env bash
# From nothing to upscaled photos: installs, trains a small network on the repo's sample photos, and
# upscales photos that it has not seen.
#
#   bash scripts/quickstart.sh [OUTPUT]     default: ./quickstart-output
#
# Takes a few minutes on two cores after the installation. Safe to interrupt and to run again: every
# step continues where it was, or sees that it is done. PYTHON and SRGAN_VENV as in scripts/test.sh.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/setup_env.sh
. "$root/scripts/setup_env.sh"

case "${1:-}" in -*) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit 0 ;; esac
out=${1:-quickstart-output}
photos=$root/docs/photos

on_exit() {
    case $? in
    0) ;;
    130) echo && say "interrupted; the same command continues." ;;
    *) say "stopped at: $step; the same command continues (or starts afresh without $out)." ;;
    esac
}
step="installing"
trap on_exit EXIT
trap 'exit 130' INT

# Says what comes, shows the command as one would type it, runs it: run TITLE COMMAND ARGUMENTS...
run() {
    step=$1
    printf '\n== %s\n$ %s\n' "$1" "$2$(printf ' %q' "${@:3}")"
    "$SRGAN_BIN/$2" "${@:3}"
}

setup_env "$root"
mkdir -p "$out"

run "1/5 Cutting the sample photos into crops" \
    srgan-prepare --input="$photos/train" --output="$out/data"
run "2/5 Training the 'quick' recipe: generator, discriminator, then both against each other" \
    srgan-train --recipe=quick --data="$out/data" --run_dir="$out/run"
run "3/5 Exporting the generator as a SavedModel" \
    srgan-export --run_dir="$out/run" --overwrite
run "4/5 Upscaling small photos that were not trained on" \
    srgan-upscale --model="$out/run" --input="$photos/small" --output="$out/upscaled" --compare --overwrite
run "5/5 Measuring on the full-size originals of the same photos" \
    srgan-evaluate --model="$out/run" --hr="$photos/heldout" --json="$out/scores.json"

cat <<END

Done. Look at:
  $out/upscaled/    the upscaled photos, and bicubic | SRGAN side by side
  $out/run/samples/ how the validation pictures got better during training
  $out/scores.json  the figures above
Your own photos:    $SRGAN_BIN/srgan-upscale --model="$out/run" --input=PHOTO --output=FOLDER
END
