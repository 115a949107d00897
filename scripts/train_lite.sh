#!/usr/bin/env bash
# Trains `lite`, the model that comes with the package, and puts its weights into this checkout.
#
#   bash scripts/train_lite.sh [--photos=FOLDER] [--steps=N] [--weights=FOLDER] [OUTPUT]
#
#   --photos   pictures to train on (default: those of srgan_tf/models/weights/lite_pictures.tsv, out
#              of packages of Debian 12, which apt-get downloads; no root needed)
#   --steps    of training (default: 16000, about two hours on two cores)
#   --weights  where the weights go (default: srgan_tf/models/weights, the package)
#   OUTPUT     folder for everything else (default: ./lite-training; 1 GB)
#
# Safe to interrupt and to run again: every step continues where it was, or sees that it is done.
# PYTHON and SRGAN_VENV as in scripts/test.sh. What is done and why: docs/MODELS.md.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/setup_env.sh
. "$root/scripts/setup_env.sh"
list=$root/srgan_tf/models/weights/lite_pictures.tsv

photos="" steps=16000 weights="" out=lite-training
for argument in "$@"; do
    case $argument in
    --photos=*) photos=${argument#*=} ;;
    --steps=*) steps=${argument#*=} ;;
    --weights=*) weights=${argument#*=} ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0" && exit 0 ;;
    -*) die "there is no option $argument; see --help." ;;
    *) out=$argument ;;
    esac
done

on_exit() {
    case $? in
    0) ;;
    130) echo && say "interrupted; the same command continues." ;;
    *) say "stopped at: $step; the same command continues." ;;
    esac
}
step="installing"
trap on_exit EXIT
trap 'exit 130' INT

title() {
    step=$1
    printf '\n== %s\n' "$step"
}

# Says what is run, as one would type it, and runs it.
run() {
    printf '$ %s\n' "$1$(printf ' %q' "${@:2}")"
    "$SRGAN_BIN/$1" "${@:2}"
}

# Prints column $1 of the list of pictures, without its comments and its heading.
column() { grep -v '^#' "$list" | tail -n +2 | cut -f "$1"; }

# Downloads package $1 into the folder debs and unpacks it into unpacked/$1.
unpack() {
    local name=$1
    [ -d "$out/unpacked/$name" ] && return
    if ! compgen -G "$out/debs/${name}_*.deb" >/dev/null; then
        command -v apt-get >/dev/null || die "$name cannot be downloaded: there is no apt-get." \
            "Put its file, from https://packages.debian.org/bookworm/$name, into $out/debs."
        (cd "$out/debs" && apt-get -q download "$name") || die "$name cannot be downloaded; try" \
            "apt-get update (as root), or put its file, from" \
            "https://packages.debian.org/bookworm/$name, into $out/debs."
    fi
    rm -rf "$out/unpacked/$name.part"
    dpkg-deb -x "$out/debs/${name}"_*.deb "$out/unpacked/$name.part"
    mv "$out/unpacked/$name.part" "$out/unpacked/$name"
}

# Copies the pictures of the list into the folder photos.
select_pictures() {
    local package file
    while IFS=$'\t' read -r package file; do
        [ -e "$out/photos/$(basename "$file")" ] && continue
        [ -e "$out/unpacked/$package/usr/share/$file" ] ||
            die "$package has no $file: is it that of Debian 12, as $list says?"
        cp -p "$out/unpacked/$package/usr/share/$file" "$out/photos/"
    done < <(paste <(column 1) <(column 2))
}

# Writes the pictures of folder $1 at a half, a third and a quarter of their size into $2/h2, h3, h4.
# Sides are multiples of 4, so that nothing need be cut off for LR at a quarter of that.
shrink() {
    "$SRGAN_BIN/python" - "$1" "$2" <<'END'
import concurrent.futures
import os
import pathlib
import sys

from PIL import Image

source, output = map(pathlib.Path, sys.argv[1:])
Image.MAX_IMAGE_PIXELS = None


def shrink(path):
    wanted = {k: output / f"h{k}" / f"{path.stem}.png" for k in (2, 3, 4)}
    wanted = {k: target for k, target in wanted.items() if not target.exists()}
    image = Image.open(path).convert("RGB") if wanted else None
    for k, target in wanted.items():
        width, height = (side // k // 4 * 4 for side in image.size)
        small = image.crop((0, 0, width * k, height * k)).resize((width, height), Image.LANCZOS)
        part = target.with_suffix(".part")
        small.save(part, "png", compress_level=1)
        os.replace(part, target)


if __name__ == "__main__":
    for k in (2, 3, 4):
        (output / f"h{k}").mkdir(exist_ok=True)
    try:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(shrink, sorted(source.iterdir())))
    except KeyboardInterrupt:
        sys.exit(130)
END
}

setup_env "$root" pretrained
mkdir -p "$out/debs" "$out/unpacked" "$out/photos"

if [ -z "$photos" ]; then
    title "1/7 Downloading the pictures"
    for name in $(column 1 | sort -u); do unpack "$name"; done
    select_pictures
    photos=$out/photos
fi
title "2/7 Shrinking them: less noise, no traces of JPEG, three sizes of everything"
shrink "$photos" "$out"
title "3/7 Making LR pictures for the teacher"
for k in 3 4; do
    run srgan-prepare --make_lr --scale=4 --input="$out/h$k" --output="$out/l$k"
done
title "4/7 Upscaling them with the teacher, srresnet: what it makes is more to learn from"
for k in 3 4; do
    run srgan-upscale --model=srresnet --input="$out/l$k" --output="$out/t$k"
done
title "5/7 Cutting all into crops"
run srgan-prepare --input="$out/h2" --input="$out/h3" --input="$out/h4" \
    --input="$out/t3" --input="$out/t4" --output="$out/data" --min_detail=2 --validation_percent=1
title "6/7 Training"
run srgan-train --recipe=lite --data="$out/data" --run_dir="$out/run" --batch_size=8 \
    --pretrain_steps="$steps" --validation_images=3 --validate_every=2000 --checkpoint_every=500
title "7/7 Putting the weights into the package"
run python "$root/scripts/ship_weights.py" --run_dir="$out/run" ${weights:+--output="$weights"}
run srgan-evaluate --model="$out/run" --hr="$root/docs/photos/heldout"
