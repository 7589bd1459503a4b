#!/usr/bin/env bash
# Adds vLLM to .venv from requirements-vllm.lock; run again, it does nothing until that changes.
set -euo pipefail
cd -P "$(dirname "$0")/.."
stamp=.venv/stamp-vllm

wanted=$(sha256sum <requirements-vllm.lock)
if [[ $(cat "$stamp" 2>/dev/null) == "$wanted" ]]; then exit 0; fi

echo "Installing vLLM into .venv: once, some minutes; make serve uses it from then on." >&2
rm -f "$stamp"
.venv/bin/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r requirements-vllm.lock
.venv/bin/python -c 'import vllm.version' ||
    { echo "make: vLLM cannot be imported; the transformers engine still serves." >&2; exit 1; }
echo "$wanted" >"$stamp"
