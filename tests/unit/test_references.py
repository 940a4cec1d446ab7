"""Which files an image may name: the policy of vhdfast/references.py, a refusal at a time."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from vhdfast.errors import (
    ImageError,
    InvalidImageError,
    MissingReferenceError,
    UnsafeReferenceError,
    VhdfastError,
)
from vhdfast.files import FileSlice, MemorySource, SourceFile
from vhdfast.references import MAX_FILES, References


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The image's own directory, with a file beside it and one in a directory below.

        tmp_path/ secret, home/ image, base, below/ deep
    """
    folder = tmp_path / "home"
    (folder / "below").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "image").write_bytes(b"image")
    (folder / "base").write_bytes(b"base")
    (folder / "below" / "deep").write_bytes(b"deep")
    return folder


@pytest.fixture
def image(home: Path) -> Iterator[SourceFile]:
    with SourceFile(home / "image") as source:
        yield source


def content(
    image: SourceFile, name: str, allowed: tuple[Path, ...] = (), allow_all: bool = False
) -> bytes:
    references = References(allowed, allow_all)
    try:
        return references.open(image, name, "backing file").read(0, 100)
    finally:
        references.close()


def refusal(image: SourceFile, name: str, kind: type[VhdfastError], **options: object) -> str:
    """The text of the error, which names the image as the one at fault."""
    with pytest.raises(kind) as caught:
        content(image, name, **options)  # type: ignore[arg-type]
    assert type(caught.value) is kind
    assert caught.value.path == image.path
    assert "backing file" in str(caught.value)
    return str(caught.value)


# ---- what is opened -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["base", "./base", ".//base", "below/../base", "../home/base", "file:base", "FILE:./base",
     "nowhere/../base"],
)  # fmt: skip
def test_a_file_beside_the_image(image: SourceFile, name: str) -> None:
    assert content(image, name) == b"base"


@pytest.mark.parametrize("prefix", ["", "file:", "//", "file://"])
def test_its_absolute_name_is_as_good(image: SourceFile, home: Path, prefix: str) -> None:
    assert content(image, f"{prefix}{home}/base") == b"base"


@pytest.mark.parametrize("name", ["a b", "\u00e9", "a\\b", "~", "$HOME", "a\nb", "*", "C:x", "-"])
def test_a_name_is_taken_as_it_stands(image: SourceFile, home: Path, name: str) -> None:
    (home / name).write_bytes(name.encode())
    assert content(image, name) == name.encode()


def test_bytes_that_are_no_text_are_a_name_too(image: SourceFile, home: Path) -> None:
    Path(os.fsdecode(os.fsencode(home) + b"/\xff")).write_bytes(b"odd")
    assert content(image, "\udcff") == b"odd"


def test_a_link_within_the_directory(image: SourceFile, home: Path) -> None:
    (home / "link").symlink_to("base")
    assert content(image, "link") == b"base"


def test_a_file_beside_the_image_that_a_link_leads_to(home: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "image").symlink_to(home / "image")
    with SourceFile(tmp_path / "links" / "image") as image:
        assert content(image, "base") == b"base"
        (tmp_path / "links" / "base").write_bytes(b"nearer")
        assert content(image, "base") == b"nearer"


def test_a_slice_lies_where_its_file_does(image: SourceFile) -> None:
    part = FileSlice(image, 1, 2, "disk 1 of image")
    assert content(part, "base") == b"base"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["below/deep", "./below//deep", "below/../below/deep"])
def test_what_the_user_allows(image: SourceFile, home: Path, name: str) -> None:
    assert content(image, name, allowed=(home,)) == b"deep"
    assert content(image, name, allowed=(home / "below",)) == b"deep"
    assert content(image, name, allowed=(home / "below" / "deep",)) == b"deep"
    assert content(image, name, allow_all=True) == b"deep"


def test_what_is_allowed_may_be_named_by_a_link(
    image: SourceFile, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "alias").symlink_to(home / "below")
    assert content(image, "below/deep", allowed=(tmp_path / "alias",)) == b"deep"


def test_the_root_allows_everything(image: SourceFile) -> None:
    assert content(image, "../secret", allowed=(Path("/"),)) == b"secret"


# ---- what is unsafe -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../secret", "below/deep", "../home/below/deep", "/etc/passwd", "//etc/passwd",
        "file:/etc/passwd", "file:///etc/passwd", "file:../secret", "./../secret", ".", "..", "/",
        "./", "below/..", "/proc/self/mem", "/dev/stdin", "/dev/fd/0",
        "nowhere/../../secret", "base/../../secret", "below/../../secret",
    ],
)  # fmt: skip
def test_a_name_that_leads_out_of_the_directory(image: SourceFile, name: str) -> None:
    assert "lies outside" in refusal(image, name, UnsafeReferenceError)


def test_a_link_that_leads_out_of_the_directory(image: SourceFile, home: Path) -> None:
    (home / "link").symlink_to("../secret")
    (home / "again").symlink_to("link")
    (home / "door").symlink_to("..")
    for name in ("link", "again", "door/secret"):
        text = refusal(image, name, UnsafeReferenceError)
        assert f"--allow-reference {home.parent / 'secret'}" in text


@pytest.mark.parametrize("exists", [False, True])
def test_nothing_is_said_about_whether_it_exists(
    image: SourceFile, tmp_path: Path, exists: bool
) -> None:
    if exists:
        (tmp_path / "probed").write_bytes(b"")
    text = refusal(image, "../probed", UnsafeReferenceError)
    assert "is not there" not in text


def test_an_allowed_name_is_no_prefix(image: SourceFile, home: Path) -> None:
    (home / "below2").mkdir()
    (home / "below2" / "deep").write_bytes(b"?")
    refusal(image, "below2/deep", UnsafeReferenceError, allowed=(home / "below",))
    refusal(image, "below/../below2/deep", UnsafeReferenceError, allowed=(home / "below",))


@pytest.mark.parametrize(
    "name",
    ["json:{}", "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}", "http://x/y", "nbd:x:1",
     "fd:0", "ssh://a/b", "HTTPS://x", "vdi:base", "fat:rw:.", "blkdebug::base"],
)  # fmt: skip
@pytest.mark.parametrize("allow_all", [False, True])
def test_no_url_is_followed(image: SourceFile, name: str, allow_all: bool) -> None:
    assert "only plain files" in refusal(image, name, UnsafeReferenceError, allow_all=allow_all)


def test_an_image_in_memory_has_no_neighbours(home: Path) -> None:
    source = MemorySource(b"", "standard input")
    with pytest.raises(UnsafeReferenceError, match="lies in no directory"):
        References().open(source, "base", "extent")


def test_beside_a_device_nothing_is_taken_unasked(
    image: SourceFile, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A guest that writes a header into its disk, a logical volume, must not name /dev/sda.
    monkeypatch.setattr(image, "is_device", True)
    refusal(image, "base", UnsafeReferenceError)
    part = FileSlice(image, 1, 2, "disk 1 of image")
    refusal(part, "base", UnsafeReferenceError)  # type: ignore[arg-type]
    assert content(image, "base", allowed=(home / "base",)) == b"base"
    assert content(image, "base", allow_all=True) == b"base"


def test_a_block_device_is_taken_only_where_the_user_allows_it(
    image: SourceFile, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may lie beside the image: one that is read from /dev/stdin lies in /dev."""
    real = os.stat

    def as_block_device(path: str) -> os.stat_result:
        found = real(path)
        if path != str(home / "base"):
            return found
        return os.stat_result((stat.S_IFBLK | 0o600, *found[1:]))

    monkeypatch.setattr("vhdfast.references.os.stat", as_block_device)
    assert "block device" in refusal(image, "base", UnsafeReferenceError)
    assert content(image, "base", allowed=(home / "base",)) == b"base"
    assert content(image, "base", allow_all=True) == b"base"


def test_a_character_device_is_not_opened(image: SourceFile) -> None:
    refusal(image, "/dev/zero", UnsafeReferenceError)
    for options in ({"allow_all": True}, {"allowed": (Path("/dev"),)}):
        assert "character device" in refusal(
            image, "/dev/zero", UnsafeReferenceError, **options
        )


# ---- what is no file ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", "\0", "base\0", "\ud800", "x" * 4097, "\u00e9" * 2049, "x" * 256, "file:" + "x" * 300],
)  # fmt: skip
def test_a_name_that_no_file_can_have(image: SourceFile, name: str) -> None:
    text = refusal(image, name, InvalidImageError)
    assert "which no file can have" in text
    assert len(text) < 2000
    assert text.isprintable()


@pytest.mark.parametrize("name", ["gone", "./gone", "base ", "Base"])
def test_a_file_that_is_not_there(image: SourceFile, home: Path, name: str) -> None:
    text = refusal(image, name, MissingReferenceError)
    assert f"looked for {home / name}" in text


def test_a_link_to_nothing(image: SourceFile, home: Path) -> None:
    (home / "link").symlink_to("gone")
    refusal(image, "link", MissingReferenceError)


def test_links_that_go_round(image: SourceFile, home: Path) -> None:
    (home / "one").symlink_to("two")
    (home / "two").symlink_to("one")
    with pytest.raises(ImageError, match="symbolic links"):
        content(image, "one")


def test_a_file_that_becomes_a_link_meanwhile_is_not_followed(
    image: SourceFile, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = References._allows

    def decide_and_change(self: References, path: str, referrer: SourceFile) -> bool:
        answer = decide(self, path, referrer)
        (home / "base").unlink()
        (home / "base").symlink_to("../secret")
        return answer

    monkeypatch.setattr(References, "_allows", decide_and_change)
    with pytest.raises(ImageError, match="symbolic links"):
        content(image, "base")


def test_a_directory_in_a_files_place(image: SourceFile, home: Path) -> None:
    with pytest.raises(ImageError, match="this is a directory"):
        content(image, "below")


def test_a_pipe_does_not_hold_us_up(image: SourceFile, home: Path) -> None:
    os.mkfifo(home / "pipe")
    with pytest.raises(ImageError, match="neither a regular file nor a block device"):
        content(image, "pipe")


def test_a_socket(image: SourceFile, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)  # its name may not be long
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind("socket")
        with pytest.raises(ImageError):
            content(image, "socket")


def test_names_are_printed_without_what_moves_a_cursor(image: SourceFile, home: Path) -> None:
    for name in ("a\x1b[2Jb", "a\nb", "\u202egnp", "../\x07"):
        with pytest.raises(ImageError) as caught:
            content(image, name)
        assert str(caught.value).isprintable()


# ---- several names ------------------------------------------------------------------------------


def first(image: SourceFile, *names: str, **options: object) -> bytes:
    references = References(**options)  # type: ignore[arg-type]
    try:
        return references.open_first(image, names, "parent").read(0, 100)
    finally:
        references.close()


def test_the_first_name_that_leads_to_a_file(image: SourceFile, home: Path) -> None:
    (home / "other").write_bytes(b"other")
    assert first(image, "base", "other") == b"base"
    assert first(image, "gone", "other", "base") == b"other"
    assert first(image, "../secret", "http://x/", "x" * 5000, "\0", "gone", "base") == b"base"


def test_one_name_is_refused_as_ever(image: SourceFile) -> None:
    for name, kind in (
        ("../secret", UnsafeReferenceError), ("gone", MissingReferenceError),
        ("\0", InvalidImageError),
    ):  # fmt: skip
        with pytest.raises(kind) as caught:
            first(image, name)
        assert "looked for 'gone'" not in str(caught.value)


def test_unsafe_is_what_a_refused_name_makes_it(image: SourceFile, home: Path) -> None:
    with pytest.raises(UnsafeReferenceError) as caught:
        first(image, "gone", "../secret", "away")
    assert "'../secret', which lies outside" in str(caught.value)
    assert "looked for 'gone', '../secret', 'away'" in str(caught.value)
    assert f"--allow-reference {home.parent / 'secret'}" in str(caught.value)


def test_missing_names_all_of_them(image: SourceFile) -> None:
    with pytest.raises(MissingReferenceError) as caught:
        first(image, "gone", "a\x1bway", "x" * 300)
    assert "looked for 'gone', 'a?way', 'xxx" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert caught.value.hint is not None
    assert "--parent FILE" in caught.value.hint


def test_names_that_no_file_can_have(image: SourceFile) -> None:
    with pytest.raises(InvalidImageError):
        first(image, "\0", "x" * 9999)


def test_a_file_that_is_there_and_cannot_be_read_ends_the_search(
    image: SourceFile, home: Path
) -> None:
    os.mkfifo(home / "pipe")
    with pytest.raises(ImageError, match="neither a regular file"):
        first(image, "gone", "pipe", "base")


def test_files_of_the_chain_are_taken_last(image: SourceFile, home: Path) -> None:
    def opened(*names: str) -> str:
        references = References()
        try:
            source = references.open_first(image, names, "parent", {image.identity})
            return os.path.basename(source.path)
        finally:
            references.close()

    before = len(os.listdir("/proc/self/fd"))
    assert opened("image", "./image", "base") == "base"
    assert opened("image", "gone", "./image") == "image"
    assert len(os.listdir("/proc/self/fd")) == before


# ---- how many, and how they end -----------------------------------------------------------------


def test_all_are_closed_when_an_opening_fails(image: SourceFile, home: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    references = References()
    for _ in range(5):
        references.open(image, "base", "extent")
    references.open_named(str(home / "base"))
    with pytest.raises(MissingReferenceError):
        references.open(image, "gone", "extent")
    references.close()
    references.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_4096_files_and_no_more(image: SourceFile, home: Path) -> None:
    references = References()
    # Descriptors would run out first, here: closed ones count as well.
    for _ in range(MAX_FILES):
        references.open(image, "base", "extent").close()
    for opening in (references.open, lambda i, n, w: references.open_first(i, [n, n], w)):
        with pytest.raises(InvalidImageError, match="more than 4096 files"):
            opening(image, "base", "extent")
    references.close()
