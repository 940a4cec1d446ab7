"""Promises that hold for the whole tree: what exists is documented, tested, light and clean."""

from __future__ import annotations

import ast
import importlib
import io
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from vhdfast.cli._options import build_parser, format_names, verbs
from vhdfast.containers import CONTAINERS
from vhdfast.errors import VhdfastError
from vhdfast.formats import FORMATS
from vhdfast.outputs import OUTPUTS
from vhdfast.qemu_img.commands import commands, load
from vhdfast.remote import SCHEMES
from vhdfast.report import form_names
from vhdfast.streams import STREAMS

REAL_FORMATS = sorted(name for name, kind in FORMATS.items() if kind.__module__.startswith("vhdf"))
PAGES = ROOT / "docs" / "formats"
# Loaded when they are needed, and never before.
HEAVY = (
    "PIL", "_cffi_backend", "aiohttp", "asyncio", "bz2", "cffi", "ctypes", "fsspec", "lzma",
    "numpy", "rich", "shtab", "vhdfast._codecs", "vhdfast._native", "zstandard",
)  # fmt: skip


# ---- documentation ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL_FORMATS)
def test_every_format_has_its_page_and_its_tests(name: str) -> None:
    assert (PAGES / f"{name}.md").exists()
    assert (ROOT / "tests" / "unit" / "formats" / f"test_{name}.py").exists()
    assert f"[`{name}`]({name}.md)" in (PAGES / "README.md").read_text()
    assert f"`{name}`" in (ROOT / "docs" / "json.md").read_text()


def test_formats_are_offered_by_the_names_of_their_files() -> None:
    assert format_names() == REAL_FORMATS


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("streams.md", [word for kind in STREAMS.values() for word in (kind.name, *kind.suffixes)]),
        ("containers.md", [word for kind in CONTAINERS.values() for word in kind.suffixes]),
        ("sources.md", [f"{scheme}://" for scheme in SCHEMES]),
    ],
)
def test_all_around_formats_is_on_a_page(page: str, words: list[str]) -> None:
    text = (PAGES / page).read_text()
    assert words
    for word in words:
        assert word in text, word


def called(tree: ast.AST) -> Iterator[tuple[str, object]]:
    """(name, first argument where it is a constant) of every call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            first = node.args[0] if node.args else None
            yield name, first.value if isinstance(first, ast.Constant) else None


def codes_in(tree: ast.AST, helpers: dict[str, set[str]]) -> set[str]:
    """Codes of notices that calls in the tree give: themselves, or by a helper of ImageFormat."""
    found: set[str] = set()
    for name, first in called(tree):
        if name in ("notice", "notify") and isinstance(first, str):
            found.add(first)
        found |= helpers.get(name, set())
    return found


@pytest.mark.parametrize("name", REAL_FORMATS)
def test_every_notice_is_on_the_page_of_its_format(name: str) -> None:
    folder = ROOT / "vhdfast" / "formats"
    base = ast.parse((folder / "base.py").read_text())
    helpers = {
        node.name: codes
        for node in ast.walk(base)
        if isinstance(node, ast.FunctionDef) and (codes := codes_in(node, {}))
    }
    assert helpers["cut_at_end"] == {"short-block"}
    own = sorted((folder / name).rglob("*.py")) or [folder / f"{name}.py"]
    emitted = set().union(*(codes_in(ast.parse(path.read_text()), helpers) for path in own))
    page = (PAGES / f"{name}.md").read_text()
    section = page.split("## Notices\n")[-1].split("\n## ")[0] if "## Notices" in page else ""
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", section, re.MULTILINE)) == emitted


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda path: path.stem)
def test_refusals_are_documented_by_codes_that_exist(page: Path) -> None:
    rows = re.findall(r"^\|(.+)\|([^|]*)\|$", page.read_text(), re.MULTILINE)
    tables = page.read_text().count("## Limits and refusals")
    codes = [code for _, last in rows for code in re.findall(r"`([a-z-]+-(?:image|format))`", last)]
    assert codes or not tables
    for code in codes:
        assert code in VhdfastError._by_code, code


def test_the_examples_of_the_python_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.support import MIB, pattern
    from tests.support.build_vhdx import write_vhdx

    monkeypatch.chdir(tmp_path)
    write_vhdx(Path("disk.vhdx"), virtual_size=3 * MIB, blocks={1: pattern(1, MIB)})
    page = (ROOT / "docs" / "api.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    examples = [block for block in blocks if ") -> " not in block]  # which only signatures have
    names: dict[str, object] = {}
    for example in examples:
        exec(compile(example, "api.md", "exec"), names)
    printed = capsys.readouterr().out
    assert len(examples) > 8 and len(blocks) - len(examples) == 10
    assert "1048576 3145728 []" in printed, "written, the target's size, no notices"
    assert "1048576 1048576" in printed, "the extent"
    assert "100%" in printed
    assert "image 4 missing.vhdx" in printed


def test_the_examples_of_the_backend_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import hashlib

    from tests.support import MIB, pattern
    from tests.support.build_vhdx import write_vhdx

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")  # an example sets it: it is put back
    write_vhdx(Path("server.vhdx"), virtual_size=24 * MIB, blocks={9: pattern(1, MIB)})
    page = (ROOT / "docs" / "backend.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for example in examples:
        exec(compile(example, "backend.md", "exec"), {"__name__": "example"})
    disk = bytes(9 * MIB) + pattern(1, MIB) + bytes(14 * MIB)
    assert Path("server.raw").read_bytes() == disk
    assert capsys.readouterr().out.splitlines() == [
        f"512 {hashlib.sha256(disk).hexdigest()[:8]}",
        "['server/00000002']",
        "1048576 bytes of 25165824 are stored",
        "verifying: over",
        "25166336",
        "0000",
        "4096",
        "target 6 create it, or choose another target",
    ]


def test_the_walk_through_of_a_new_check_works() -> None:
    from vhdfast.checks import CHECKS

    page = (ROOT / "docs" / "hacking" / "adding-a-check.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "vhdfast.checks.structure.tiny_disk"}
    try:
        exec(compile(code, "tiny_disk.py", "exec"), names)
        assert CHECKS["tiny-disk"].group() == "structure"
        for size, outcome in ((512, "fail"), (1024, "pass"), (None, "unknown")):
            subject = type("Subject", (), {"virtual_size": size})
            (finding,) = CHECKS["tiny-disk"]().run(subject)  # type: ignore[arg-type]
            assert finding.outcome.value == outcome
    finally:
        CHECKS.pop("tiny-disk", None)


def test_the_walk_through_of_a_new_format_works(tmp_path: Path) -> None:
    import vhdfast

    page = (ROOT / "docs" / "hacking" / "adding-a-format.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    disk = bytes(range(256)) * 6
    path = tmp_path / "disk.box"
    path.write_bytes(b"BOXDISK\0" + len(disk).to_bytes(8, "little") + disk)
    try:
        exec(compile(code, "box.py", "exec"), {"__name__": "vhdfast.formats.box"})
        vhdfast.convert(path, tmp_path / "disk.raw", to="raw")
        with vhdfast.open_image(path) as image:
            info = image.info()
    finally:
        FORMATS.pop("box", None)
    assert (tmp_path / "disk.raw").read_bytes() == disk
    assert (info.format, info.subformat, info.virtual_size) == ("box", "fixed", 1536)


def test_the_walk_through_of_a_new_verb_works(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vhdfast.cli._options import Parser
    from vhdfast.cli._output import Console

    page = (ROOT / "docs" / "hacking" / "adding-a-verb.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    module: dict[str, Any] = {"__name__": "vhdfast.cli.cmd_size"}
    exec(compile(code, "cmd_size.py", "exec"), module)
    parser = Parser()
    module["add_arguments"](parser)
    console = Console(is_json=False, is_quiet=False, log=None)
    assert module["run"](parser.parse_args([str(small_disk)]), console) == 0
    assert capsys.readouterr().out == f"{small_disk.stat().st_size}\n"


def test_the_walk_through_of_a_new_form_of_report_works() -> None:
    from tests.support.findings import finding, image, run_of, told
    from vhdfast.report import REPORTS

    page = (ROOT / "docs" / "hacking" / "adding-a-report.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    out = io.BytesIO()
    try:
        exec(compile(code, "form_csv.py", "exec"), {"__name__": "vhdfast.report.form_csv"})
        report = REPORTS["csv"](out, run_of())
        report.begin()
        for call in told(image(finding("tables", message="it is, after all, odd"))):
            call(report)
        report.end(1)
    finally:
        REPORTS.pop("csv", None)
    assert out.getvalue() == (
        b'path,check,severity,message\r\ndisk.vhd,tables,error,"it is, after all, odd"\r\n'
    )


@pytest.mark.parametrize("name", form_names())
def test_every_form_of_report_is_documented_and_tested(name: str) -> None:
    assert f"| `{name}` |" in (ROOT / "docs" / "cli.md").read_text()
    assert (ROOT / "tests" / "unit" / "report" / f"test_{name}.py").exists()


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_option_of_every_verb_is_documented(verb: str) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert f"vhdfast {verb}" in page
    for action in build_parser(verb)._actions:
        for option in action.option_strings:
            assert f"`{option}" in page or f"{option}`" in page or f" {option} " in page, option


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_has_examples_that_parse(verb: str) -> None:
    module = importlib.import_module(verbs()[verb])
    assert module.EXAMPLES
    from vhdfast.cli._options import expand_optional_values

    for line in module.EXAMPLES:
        words = re.split(r"[|>]", line)[0].split()
        assert words[:2] == ["vhdfast", verb]
        parser = build_parser(verb)
        parser.parse_intermixed_args(expand_optional_values(parser, words[2:]))


def test_the_page_of_the_checks_is_what_they_say() -> None:
    from vhdfast.report.handbook import markdown

    assert (ROOT / "docs" / "checks.md").read_text() == markdown()


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_of_the_stand_in_is_documented(command: str) -> None:
    page = (ROOT / "docs" / "qemu-img.md").read_text()
    assert f"| `{command}` |" in page
    assert isinstance(load(command).IS_SLOW, bool)


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_every_output_is_offered_by_convert(name: str) -> None:
    (action,) = [a for a in build_parser("convert")._actions if "--to" in a.option_strings]
    assert name in (action.choices or ())


def test_every_error_code_is_documented() -> None:
    page = "".join((ROOT / "docs" / name).read_text() for name in ("cli.md", "json.md", "api.md"))
    for code in VhdfastError._by_code:
        assert f"`{code}`" in page, code


def test_public_names_are_documented() -> None:
    import vhdfast

    page = (ROOT / "docs" / "api.md").read_text()
    for name in vhdfast.__all__:
        assert getattr(vhdfast, name) is not None
        assert name in page, name


# ---- start-up -----------------------------------------------------------------------------------


def loaded_by(script: str, *words: str | Path) -> list[str]:
    """Which of the heavy modules are there after a script."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {script}; print(*sys.modules)", *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = done.stdout.splitlines()[-1].split()
    return [name for name in HEAVY if name in loaded]


@pytest.mark.parametrize("words", ["--version", "--help", "convert --help"])
def test_start_up_imports_nothing_heavy(words: str) -> None:
    loaded = loaded_by("from vhdfast.cli import main; main(sys.argv[1:])", *words.split())
    # argparse asks shutil for the width of the terminal, and shutil can pack files.
    of_shutil = {"bz2", "lzma"} if words == "convert --help" else set()
    assert not set(loaded) - of_shutil


@pytest.mark.parametrize("words", ["info disk", "convert -c disk other", "snapshot -l disk"])
def test_handing_over_imports_nothing_heavy(words: str) -> None:
    script = (
        "from vhdfast.qemu_img import main\n"
        "main.find_real = lambda: '/x/qemu-img'\n"
        "main.become = lambda real, words: None\n"
        "main.main(sys.argv[1:])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{script}", *words.split()],
        capture_output=True, text=True,
    )  # fmt: skip
    loaded = done.stdout.splitlines()[-1].split()
    assert "vhdfast.qemu_img.real" in loaded
    assert not set(HEAVY) & set(loaded)


def test_a_plain_disk_needs_no_libraries_of_others(small_disk: Path, tmp_path: Path) -> None:
    script = "import vhdfast; vhdfast.convert(*sys.argv[1:], verify_copy=True)"
    loaded = loaded_by(script, small_disk, tmp_path / "disk.vhd")
    lazy = {"vhdfast._codecs", "cffi", "_cffi_backend", "zstandard", "fsspec", "aiohttp", "asyncio",
            "rich", "shtab"}  # fmt: skip
    assert "numpy" in loaded
    assert not lazy & set(loaded)


def test_the_version_takes_less_than_twice_a_bare_interpreter() -> None:
    # What a console script does.
    version = "import sys; from vhdfast.__main__ import main; sys.argv[1:] = ['--version']; main()"
    best = {version: 60.0, "pass": 60.0}
    for _ in range(10):  # in turn: other work on the machine slows both
        for script in best:
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, check=True)
            best[script] = min(best[script], time.perf_counter() - started)
    assert best[version] < 2 * best["pass"]


# ---- the tree -----------------------------------------------------------------------------------


def test_the_first_screen_is_short() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vhdfast"], capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) < 24
    assert done.stdout.count("  vhdfast ") == 3


def test_readme_has_exactly_two_set_up_commands() -> None:
    text = (ROOT / "README.md").read_text()
    section = text.split("## Set-up")[1].split("\n## ")[0]
    commands = re.findall(r"^    (.+)$", section, re.MULTILINE)
    assert commands == ["bash docs/try.sh", "bash tests/run.sh"]
    for command in commands:
        assert (ROOT / command.split()[1]).exists()


def test_links_in_the_docs_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith(("http", "mailto")):
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_no_file_outgrows_a_reader() -> None:
    files = [*(ROOT / "vhdfast").rglob("*.py"), *(ROOT / "native").rglob("*.[ch]")]
    for path in files:
        assert len(path.read_text().splitlines()) <= 600, path


# Rooms of vhdfast/, the lowest first: each imports from those below it alone. What one looks up in
# a higher room it imports in a function, where it is needed.
LAYERS = (
    ("errors", "_native", "_codecs"),
    ("units", "extents", "files", "monitor", "renaming", "scratch", "signals", "contents",
     "windows_names", "vmware"),
    ("engine", "cloning", "codecs", "ranges", "sparse", "tables", "siblings", "references",
     "edits"),
    ("remote", "streams", "guest"),
    ("formats",),
    ("containers", "image", "outputs"),
    ("targets",),
    ("plan", "comparing", "patched", "shrinking"),
    ("resizing",),
    ("copying", "hashing", "checks", "repairs"),
    ("converting", "report", "doctor", "explanations", "in_place"),
    ("converting_in_place",),
    ("api", "benchmark"),
    ("cli",),
    ("qemu_img",),
    ("__main__",),
)


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a module imports when it is loaded; for type checkers alone does not count."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1]]
            base += node.module.split(".") if node.module else []
            names = base[1:2] or [alias.name for alias in node.names]
            found.update(name for name in names if not name.startswith("__version"))
    return found


def test_nothing_imports_upwards() -> None:
    levels = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
    for path in (ROOT / "vhdfast").rglob("*.py"):
        room = path.relative_to(ROOT / "vhdfast").parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for other in imported_rooms(path) - {room}:
            assert levels[other] < levels[room], f"{path} imports {other}"


def test_every_room_is_on_the_map() -> None:
    page = (ROOT / "docs" / "internals" / "README.md").read_text()
    for room in {room for rooms in LAYERS for room in rooms} - {"__main__", "_native", "_codecs"}:
        assert f"`{room}.py`" in page or f"`{room}/`" in page, room


def test_the_core_knows_no_python() -> None:
    for path in (ROOT / "native").rglob("*.[ch]"):
        assert "Python.h" not in path.read_text(), path


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["mypy", "--no-error-summary"]], ids=["ruff", "mypy"]
)
def test_linters_are_content(command: list[str]) -> None:
    tool = Path(sys.executable).parent / command[0]
    if not tool.exists() and shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    chosen = str(tool) if tool.exists() else command[0]
    done = subprocess.run([chosen, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_accepted_by_their_shell(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "vhdfast", "completion", shell],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    script = tmp_path / "script"
    script.write_text(done.stdout)
    assert "convert" in done.stdout
    subprocess.run([shell, "-n", str(script)], check=True)


def test_the_manual_page_names_every_verb_and_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vhdfast", "man"], capture_output=True, text=True, check=True
    )
    for verb in verbs():
        assert f".SS vhdfast {verb}" in done.stdout
    for code in ("0", "1", "2", "4", "5", "6", "70"):
        assert f".B {code}\n" in done.stdout
