#!/usr/bin/env bash
# Installs the Debian packages that the named commands come from, and only those whose command is missing.
# Usage: scripts/debian.sh chromium java
set -euo pipefail

declare -A package=(
    [chromium]=chromium             # the chat's test drives a real browser
    [java]=default-jre-headless     # CIDEr's reference tokenizer is a Java program
    [npm]=npm                       # some assets are npm packages
    [curl]=curl                     # the README's example
)

missing=()
for command in "$@"; do
    command -v "$command" >/dev/null || missing+=("${package[$command]}")
done
if ((${#missing[@]} == 0)); then exit 0; fi

command -v apt-get >/dev/null || { echo "make: please install ${missing[*]}: there is no apt-get here." >&2; exit 1; }
echo "Installing Debian packages: ${missing[*]}" >&2
as_root=()
if ((EUID != 0)); then as_root=(sudo); fi
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
