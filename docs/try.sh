#!/usr/bin/env bash
# Installs vhdfast into .venv, makes a real disk image and converts it. Run from a clone:
#   bash docs/try.sh
set -euo pipefail
cd "$(dirname "$0")/.."

install_packages() { # installs what of these Debian packages is missing
    local missing=()
    for package in "$@"; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -q
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}"
}

install_packages python3-venv python3-dev gcc libc6-dev libdeflate-dev libzstd-dev zlib1g-dev e2fsprogs fdisk

[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/python -m pip install -q --upgrade pip
.venv/bin/python -m pip install -q .
PATH=$PWD/.venv/bin:/usr/sbin:/sbin:$PATH

# A disk of an odd size, with a GPT and an ext4 file system that holds this project's files.
mkdir -p demo
rm -f demo/disk.*
truncate -s $((300 * 1024 * 1024 + 34 * 512)) demo/disk.raw
printf 'label: gpt\nstart=2048, size=600000, type=linux\n' | sfdisk -q demo/disk.raw
mkfs.ext4 -q -F -d vhdfast -E offset=$((2048 * 512)) demo/disk.raw 300000k

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}
show vhdfast info demo/disk.raw
show vhdfast convert --fixed --align demo/disk.raw demo/disk.vhd
show vhdfast info demo/disk.vhd
show vhdfast compare demo/disk.raw demo/disk.vhd
show vhdfast check demo/disk.vhd

if command -v qemu-img >/dev/null; then
    show qemu-img convert -f raw -O vhdx demo/disk.raw demo/disk.vhdx
    show vhdfast convert --fixed --align --verify --force demo/disk.vhdx demo/disk.vhd
    show qemu-img convert -c -f raw -O qcow2 demo/disk.raw demo/disk.qcow2
    show vhdfast convert --fixed --align --verify --force demo/disk.qcow2 demo/disk.vhd
    show vhdfast compare demo/disk.raw demo/disk.vhd
    show qemu-img compare -f raw -F vpc demo/disk.raw demo/disk.vhd
fi
printf '\ndemo/disk.vhd is ready for Azure. Next: .venv/bin/vhdfast convert YOUR-IMAGE\n'
