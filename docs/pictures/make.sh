#!/usr/bin/env bash
# Makes docs/pictures/map.svg: a disk of 17 GiB with file systems in it, and its picture.
#   bash docs/pictures/make.sh       (needs vhdfast, sfdisk, mkfs.ext4, mkfs.fat, qemu-img)
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"

truncate -s 17G disk.raw
sfdisk --quiet disk.raw <<'TABLE'
label: gpt
start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios
start=2MiB, size=254MiB, type=uefi, name=esp
start=256MiB, size=12GiB, type=linux, name=root
start=12544MiB, size=2GiB, type=swap, name=swap
TABLE
mkfs.fat --offset $((2 * 2048)) disk.raw $((254 * 1024)) >/dev/null 2>&1  # warns of the larger disk
mkdir files
head -c 700M /dev/urandom | split -b 25M - files/part-
mkfs.ext4 -q -d files -E offset=$((256 << 20)) disk.raw 12G
head -c 400M /dev/urandom | dd of=disk.raw bs=1M seek=6200 conv=notrunc status=none
qemu-img convert -O qcow2 disk.raw server.qcow2
vhdfast map --plot "$here/map.svg" --force server.qcow2
