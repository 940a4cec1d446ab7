"""What repairs say is documented, and nothing else is."""

from __future__ import annotations

import ast
import re

from tests.conftest import ROOT


def test_every_finding_is_on_the_page() -> None:
    said = {
        argument.value
        for path in (ROOT / "vhdfast" / "repairs").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "found"
        for argument in ast.walk(node.args[0])
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    } | {"footer-checksum"}  # which is chosen before it is said
    page = (ROOT / "docs" / "formats" / "vhd.md").read_text()
    section = page.split("## What is repaired\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", section, re.MULTILINE)) == said
