"""Errors: each stops what was asked for. The codes are those of `vhdfast.errors`."""

from __future__ import annotations

from collections.abc import Iterable

from .base import Explanation, Family

__all__ = ["Errors"]

_FORMATS = "docs/formats/README.md"
_REFERENCES = "docs/internals/safety.md#other-files-that-an-image-names"
_STATUS = "docs/cli.md#exit-status"
_TARGET = "docs/internals/safety.md#the-target"


class Errors(Family):
    """What is on the line that begins with `vhdfast: error:`, and in `error.code` of JSON."""

    name = "errors"
    title = "Errors"
    order = 10

    @classmethod
    def explanations(cls) -> Iterable[Explanation]:
        return _ALL


_ALL = (
    Explanation(
        "usage",
        "The command line is wrong",
        "Options contradict each other, a value is not what the option takes, or there is no such "
        "verb, option, disk or snapshot. The message names the word.",
        "Nothing was begun: no file was made or changed.",
        "`vhdfast VERB --help` shows what the verb takes, with examples. Options whose value is "
        "optional take it only after `=`: `--align=2M`.",
        ("docs/cli.md",),
    ),
    Explanation(
        "image",
        "The source cannot be used",
        "The source does not exist, may not be opened, or lies where this machine cannot reach "
        "it: the message says which. It is also what a container without a disk, or a missing "
        "library for NBD or HTTP, leads to.",
        "Nothing was written.",
        "Look at the path and its rights (`ls -l PATH`), and run it as a user who may read it; "
        "for a block device that is root. `vhdfast doctor` says which libraries are missing.",
        ("docs/formats/sources.md", _STATUS),
    ),
    Explanation(
        "unknown-format",
        "No format fits, and nothing speaks for a raw disk",
        "The file begins and ends like no image that is known here, and it holds no partition "
        "table or file system either. Often it is damaged or cut short, encrypted, or not an "
        "image at all: an error page that a download saved, say. `file PATH` may tell.",
        "Nothing is guessed: taking it for a raw disk would make a VHD of rubbish that converts "
        "without an error and never boots.",
        "Compare its size and checksum with the original and copy it again. If you know that it "
        "is a raw disk, say so: `vhdfast convert --from raw SRC`; of another format, `--from "
        "FORMAT` shows what is wrong with it.",
        (_FORMATS,),
    ),
    Explanation(
        "ambiguous-format",
        "The file is two formats at once",
        "Its bytes are a valid beginning, or end, of two formats. A raw disk on which a guest "
        "keeps an image at the very start or end looks so, and so does a file that was made to "
        "deceive.",
        "Each format would read another disk out of it, so nothing is chosen for you.",
        "Say which one it is: `--from FORMAT`. If the image came from a stranger, ask first how "
        "it was made.",
        (_FORMATS,),
    ),
    Explanation(
        "invalid-image",
        "The file is not what its format demands",
        "A field of the header is out of its bounds, or a table is longer than the file. A "
        "program that writes the format wrong does this, and so does a file of which only a part "
        "is there.",
        "The image cannot be read, and no part of it was converted. The source is unchanged.",
        "Copy the image again and compare checksums. If it was whole, convert it with the program "
        "that made it, to raw or to another format, and take the result.",
        (_FORMATS,),
    ),
    Explanation(
        "corrupt-image",
        "The image is damaged",
        "It was right once: now a checksum is wrong, two blocks lie on top of each other, or a "
        "block lies outside the file. Most often a copy was interrupted, or the disk that it lay "
        "on was full. The message has the offset of the first damage; there may be more.",
        "Blocks of the virtual disk are lost or mixed up. Converting what is left would give a "
        "disk that boots, perhaps, with files silently wrong; so nothing was kept.",
        "Copy the image again from where it was whole, and compare checksums (`sha256sum`). If "
        "this is the only copy, keep it as it is, and let the program that made it repair a "
        "second copy (`qemu-img check -r all COPY` for qcow2).",
        (_FORMATS, "docs/internals/safety.md#hostile-images"),
    ),
    Explanation(
        "unsupported-image",
        "A valid image that this version does not read",
        "The format, a feature of it, or its encryption is not known here. The message names it.",
        "Nothing was written. A feature that is not understood may change what every byte means, "
        "so it is never skipped.",
        "Convert it first with the program that made it (`qemu-img convert -O raw IMAGE disk.raw` "
        "reads many), and then `vhdfast convert disk.raw`. An encrypted image must be decrypted "
        "by its own program.",
        (_FORMATS,),
    ),
    Explanation(
        "missing-reference",
        "A file that the image needs is not there",
        "The image holds only changes to another one (its parent or backing file), or its bytes "
        "lie in extents of their own. A file of that name is not in the image's directory. "
        "Someone copied the top of the chain alone, or a file was renamed.",
        "What the missing file holds is part of the disk: without it, most of it would be zeros.",
        "Copy the whole chain into one directory, under the names that the images have (`vhdfast "
        "info IMAGE` shows them). A parent elsewhere is named with `--parent FILE`. Or merge the "
        "chain where it was made: deleting a snapshot does that.",
        (_REFERENCES,),
    ),
    Explanation(
        "unsafe-reference",
        "The image names a file that it may not read",
        "A parent, extent or data file is named outside the image's own directory, by a URL, or "
        "the image does not say of which format it is. An image from a stranger could so have any "
        "file of yours put into the disk that you upload.",
        "Nothing of the named file was read. For an image that you made yourself this is usually "
        "harmless: the parent just lies elsewhere.",
        "Look at the name in the message. If it is what you expect, allow just that: "
        "`--allow-reference PATH`. A backing file without a format needs `--backing-format "
        "FORMAT`. `--allow-references` allows everything: only for images that you trust.",
        (_REFERENCES,),
    ),
    Explanation(
        "partition-table",
        "The partition table does not allow it",
        "The backup of the GPT was to be moved, and neither copy of the table is intact, a "
        "partition lies where the backup has to go, or the table was made for other sectors.",
        "The table is as it was, and no target was written.",
        "Leave `--relocate-gpt` out: the guest boots with the backup where it is. Or repair the "
        "table in the source machine, with `sgdisk -v` and `sgdisk -e`, and try again.",
        ("docs/internals/partitions.md",),
    ),
    Explanation(
        "unproven",
        "It cannot be proven that nothing would be lost",
        "A change in place was asked for, and what the file holds does not prove that it is safe: "
        "a size could be read in two ways, a tail that would be cut off holds data, or a "
        "partition or a file system reaches into it.",
        "Not a byte was changed.",
        "The message says what is missing. An option may say what the file cannot "
        "(`--shrink`, `--cut-trailing`); else convert the image to a new file with "
        "`vhdfast convert`, which leaves this one as it is.",
        ("docs/internals/in-place.md", "docs/formats/vhd.md#what-is-repaired"),
    ),
    Explanation(
        "copy",
        "Copying failed",
        "What is common to all errors of reading and writing; a more exact code is used wherever "
        "there is one.",
        "The target is as it was before.",
        "Read the message, put right what it names, and run the same command again: there is "
        "nothing to clean up.",
        (_STATUS,),
    ),
    Explanation(
        "read",
        "The source could not be read",
        "The disk, the file system or the server gave an error in the middle of the source, or "
        "the file ended before its tables said so. On a local disk that is mostly a bad sector: "
        "`dmesg | tail` shows it. Over a network, a server was silent for a minute or refused a "
        "range.",
        "The target is as it was before. No part of the disk was replaced with zeros.",
        "Over a network, run it again, or download the image first. From a failing disk, make a "
        "copy with `ddrescue` and convert that. If the file is just shorter than it should be, "
        "copy it again.",
        ("docs/formats/sources.md#errors",),
    ),
    Explanation(
        "write",
        "The target could not be written",
        "The file system under the target refused a write, a sync or the rename at the end: the "
        "message has its reason. It is also what a result that cannot be printed (a full disk "
        "behind `> file`) leads to.",
        "The target is as it was before; only where the printing of a result failed, the new one "
        "is already in place. An error of input and output on a local disk means that the disk is "
        "failing.",
        "`dmesg | tail` shows what the kernel says. Choose a target on another file system and "
        "run it again; `vhdfast doctor --directory DIR` says what that one can do.",
        (_TARGET,),
    ),
    Explanation(
        "no-space",
        "There is too little room for the target",
        "Before it begins, `convert` compares what the map says must be stored with what is free; "
        "or the room ran out on the way, because something else was writing too. A compressed "
        "source is unpacked first, and needs its room as well.",
        "The target is as it was before, and what was written so far is given back.",
        "`df -h DIR` shows the room. Free some, or give a target on another file system, and "
        "`--temporary DIR` for unpacking. Zeros within the data take no room, so that a tight "
        "case may fit all the same: `--no-space-check`. Leave out `--allocate`.",
        (_TARGET,),
    ),
    Explanation(
        "source-changed",
        "The source was written to while it was read",
        "Its size or time is not what it was at the beginning. A virtual machine that still runs "
        "writes to its disk, and so does a copy that has not finished.",
        "Half of an old and half of a new disk is no disk: nothing was kept.",
        "Shut the machine down, or take a snapshot and convert the file that is no longer written "
        "to; wait until a copy has finished. Then run it again.",
        ("docs/internals/safety.md#the-source",),
    ),
    Explanation(
        "verify",
        "What was written is not what was read",
        "With `--verify` both sides were read once more, and differ from the offset in the "
        "message on. That is memory or a disk that changes bytes, a source that changes without a "
        "trace, or a defect of vhdfast.",
        "The new target was removed; what was there before is untouched.",
        "Run it again. If it fails at another place, test the memory (`memtester`) and look at "
        "`dmesg`. If it fails at the same place each time, report it, with the output of `vhdfast "
        "info --json SRC`.",
        ("docs/internals/safety.md#--verify",),
    ),
    Explanation(
        "target",
        "The target cannot be what was asked for",
        "Its directory does not exist or may not be written to, it is no regular file, or it is "
        "the source itself under another name.",
        "Nothing was written.",
        "Choose another target, or make the directory. To replace an image by its conversion, "
        "convert to a new name, look at the result, and rename it. To write a disk, make a file "
        "and copy it with `dd`.",
        (_TARGET,),
    ),
    Explanation(
        "target-exists",
        "The target exists",
        "A file of that name is there, or appeared while the copy ran.",
        "It is untouched.",
        "Choose another name, or say `--force`: the old file then stays whole until the new one "
        "replaces it in one step, at the end.",
        (_TARGET,),
    ),
    Explanation(
        "target-too-large",
        "The target is larger than what it goes to can hold",
        "The file system has a limit for one file (4 GiB on FAT, 16 TiB on most ext4), or the "
        "disk is larger than the largest of Azure, 32 767 GiB.",
        "Nothing was written.",
        "`vhdfast doctor --directory DIR` shows the largest file there. Choose a directory on XFS "
        "or another file system with a higher limit. A disk that is too large for Azure must be "
        "shrunk within the guest first, its last partition and file system included.",
        ("docs/formats/vhd.md#what-is-written",),
    ),
    Explanation(
        "in-use",
        "The file is in use by another program",
        "A file that was to be changed in place is locked, or open for writing, by another "
        "program: a running virtual machine, a qemu-img, or another vhdfast.",
        "Not a byte was changed. Changing the disk of a running machine would destroy it.",
        "Shut the machine down, or wait for the other program, and run the command again; "
        "`fuser -v PATH` or `lsof PATH` names it.",
        ("docs/internals/in-place.md",),
    ),
    Explanation(
        "undo",
        "The undo file and the file do not fit together",
        "A change in place keeps what it replaces in an undo file. It is missing, damaged, or "
        "already there from a change that was not finished, or the file was changed since.",
        "Nothing was changed: what an undo file of another state would put back destroys data.",
        "The message says which it is. Where a change was cut off, run the same command again: "
        "it completes the change, or undoes it with `--undo`. Where the file was used since, keep "
        "it as it is and remove the undo file by hand.",
        ("docs/internals/in-place.md",),
    ),
    Explanation(
        "internal",
        "A defect of vhdfast",
        "Something happened that the program does not expect, and that is its own fault, not that "
        "of the image or the machine.",
        "The target is as it was before, and the source is never written to.",
        "Run the same command with `-v`, which prints where it happened, and report that with the "
        "output of `vhdfast doctor --json`. Until then, another program may convert the image.",
        (_STATUS,),
    ),
)
