"""HTTPS: certificates are checked, and nobody is sent on to a place without encryption."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.web import WebServer

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    path = tmp_path / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", path,
         "-out", tmp_path / "certificate.pem", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    with open(path, "ab") as file:
        file.write((tmp_path / "certificate.pem").read_bytes())
    return path


@pytest.fixture
def server(certificate: Path, small_disk: Path) -> Iterator[WebServer]:
    made = WebServer(small_disk.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made.encrypt(context)
    with made:
        yield made


def test_a_disk_is_read_over_https(
    server: WebServer, certificate: Path, vhdfast_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.parent / "certificate.pem"))
    done = vhdfast_cli("compare", server.url(), "disk.raw")
    assert done.returncode == 0, done.stderr


def test_a_certificate_that_nobody_vouches_for_is_refused(
    server: WebServer, vhdfast_cli: Run
) -> None:
    done = vhdfast_cli("info", server.url())
    assert done.returncode == 5
    assert "no safe connection" in done.stderr and "SSL_CERT_FILE" in done.stderr
    assert server.requests == []


def test_a_redirect_out_of_encryption_is_refused(
    server: WebServer, certificate: Path, vhdfast_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.parent / "certificate.pem"))
    with WebServer(server.content) as plain:

        def move(handler: Any, start: int, end: int) -> bool:
            handler.answer(302, b"", Location=plain.url())
            return True

        server.misbehave = move
        done = vhdfast_cli("info", server.url())
    assert done.returncode == 4
    assert "without encryption" in done.stderr
