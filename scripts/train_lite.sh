#!/usr/bin/env bash
# Trains `lite` and `lite-gan`, the models that come with the package, and puts their weights into
# this checkout.
#
#   bash scripts/train_lite.sh [--photos=FOLDER] [--steps=N] [--gan_steps=N] [--vgg=FILE]
#                              [--weights=FOLDER] [--precision=NAME] [--teacher=NAME] [OUTPUT]
#
#   --photos     pictures to train on (default: those of srgan_tf/models/weights/lite_pictures.tsv,
#                out of packages of Debian 12, which apt-get downloads; no root needed)
#   --steps      of the training of lite (default: 85000, 70 minutes on two cores that compute in
#                bfloat16, several times as long on others)
#   --gan_steps  of that of lite-gan after it (default: 4000; 0: lite alone)
#   --vgg        VGG19's kernels, an .h5 or .npz (default: imagenet, which is downloaded)
#   --weights    where the weights go (default: srgan_tf/models/weights, the package)
#   --precision  float32 or bfloat16 (default: what OUTPUT was begun with; at first bfloat16 where
#                the processor computes in it)
#   --teacher    srresnet enlarges small copies of the pictures, which is HR, too (default; 16 us for
#                a pixel of LR there), or none
#   OUTPUT       folder for everything else (default: ./lite-training; 4 GB)
#
# Safe to interrupt and to run again: every step continues where it was, or sees that it is done.
# PYTHON and SRGAN_VENV as in scripts/test.sh. What is done and why: docs/MODELS.md.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/setup_env.sh
. "$root/scripts/setup_env.sh"
list=$root/srgan_tf/models/weights/lite_pictures.tsv

photos="" steps=85000 gan_steps=4000 vgg=imagenet weights="" precision="" teacher=srresnet out=""
for argument in "$@"; do
    case $argument in
    --photos=*) photos=${argument#*=} ;;
    --steps=*) steps=${argument#*=} ;;
    --gan_steps=*) gan_steps=${argument#*=} ;;
    --vgg=*) vgg=${argument#*=} ;;
    --weights=*) weights=${argument#*=} ;;
    --precision=*) precision=${argument#*=} ;;
    --teacher=*) teacher=${argument#*=} ;;
    -h | --help) sed -n '2,24s/^# \{0,1\}//p' "$0" && exit 0 ;;
    -*) die "there is no option $argument; see --help." ;;
    *)
        [ -z "$out" ] || die "one folder for the output, not $out and $argument."
        out=$argument
        ;;
    esac
done
out=${out:-lite-training}
[[ $steps =~ ^[1-9][0-9]*$ ]] || die "--steps=$steps is not a number of steps."
[[ $gan_steps =~ ^[0-9]+$ ]] || die "--gan_steps=$gan_steps is not a number of steps."
if [ -z "$precision" ] && [ -s "$out/precision" ]; then
    precision=$(cat "$out/precision") # A run goes on in that which it was begun in.
elif [ -z "$precision" ]; then
    precision=float32
    # Elsewhere bfloat16 is slower by far, not faster.
    ! grep -qsE '^flags.*(avx512|amx)_bf16' /proc/cpuinfo || precision=bfloat16
fi
case $precision in float32 | bfloat16) ;; *) die "--precision=$precision: float32 or bfloat16." ;; esac
case $teacher in srresnet | none) ;; *) die "--teacher=$teacher: srresnet or none." ;; esac
[ "$vgg" = imagenet ] || [ -f "$vgg" ] || die "--vgg=$vgg: there is no such file."
[ -z "$photos" ] || [ -d "$photos" ] || die "--photos=$photos: there is no such folder."

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

# Prints columns $1 of the list of pictures, without its comments and its heading.
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

# Writes a line for each picture: its path, its name, and by what it is shrunk: for HR, and for
# the teacher.
list_pictures() {
    local package file name sizes small
    while IFS=$'\t' read -r package file name sizes small; do
        [ "$teacher" != none ] || small=""
        [ -e "$out/unpacked/$package/usr/share/$file" ] ||
            die "$package has no $file: is it that of Debian 12, as $list says?"
        printf '%s\t%s\t%s\t%s\n' "$out/unpacked/$package/usr/share/$file" "$name" "$sizes" "$small"
    done < <(column 1-5)
}

# The same for all files of folder $1, which are named with their endings: a.jpg is not a.png.
list_folder() {
    local path small="6 10"
    [ "$teacher" != none ] || small=""
    for path in "$1"/*; do
        [ ! -f "$path" ] || printf '%s\t%s\t%s\t%s\n' "$path" "$(basename "$path")" "2 3 4" "$small"
    done
}

# Writes the pictures listed in file $1 into $2/hr/SIZE/NAME.png and $2/small/SIZE/NAME.png; with $3
# all of them must do. Transparent ones are put on grey. What is no picture is named and left out,
# but for pictures of the list.
#   hr     by Lanczos; sides are multiples of 4, so that nothing need be cut off for LR at a quarter
#   small  by bicubic, as LR is: the teacher enlarges them
shrink() {
    "$SRGAN_BIN/python" - "$@" <<'END'
import concurrent.futures
import os
import pathlib
import sys

from PIL import Image

wanted, output = map(pathlib.Path, sys.argv[1:3])
Image.MAX_IMAGE_PIXELS = None


def opened(path):
    image = Image.open(path)
    if image.mode == "RGB":
        return image
    image = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, (128, 128, 128, 255))
    ground.alpha_composite(image)
    return ground.convert("RGB")


def shrink(line):
    path, name, sizes, small = line.split("\t")
    try:
        write(path, name, (("hr", sizes, Image.LANCZOS, 4), ("small", small, Image.BICUBIC, 1)))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        return f"{path} is no picture that can be used ({error})."
    return None


def write(path, name, kinds):
    missing = []
    for folder, sizes, kernel, multiple in kinds:
        for size in sizes.split():
            target = output / folder / size / f"{name}.png"
            if not target.exists():
                missing.append((target, float(size), kernel, multiple))
    image = opened(path) if missing else None
    for target, factor, kernel, multiple in missing:
        width, height = (int(side / factor) // multiple * multiple for side in image.size)
        if not width or not height:  # No crop would fit into it either.
            continue
        small = image.crop((0, 0, round(width * factor), round(height * factor)))
        if factor != 1:
            small = small.resize((width, height), kernel)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        small.save(part, "png", compress_level=1)
        os.replace(part, target)


if __name__ == "__main__":
    try:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            faults = list(filter(None, pool.map(shrink, wanted.read_text().splitlines())))
    except KeyboardInterrupt:
        sys.exit(130)
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(bool(faults) and len(sys.argv) > 3)
END
}

[ -e "$out/data" ] || need_space "$out" 4000
if [ "$teacher" = none ]; then setup_env "$root"; else setup_env "$root" pretrained; fi
mkdir -p "$out/debs" "$out/unpacked"
printf '%s\n' "$precision" >"$out/precision"

if [ -z "$photos" ]; then
    title "1/7 Downloading the pictures"
    for name in $(column 1 | sort -u); do unpack "$name"; done
    list_pictures >"$out/wanted.part"
else
    list_folder "$photos" >"$out/wanted.part"
    [ -s "$out/wanted.part" ] || die "--photos=$photos has no files."
fi
[ ! -e "$out/wanted.tsv" ] || cmp -s "$out/wanted.part" "$out/wanted.tsv" ||
    die "$out was begun with other pictures, another --teacher, or by an older version of this" \
        "script: give another folder for the output. (Its folder debs can be moved there.)"
mv "$out/wanted.part" "$out/wanted.tsv"
title "2/7 Shrinking them: less noise, no traces of JPEG, several sizes of everything"
if [ -z "$photos" ]; then
    shrink "$out/wanted.tsv" "$out" all
else
    shrink "$out/wanted.tsv" "$out"
fi
[ -d "$out/hr" ] || die "there is no picture that can be used."
inputs=("--input=$out/hr")
if [ "$teacher" != none ]; then
    title "3/7 Letting $teacher, the teacher, enlarge small ones: HR without noise, at more sizes"
    # Folder by folder: in one of them all names differ.
    for folder in "$out"/small/*; do
        run srgan-upscale --model="$teacher" --input="$folder" --output="$out/teacher/${folder##*/}"
    done
    inputs+=("--input=$out/teacher")
fi
title "4/7 Cutting all of them into crops"
# The pictures for validation are in training at other sizes: what counts is the score at the end.
run srgan-prepare "${inputs[@]}" --output="$out/data" --min_detail=3 --validation_percent=1
title "5/7 Training lite"
train() { run srgan-train --precision="$precision" --data="$out/data" --validation_images=4 "$@"; }
train --recipe=lite --run_dir="$out/lite" --pretrain_steps="$steps" --validate_every=3000 --checkpoint_every=500
gan_decay=$((10#$gan_steps * 3 / 4))
[ "$gan_decay" -gt 0 ] || gan_decay=1
if [ "$gan_steps" -gt 0 ]; then
    title "6/7 Training lite-gan"
    train --recipe=lite_gan --init_from="$out/lite" --run_dir="$out/lite-gan" \
        --gan_steps="$gan_steps" --gan_decay_at="$gan_decay" --vgg_weights="$vgg"
fi
title "7/7 Putting the weights into the package"
ship() { run python "$root/scripts/ship_weights.py" "$@" ${weights:+--output="$weights"}; }
ship --name=lite --run_dir="$out/lite"
# Not all of the way: the noise that the rest of it adds is no detail.
[ "$gan_steps" -eq 0 ] || ship --name=lite-gan --run_dir="$out/lite-gan" --blend="$out/lite,0.85"
run srgan-evaluate --model="$out/lite" --hr="$root/docs/photos/heldout"
