#!/usr/bin/env bash
# Fuzzes every format and the C code, and writes a record:
#   bash tests/fuzz/run.sh [SECONDS [TARGET…]]      60 seconds for each of all targets
# clang and atheris are installed where they are missing and can be had; without atheris formats are
# fuzzed without coverage, without clang the C code is not. VHDFAST_FUZZ_JOBS: targets at once (1).
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${VHDFAST_PYTHON:-.venv/bin/python}
if [ ! -x "$python" ]; then
    echo "run 'bash tests/run.sh' first: it makes .venv" >&2
    exit 2
fi
if ! command -v clang >/dev/null; then
    sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    packages=(clang libdeflate-dev libzstd-dev zlib1g-dev)
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${packages[@]}" \
        || echo "without clang the C code is not fuzzed" >&2
fi
"$python" -c 'import atheris' 2>/dev/null || "$python" -m pip install -q atheris \
    || echo "without atheris formats are fuzzed without coverage" >&2

seconds=${1:-60}
[ $# -eq 0 ] || shift
exec "$python" tests/fuzz/run.py --seconds "$seconds" --jobs "${VHDFAST_FUZZ_JOBS:-1}" "$@"
