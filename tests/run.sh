#!/usr/bin/env bash
# Installs what the tests need into .venv, and runs them. Arguments go to pytest:
#   bash tests/run.sh
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(python3-venv python3-dev gcc libc6-dev libdeflate-dev libzstd-dev zlib1g-dev dosfstools e2fsprogs xfsprogs btrfs-progs fdisk gdisk qemu-utils libnbd0)
missing=()
for package in "${packages[@]}"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -q
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/python -m pip install -q --upgrade pip
.venv/bin/python -m pip install -q -e '.[test]'
exec env PATH="$PWD/.venv/bin:/usr/sbin:/sbin:$PATH" .venv/bin/python -m pytest "$@"
