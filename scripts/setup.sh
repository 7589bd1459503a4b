#!/usr/bin/env bash
# Makes .venv from requirements.lock; run again, it does nothing until that or pyproject.toml changes.
# The stamp says what .venv was made from and where. It is taken away first and written last: without it
# an install was cut short, and .venv is made anew.
set -euo pipefail
cd -P "$(dirname "$0")/.."
python=${PYTHON:-python3}
stamp=.venv/stamp

fail() { echo "make: $1" >&2; exit 1; }
runs() { .venv/bin/python -c '' 2>/dev/null; }

wanted=$(cat requirements.lock pyproject.toml | sha256sum | cut -d' ' -f1)
made=$(cat "$stamp" 2>/dev/null || true)
if [[ $made == "$wanted $PWD" ]] && runs; then exit 0; fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "Polymera needs Python 3.11 or newer, which '$python' is not; name one: make PYTHON=python3.11 …"
"$python" -c 'import ensurepip' 2>/dev/null ||
    fail "'$python' cannot make a virtual environment; install the Debian package python3-venv."

if [[ $made != *" $PWD" ]] || ! runs; then rm -rf .venv; fi # cut short, moved, or its Python is gone
if [[ -d .venv ]]; then
    echo "Bringing .venv up to date." >&2
else
    echo "Setting up .venv from requirements.lock: once, some minutes; later runs need no network." >&2
fi
rm -f "$stamp"
[[ -d .venv ]] || "$python" -m venv .venv
.venv/bin/python -m pip install --disable-pip-version-check --no-deps -r requirements.lock
.venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --quiet -e .
.venv/bin/python -c 'import torch' ||
    fail "pip found torch's CUDA build; point PIP_EXTRA_INDEX_URL at PyTorch's index of CPU builds and run this again."
echo "$wanted $PWD" >"$stamp.new"
mv "$stamp.new" "$stamp"
