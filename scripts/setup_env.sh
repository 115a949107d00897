# Sourced by the repo's shell commands: picks a Python, makes a virtual environment, installs into it.
#
#   setup_env ROOT [EXTRA]   sets SRGAN_BIN to the environment's bin folder
#
# PYTHON      interpreter to use (default: the first of python3.11, 3.12, 3.10, 3.13 that works)
# SRGAN_VENV  where the environment goes (default: ROOT/.venv-<X.Y>)
# shellcheck shell=bash

NEEDED_MB=4000 # TensorFlow and the rest take up to 2.5 GB installed; pip unpacks beside that.
SPARE_MB=500   # What a run itself writes, once everything is installed.

say() { printf '%s: %s\n' "$(basename "$0")" "$*"; }

die() {
    printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Prints the real path of interpreter $1 (behind pyenv's shims) if it runs and is 3.10 to 3.13.
real_python() {
    "$1" -c 'import sys
print(sys.executable)
sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

# Prints the path of an interpreter called $1; looks behind pyenv's shims, where a python3.12 may be
# on PATH and still answer "command not found" because another version is selected.
find_named() {
    local candidate
    real_python "$1" && return
    for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/"$1"; do
        [ -x "$candidate" ] && real_python "$candidate" && return
    done
    return 1
}

can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Prints the interpreter to use: $PYTHON, else the first that can make virtual environments.
find_python() {
    local name found without_venv=""
    if [ -n "${PYTHON:-}" ]; then
        found=$(find_named "$PYTHON") || die "PYTHON=$PYTHON is not a working Python 3.10 to 3.13."
        can_make_venv "$found" || no_venv "$found"
        echo "$found"
        return
    fi
    for name in python3.11 python3.12 python3.10 python3.13 python3; do
        found=$(find_named "$name") || continue
        can_make_venv "$found" && echo "$found" && return
        without_venv=$found
    done
    [ -z "$without_venv" ] || no_venv "$without_venv"
    die "no Python 3.10 to 3.13 found; install one, or name it: PYTHON=/path/to/python3.11 bash $0"
}

no_venv() {
    die "$1 cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv" \
        "(or python3.X-venv for its version)."
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# Fails with one line unless folder $1 (or its nearest existing parent) has $2 MB free.
need_space() {
    local folder=$1 free
    until [ -d "$folder" ]; do folder=$(dirname "$folder"); done
    free=$(df -Pk "$folder" | awk 'NR == 2 { print int($4 / 1024) }')
    [ "$free" -ge "$2" ] || die "only $free MB free in $folder, $2 MB are needed."
}

# Turns a failed pip run into one line; its whole output stays in log $1.
explain_pip_failure() {
    if grep -qi 'no space left' "$1"; then
        die "the disk became full while installing; pip's output is in $1"
    elif grep -qiE 'NewConnectionError|NameResolution|name resolution|ProxyError|ConnectTimeout|Max retries|Connection (refused|broken|error)|Network is unreachable' "$1"; then
        die "the package index cannot be reached; check the network or proxy, then run this again" \
            "(pip's output is in $1)."
    fi
    tail -n 15 "$1" >&2
    die "pip could not install; its whole output is in $1"
}

# Installs the repo $1 with extra $2 into environment $3, unless that was done with this setup.py.
install_repo() {
    local root=$1 extra=$2 venv=$3 stamp="$3/.srgan-installed-${2:-plain}" log="$3/install.log" wanted
    wanted="$root $(cat "$root/setup.py" "$root/pyproject.toml" | cksum)"
    # What scripts/test.sh installed (dev and others) has all that any other script needs.
    for stamp in "$venv"/.srgan-installed-dev* "$stamp"; do
        if has_line "$stamp" "$wanted"; then
            need_space "$venv" "$SPARE_MB"
            return
        fi
    done
    # An environment holds one checkout: another's would be taken for installed, but be gone.
    for stamp in "$venv"/.srgan-installed-*; do
        case $(cat "$stamp" 2>/dev/null) in "$root "*) ;; *) rm -f "$stamp" ;; esac
    done
    stamp="$venv/.srgan-installed-${extra:-plain}"
    need_space "$venv" "$NEEDED_MB"
    need_space "${TMPDIR:-/tmp}" "$SPARE_MB"
    say "installing srgan-tf${extra:+[$extra]} into $venv (the first time this downloads about 0.7 GB)"
    # The pip that comes with older Pythons resolves slowly, and was seen to search without end.
    pip_install "$venv" --upgrade pip >"$log" 2>&1 || explain_pip_failure "$log"
    (cd "$root" && pip_install "$venv" -e ".${extra:+[$extra]}") >"$log" 2>&1 ||
        explain_pip_failure "$log"
    printf '%s\n' "$wanted" >"$stamp"
}

pip_install() { "$1/bin/python" -m pip install -q --disable-pip-version-check "${@:2}"; }

has_line() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

setup_env() {
    local root=$1 extra=${2:-} python version venv
    python=$(find_python) || exit 1
    version=$(version_of "$python")
    venv=${SRGAN_VENV:-$root/.venv-$version}
    case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
    if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        [ ! -e "$venv" ] || [ -e "$venv/pyvenv.cfg" ] || [ -z "$(ls -A "$venv")" ] ||
            die "$venv is not a virtual environment; move it away or set SRGAN_VENV."
        need_space "$venv" "$NEEDED_MB"
        say "making a virtual environment with Python $version in $venv"
        "$python" -m venv --clear "$venv" || die "could not make a virtual environment in $venv"
    elif [ "$(version_of "$venv/bin/python")" != "$version" ] && [ -n "${PYTHON:-}" ]; then
        die "$venv holds Python $(version_of "$venv/bin/python"), but PYTHON=$PYTHON is $version;" \
            "set another SRGAN_VENV."
    fi
    install_repo "$root" "$extra" "$venv"
    export SRGAN_BIN="$venv/bin"
}
