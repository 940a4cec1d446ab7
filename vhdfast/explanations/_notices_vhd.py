"""Notices of VHD and VHDX."""

from __future__ import annotations

from .base import Explanation

__all__ = ["NOTICES"]

_VHD = "docs/formats/vhd.md"
_VHDX = "docs/formats/vhdx.md"
_QCOW2 = "docs/formats/qcow2.md"
_QCOW = "docs/formats/qcow.md"
_VDI = "docs/formats/vdi.md"
_VMDK = "docs/formats/vmdk.md"
_PARALLELS = "docs/formats/parallels.md"

NOTICES = (
    Explanation(
        "bytes-after-footer",
        "Something follows the footer of a VHD",
        "The footer belongs in the last 512 bytes of the file, and more bytes stand behind it: a "
        "copy tool padded the file, or two files were joined.",
        "vhdfast takes the disk as the footer has it and leaves the rest out. Azure and other "
        "readers look at the very end, find no footer there, and refuse the file.",
        "`vhdfast repair IMAGE` shows how it is removed in place; `vhdfast convert SRC DST.vhd` "
        "makes a new file that ends with its footer. If the rest was data that you "
        "miss, the image was put together wrong: go back to its origin.",
        (_VHD,),
    ),
    Explanation(
        "empty-bitmaps",
        "Blocks are stored, but marked as never written",
        "A dynamic VHD marks for each block which sectors were written, and here blocks are "
        "stored in which none is. Some tools forget to set the marks.",
        "By the specification such sectors are zeros, and so they are read. If a careless tool "
        "made the image, its data is in the file and is missing from the result.",
        "Compare with the program that made it, or with `qemu-img convert -f vpc -O raw`, which "
        "ignores the marks: `vhdfast compare IMAGE disk.raw`. If they differ, and the other disk "
        "is the right one, convert that.",
        (_VHD,),
    ),
    Explanation(
        "footer-checksum",
        "The checksum of a VHD's footer is wrong",
        "A tool changed a field, the identifier say, and left the checksum; or some bytes of the "
        "footer are damaged. It is used because the other copy, or the size of the file, confirms "
        "what it says.",
        "The disk is read as it should be. Others, qemu from 3.1 on among them, refuse such a "
        "file.",
        "`vhdfast repair IMAGE` shows how it is put right in place; `vhdfast convert` writes a "
        "new footer. Where damage is the likelier cause, compare the file's checksum "
        "with the original: it may not be the only place.",
        (_VHD,),
    ),
    Explanation(
        "footer-missing",
        "A dynamic VHD has its footer at one end only",
        "It should be at the end, with a copy at the start. The end is missing where a file was "
        "cut short or its program crashed; the start, where it was overwritten.",
        "The remaining one is used. If the file was cut short, blocks at its end may be missing "
        "as well, whole or in part: then `corrupt-image` follows.",
        "Compare the file's size with the original. If it is whole, `vhdfast convert` makes a "
        "good image of it.",
        (_VHD,),
    ),
    Explanation(
        "footers-differ",
        "The two footers of a dynamic VHD differ",
        "Both are intact and do not say the same. A program was stopped after it had written one "
        "of them, as when a disk was resized.",
        "The one at the end is used. If it is the older one, the disk has an old size.",
        "`vhdfast info IMAGE` shows the size that is used. Is it not the one that the machine "
        "saw, open the image once in the program that made it, and close it there.",
        (_VHD,),
    ),
    Explanation(
        "header-checksum",
        "The checksum of a dynamic VHD's header is wrong",
        "A tool changed the header and left its checksum, or it is damaged. It is used because "
        "its table has just as many entries as the disk needs.",
        "The disk is read as it should be, as far as can be told. Others may refuse the file.",
        "`vhdfast convert` makes an image without this fault. If the disk then holds strange "
        "files, copy the original again and compare checksums.",
        (_VHD,),
    ),
    Explanation(
        "header-damaged",
        "One of the two headers of a VHDX is damaged",
        "The headers are written in turn, so that one survives a crash. The other one has a wrong "
        "checksum or is unreadable.",
        "The good one is used, which is what the format has two for: nothing is lost, unless the "
        "damaged one was the newer.",
        "Nothing needs to be done for a conversion. Where the original is at hand, compare "
        "checksums: damage seldom comes alone.",
        (_VHDX,),
    ),
    Explanation(
        "identifier-damaged",
        "A VHDX does not begin with its identifier",
        "The first bytes should be `vhdxfile`. You named the format with `--from vhdx`, and the "
        "headers behind are intact, so it is read.",
        "The disk is read as it is. Other programs do not recognise the file.",
        "Ask what wrote over the beginning of the file: what else did it write over? `vhdfast "
        "convert` makes a good image of what is there.",
        (_VHDX,),
    ),
    Explanation(
        "log-replayed",
        "A VHDX was not closed, and its log was applied",
        "The program that wrote to the image ended without closing it: the host crashed, or the "
        "file was copied while the machine ran. The last changes of its tables are in a log.",
        "They were applied in memory: the file is not changed, and the disk is that of the moment "
        "of the crash. The guest's file systems are as after a power failure.",
        "Where the machine can still be started, shut it down and convert the image then. Else "
        "convert it as it is: the guest repairs its file systems at the first start.",
        (_VHDX,),
    ),
    Explanation(
        "parent-locator",
        "A name of the parent cannot be read",
        "A VHD keeps the name of its parent several times over, in locators. One of them lies "
        "outside the file, or is longer than 64 KiB.",
        "It is left out, and the others are used. If the parent is found, nothing is lost.",
        "Where the parent is not found, name it: `--parent FILE`.",
        (_VHD,),
    ),
    Explanation(
        "parent-size",
        "Parent and child have different sizes",
        "The disk was resized after the snapshot was taken, or the file is not the parent that it "
        "was.",
        "The child's size counts. What lies beyond the end of a smaller parent is zero.",
        "If the disk was resized, nothing needs to be done. If not, make sure that the right "
        "parent was found: `vhdfast info IMAGE` names it, and `--parent FILE` names another.",
        (_VHD, _VHDX),
    ),
    Explanation(
        "parent-timestamp",
        "The parent is not as old as the child says",
        "A child keeps the time at which its parent was last written. The parent's footer and its "
        "file have other times. Copying a file without `cp -p` changes its time, so this is "
        "common and mostly harmless.",
        "If the parent was really written to since, the two no longer fit: files of the disk are "
        "mixed from two states.",
        "Ask whether the parent was started as a machine, or mounted for writing, after the "
        "snapshot. If not, go on. If so, restore the parent from a backup.",
        (_VHD,),
    ),
    Explanation(
        "qemu-chs-size",
        "qemu-img rounded the disk up to whole cylinders",
        "From version 2.2.1 on, `qemu-img` makes a VHD as large as the next size that cylinders, "
        "heads and sectors can express, unless it is told `force_size`: 64 MiB become 67125248 "
        "bytes. The footer shows that this happened here.",
        "The disk is whole, with zeros at its end. But its size is no whole number of MiB, and "
        "Azure refuses it: `unsupported virtual size`.",
        "`vhdfast repair --apply IMAGE` makes a fixed VHD as large as the next MiB where it lies, "
        "and `vhdfast convert SRC DST.vhd` does so in a new file; both keep every byte, and with "
        "`--relocate-gpt` move the backup of a GPT to the new end. To get the size that was "
        "meant, convert the original again, with `vhdfast convert` or with `-o "
        "subformat=fixed,force_size`; `vhdfast doctor` shows what your qemu-img needs.",
        (f"{_VHD}#who-wrote-it", "qemu bug 1490611: https://bugs.launchpad.net/qemu/+bug/1490611"),
    ),
    Explanation(
        "region-table-damaged",
        "The first region table of a VHDX is damaged",
        "A VHDX says twice where its tables are. The first time has a wrong checksum.",
        "The second one is used, and says the same: nothing is lost. qemu reads the first one "
        "only, and refuses the file.",
        "Nothing needs to be done for a conversion. Compare the file with its original where that "
        "is at hand: damage seldom comes alone.",
        (_VHDX,),
    ),
    Explanation(
        "saved-state",
        "The machine was saved, not shut down",
        "Its memory was written to a file beside the disk, and the footer says so.",
        "What was in that memory is not in this image: file systems are as after a power failure, "
        "and open files may lack their last changes.",
        "Resume the machine, shut it down, and convert then. If that is not possible, convert it "
        "as it is, and let the guest check its file systems at the first start.",
        (_VHD,),
    ),
    Explanation(
        "size-below-file",
        "A fixed VHD is smaller than its file",
        "The footer gives a size, and there are more bytes before it. The file was enlarged "
        "without its footer, or the footer is that of another disk.",
        "What the footer says is read; the rest is left out. A VHD for Azure is the disk and its "
        "footer, and nothing else.",
        "`vhdfast info IMAGE` shows both sizes. If the rest is part of the disk, take it as raw "
        "(`--from raw`, which includes the footer's 512 bytes at the end); else convert it as it "
        "is.",
        (_VHD,),
    ),
    Explanation(
        "size-beyond-file",
        "A fixed VHD is larger than its file",
        "The footer gives a size, and the file holds less before it. The file was cut and got a "
        "footer again, or was shrunk without changing it.",
        "What is there is read. If a copy was cut short, the end of the disk is missing: with it "
        "the backup of a GPT, and perhaps files.",
        "Compare the file's size with the original, and copy it again. If it was shrunk on "
        "purpose, `vhdfast convert` writes a footer that fits.",
        (_VHD,),
    ),
    Explanation(
        "snapshot-child",
        "This may be an old state of the machine's disk",
        "Beside the image lies a file that is called like a snapshot of it: the machine has "
        "snapshots, and writes to the newest file, not to this one.",
        "The disk is whole, but as it was when the snapshot was taken. Everything later is "
        "missing.",
        "Look at which file the machine's settings name, and convert that: its chain leads here. "
        "Or delete the snapshots in the hypervisor, which merges them, and convert the result.",
        (_VHD, _VHDX, _VMDK),
    ),
    # What several formats have.
    Explanation(
        "overlaps-not-checked",
        "There are too many blocks to look for overlaps",
        "Blocks that lie on top of each other are a sign of damage. They are looked for as long "
        "as that takes little memory; this image has more blocks than that.",
        "The disk is read as its tables say. Damage of this one sort would go unnoticed.",
        "Nothing needs to be done for an image that works. If in doubt, check it with the program "
        "that made it.",
        (_VHD, _VHDX, _VDI, _VMDK, _PARALLELS),
    ),
    Explanation(
        "short-block",
        "The file ends inside its last block",
        "Some programs write the last block only as far as the disk goes, which is fine. A copy "
        "that was cut short looks the same.",
        "What is missing of that block reads as zeros. A block that is missing as a whole would "
        "be an error, and so is a VHD that lacks its footer too.",
        "Compare the file's size with the original. If they are equal, nothing needs to be done; "
        "else copy it again.",
        (_VHD, _VHDX, _QCOW, _QCOW2, _VDI, _VMDK, _PARALLELS),
    ),
)
