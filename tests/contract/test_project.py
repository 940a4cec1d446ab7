"""Promises that hold for the whole tree: what exists is documented, tested, light and clean."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vhdfast.cli._options import build_parser, verbs
from vhdfast.errors import VhdfastError
from vhdfast.formats import FORMATS
from vhdfast.outputs import OUTPUTS

REAL_FORMATS = sorted(name for name, kind in FORMATS.items() if kind.__module__.startswith("vhdf"))


@pytest.mark.parametrize("name", REAL_FORMATS)
def test_every_format_has_its_page_and_its_tests(name: str) -> None:
    assert (ROOT / "docs" / "formats" / f"{name}.md").exists()
    assert (ROOT / "tests" / "unit" / "formats" / f"test_{name}.py").exists()


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


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_start_up_imports_nothing_heavy(word: str) -> None:
    script = (
        "import sys; from vhdfast.cli import main; main([sys.argv[1]]); "
        "print([n for n in ('numpy', 'rich', 'shtab', 'vhdfast._native') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, word], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


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
