"""Types of partitions: what the codes and GUIDs that Linux, Windows and BSD guests use stand for.

GUIDs: UEFI 2.10 (5.3.3) and the Discoverable Partitions Specification; codes of an MBR have grown
by custom.
"""

from __future__ import annotations

__all__ = [
    "BIOS_BOOT",
    "EFI_SYSTEM",
    "LINUX_FILE_SYSTEM",
    "LINUX_LVM",
    "LINUX_RAID",
    "LINUX_SWAP",
    "type_name",
]

EFI_SYSTEM = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
LINUX_FILE_SYSTEM = "0fc63daf-8483-4772-8e79-3d69d8477de4"
LINUX_SWAP = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"
LINUX_LVM = "e6d6d379-f507-44c2-a23c-238f2a3df928"
LINUX_RAID = "a19d880f-05fc-4d3b-a006-743f0f84911e"

_GPT: dict[str, str] = {
    EFI_SYSTEM: "EFI system",
    BIOS_BOOT: "BIOS boot",
    LINUX_FILE_SYSTEM: "Linux file system",
    LINUX_SWAP: "Linux swap",
    LINUX_LVM: "Linux LVM",
    LINUX_RAID: "Linux RAID",
    "bc13c2ff-59e6-4262-a352-b275fd6f7172": "Linux boot (XBOOTLDR)",
    "8da63339-0007-60c0-c436-083ac8230908": "Linux reserved",
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915": "Linux home",
    "773f91ef-66d4-49b5-bd83-d683bf40ad16": "Linux user's home",
    "3b8f8425-20e0-4f3b-907f-1a25a76f98e8": "Linux server data",
    "4d21b016-b534-45c2-a9fb-5c16e091fd2d": "Linux variable data",
    "7ec6f557-3bc5-4aca-b293-16ef5df639d1": "Linux temporary data",
    "ca7d7ccb-63ed-4c53-861c-1742536059cc": "LUKS",
    "7ffec5c9-2d00-49b7-8941-3ea10a5586b7": "dm-crypt",
    "44479540-f297-41b2-9af7-d131d5f0458a": "Linux root (x86)",
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "Linux root (x86-64)",
    "69dad710-2ce4-4e3c-b16c-21a1d49abed3": "Linux root (ARM)",
    "b921b045-1df0-41c3-af44-4c6f280d3fae": "Linux root (ARM-64)",
    "72ec70a6-cf74-40e6-bd49-4bda08e8f224": "Linux root (RISC-V 64)",
    "c31c45e6-3f39-412e-80fb-4809c4980599": "Linux root (POWER)",
    "5eead9a9-fe09-4a1e-a1d7-520d00531306": "Linux root (s390x)",
    "75250d76-8cc6-458e-bd66-bd47cc81a812": "Linux /usr (x86)",
    "8484680c-9521-48c6-9c11-b0720656f69e": "Linux /usr (x86-64)",
    "7d0359a3-02b3-4f0a-865c-654403e70625": "Linux /usr (ARM)",
    "b0e01050-ee5f-4390-949a-9101b17104e9": "Linux /usr (ARM-64)",
    "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5": "Linux root verity (x86-64)",
    "df3300ce-d69f-4c92-978c-9bfb0f38d820": "Linux root verity (ARM-64)",
    "77ff5f63-e7b6-4633-acf4-1565b864c0e6": "Linux /usr verity (x86-64)",
    "6e11a4e7-fbca-4ded-b9e9-e1a512bb664e": "Linux /usr verity (ARM-64)",
    "9e1a2d38-c612-4316-aa26-8b49521e5a8b": "PReP boot",
    "e3c9e316-0b5c-4db8-817d-f92df00215ae": "Microsoft reserved",
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "Microsoft basic data",
    "de94bba4-06d1-4d40-a16a-bfd50179d6ac": "Windows recovery",
    "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3": "Microsoft LDM metadata",
    "af9b60a0-1431-4f62-bc68-3311714a69ad": "Microsoft LDM data",
    "e75caf8f-f680-4cee-afa3-b001e56efc2d": "Microsoft Storage Spaces",
    "83bd6b9d-7f41-11dc-be0b-001560b84f0f": "FreeBSD boot",
    "516e7cb4-6ecf-11d6-8ff8-00022d09712b": "FreeBSD",
    "516e7cb5-6ecf-11d6-8ff8-00022d09712b": "FreeBSD swap",
    "516e7cb6-6ecf-11d6-8ff8-00022d09712b": "FreeBSD UFS",
    "516e7cba-6ecf-11d6-8ff8-00022d09712b": "FreeBSD ZFS",
    "824cc7a0-36a8-11e3-890a-952519ad3f61": "OpenBSD",
    "49f48d32-b10e-11dc-b99b-0019d1879648": "NetBSD swap",
    "49f48d5a-b10e-11dc-b99b-0019d1879648": "NetBSD FFS",
    "6a85cf4d-1dd2-11b2-99a6-080020736631": "Solaris root",
    "6a898cc3-1dd2-11b2-99a6-080020736631": "Solaris /usr or ZFS",
    "48465300-0000-11aa-aa11-00306543ecac": "Apple HFS+",
    "7c3457ef-0000-11aa-aa11-00306543ecac": "Apple APFS",
    "fe3a2a5d-4f32-41a7-b725-accc3285a309": "ChromeOS kernel",
    "3cb8e202-3b7e-47dd-8a3c-7ff2a13cfcec": "ChromeOS root",
    "2e0a753d-9e48-43b0-8337-b15192cb1b5e": "ChromeOS reserved",
    "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6": "CoreOS /usr",
    "3884dd41-8582-4404-b9a8-e9b84f2df50e": "CoreOS root",
    "c95dc21a-df0e-4340-8d7b-26cbfa9a03e0": "CoreOS OEM",
    "aa31e02a-400f-11db-9590-000c2911d1b8": "VMware VMFS",
    "9d275380-40ad-11db-bf97-000c2911d1b8": "VMware diagnostic",
    "9198effc-31c0-11db-8f78-000c2911d1b8": "VMware reserved",
    "024dee41-33e7-11d3-9d69-0008c781f39f": "MBR scheme",
}

_MBR: dict[int, str] = {
    0x01: "FAT12",
    0x04: "FAT16 below 32 MiB",
    0x05: "extended",
    0x06: "FAT16",
    0x07: "NTFS or exFAT",
    0x0B: "FAT32",
    0x0C: "FAT32 (LBA)",
    0x0E: "FAT16 (LBA)",
    0x0F: "extended (LBA)",
    0x11: "hidden FAT12",
    0x14: "hidden FAT16 below 32 MiB",
    0x16: "hidden FAT16",
    0x17: "hidden NTFS",
    0x1B: "hidden FAT32",
    0x1C: "hidden FAT32 (LBA)",
    0x1E: "hidden FAT16 (LBA)",
    0x27: "Windows recovery",
    0x41: "PReP boot",
    0x42: "Microsoft LDM",
    0x81: "Minix",
    0x82: "Linux swap",
    0x83: "Linux file system",
    0x85: "Linux extended",
    0x8E: "Linux LVM",
    0xA5: "FreeBSD",
    0xA6: "OpenBSD",
    0xA8: "Apple UFS",
    0xA9: "NetBSD",
    0xAF: "Apple HFS+",
    0xBE: "Solaris boot",
    0xBF: "Solaris",
    0xEA: "Linux boot (XBOOTLDR)",
    0xEB: "BeOS",
    0xEE: "GPT protective",
    0xEF: "EFI system",
    0xFB: "VMware VMFS",
    0xFC: "VMware diagnostic",
    0xFD: "Linux RAID",
}


def type_name(code: str) -> str | None:
    """A name for people of a type GUID (lower case) or of an MBR's "0x83"; None: not known."""
    if code.startswith("0x"):
        return _MBR.get(int(code, 16))
    return _GPT.get(code)
