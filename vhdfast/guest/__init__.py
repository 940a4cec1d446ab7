"""Reading what a guest keeps on its disk, through the virtual disk alone: no mount, no root.

Everything here reads through `pread(offset, length) -> bytes` (`Image.pread`, which answers short
only at the end of the disk), and never writes. A disk's damage is a value for the caller to judge;
what reading the image raises goes through.
"""
