"""A stand-in for qemu-img: it serves what it can answer alike, and hands over everything else.

Each cmd_<command>.py is one command of qemu-img, found by existing. docs/qemu-img.md says what is
served, what is handed over, and why.
"""
