"""Notices of the formats that are neither VHD nor VHDX."""

from __future__ import annotations

from .base import Explanation

__all__ = ["NOTICES"]

_RAW = "docs/formats/raw.md"
_QCOW2 = "docs/formats/qcow2.md"
_VDI = "docs/formats/vdi.md"
_VMDK = "docs/formats/vmdk.md"
_PARALLELS = "docs/formats/parallels.md"

NOTICES = (
    Explanation(
        "capacity-differs",
        "An extent is larger than its descriptor says",
        "The VMDK's descriptor gives a number of sectors for each file, and one of them has more. "
        "The disk was resized by a tool that changed only one of the two.",
        "The descriptor counts; what is beyond is left out. If the disk was enlarged, its new end "
        "is missing.",
        "Compare the size that `vhdfast info IMAGE` shows with that in the machine's settings. If "
        "it is too small, let VMware write the disk anew (`vmware-vdiskmanager -r`, or "
        "`vmkfstools -i`), and convert that.",
        (_VMDK,),
    ),
    Explanation(
        "dirty",
        "A qcow2 image was not closed",
        "The program that wrote to it crashed, or still runs. Its reference counts may be wrong.",
        "Reading needs none of them: the disk is read as it was last written. If the machine "
        "still runs, the source may change under the copy, which then fails with "
        "`source-changed`.",
        "Shut the machine down first. An image that nobody uses is converted as it is; `qemu-img "
        "check -r all IMAGE` puts the counts right, for those who will write to it.",
        (_QCOW2,),
    ),
    Explanation(
        "encrypted",
        "The disk is encrypted as a whole (LUKS)",
        "A raw image begins with a LUKS header: either the guest encrypts its disk, or the image "
        "itself was encrypted by qemu-img.",
        "The bytes are converted as they are, encrypted. Zeros cannot be told from data, so the "
        "target is as large as the disk. Azure cannot start a machine from a disk without a boot "
        "loader in clear.",
        "If qemu-img made the image, decrypt it first, with the command in the warning. A data "
        "disk of a guest that has the key is fine as it is.",
        (_RAW,),
    ),
    Explanation(
        "extent-alone",
        "One extent of a VMDK, without the descriptor of its disk",
        "You named a file such as `disk-s001.vmdk` or `disk-delta.vmdk`. A small text file, the "
        "descriptor, puts such files together to a disk.",
        "Only what this file holds is read: other extents, and what lies in a parent, are "
        "missing. The result is seldom a disk that works.",
        "Name the descriptor, mostly `disk.vmdk`, and keep all files in one directory.",
        (_VMDK,),
    ),
    Explanation(
        "grain-directory-damaged",
        "A table of a VMDK is damaged, its copy is used",
        "A sparse VMDK keeps its tables twice. The first ones point outside the file.",
        "The redundant ones are used, which is what they are there for. Other programs may use "
        "the first ones and fail.",
        "Nothing needs to be done for a conversion. Compare the file with its original where that "
        "is at hand.",
        (_VMDK,),
    ),
    Explanation(
        "marked-corrupt",
        "A program found the image corrupt and marked it",
        "qemu saw tables that contradict each other while the machine ran, stopped writing and "
        "set a mark in the qcow2 header.",
        "What the tables say is read. Parts of the disk may be wrong, and nothing here can tell "
        "which.",
        "Keep a copy. `qemu-img check IMAGE` tells how bad it is; `qemu-img check -r all COPY` "
        "repairs what can be. After converting, check the guest's file systems before you trust "
        "them.",
        (_QCOW2,),
    ),
    Explanation(
        "no-access",
        "An extent of a VMDK is marked NOACCESS",
        "The descriptor says that the machine may not read this part of the disk. That is "
        "unusual: it stands for parts of a physical disk that were kept from the guest.",
        "It reads as zeros, as it did for the machine.",
        "Nothing needs to be done if the machine worked this way. To include the part, change the "
        "word to RW in a copy of the descriptor.",
        (_VMDK,),
    ),
    Explanation(
        "not-closed",
        "The image was not closed properly, or is in use",
        "The program that wrote to it crashed, was killed, or still runs.",
        "It is read as it is: the last writes may be missing, and the guest's file systems are as "
        "after a power failure.",
        "Shut the machine down and try again. If it cannot be started any more, convert the "
        "image, and let the guest check its file systems at the first start.",
        (_PARALLELS, _VMDK),
    ),
    Explanation(
        "parent-modified",
        "The parent was written to after the child was made",
        "A VDI keeps an identifier that changes with every writing, and the parent's is not the "
        "one that the child has of it. Someone started a machine with the parent itself.",
        "The disk is mixed from two states. It may boot, and have files that are silently wrong.",
        "Restore the parent from a backup of the time of the snapshot. If there is none, check "
        "the guest's file systems and data after converting, before you rely on them.",
        (_VDI,),
    ),
    Explanation(
        "parent-not-checked",
        "Nothing shows that the parent is the right one",
        "The image, or the parent that you named, has no identifier that could be compared.",
        "The one that was named is taken. With another one the disk would be nonsense, and no "
        "error would come.",
        "Make sure of it yourself: look at the names and times in the directory, and at the guest "
        "after converting. With a VMDK name the descriptor, which has the identifier.",
        (_VDI, _VMDK),
    ),
    Explanation(
        "snapshots-damaged",
        "The table of snapshots cannot be read",
        "A qcow2 image says that it has snapshots, and the table of them is damaged.",
        "The disk itself does not need the table, and is read as it is now. Snapshots cannot be "
        "chosen.",
        "Nothing needs to be done unless you want a snapshot. `qemu-img check IMAGE` shows "
        "whether there is more damage.",
        (_QCOW2,),
    ),
)
