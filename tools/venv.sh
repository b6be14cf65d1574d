#!/bin/sh
# Make a virtual environment with bpfcrypto in it, and touch stamp files for make.
#
# usage: venv.sh DIR REQUIREMENT STAMP...
#
# Plain `python3 -m venv` and pip. PYTHON names another interpreter; pip's own settings (PIP_INDEX_URL, PIP_FIND_LINKS,
# PIP_NO_INDEX) say where packages come from.
set -eu

venv=$1
requirement=$2
shift 2

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    if [ -n "${PYTHON:-}" ]; then
        echo "error: bpfcrypto needs Python 3.11 or newer, which '$PYTHON' is not" >&2
    else
        echo "error: bpfcrypto needs Python 3.11 or newer, and there is none on PATH" >&2
    fi
    echo "hint: install one (apt install python3 python3-venv, dnf install python3, brew install python), or name it: make PYTHON=/path/to/python3.12" >&2
    exit 1
}

if ! new_enough "$venv/bin/python"; then
    python=$(find_python)
    echo "setup: $venv with $("$python" --version) ($python)" >&2
    rm -rf "$venv"
    if ! output=$("$python" -m venv "$venv" 2>&1); then
        rm -rf "$venv"
        printf '%s\n' "$output" >&2
        echo "error: $python cannot make virtual environments" >&2
        echo "hint: Debian and Ubuntu keep that in a package of its own: apt install python3-venv" >&2
        exit 1
    fi
fi

echo "setup: installing bpfcrypto ($requirement) and what it needs" >&2
if ! "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --editable "$requirement"; then
    echo "error: the packages could not be installed (pip's words are above)" >&2
    echo "hint: without access to PyPI, point pip at a mirror or a folder of wheels: PIP_INDEX_URL=..., or PIP_NO_INDEX=1 PIP_FIND_LINKS=DIR" >&2
    exit 1
fi
touch "$@"
