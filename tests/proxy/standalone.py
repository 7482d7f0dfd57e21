"""Runs a real proxy process without a database, from a config file: for tests of the data plane by itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.fernet import Fernet

from apps.contracts.snapshot import Change, Delta, Fragment, encode_fragment
from apps.contracts.tokens import token_digest
from apps.proxy import lastgood
from tests.proxy.fragments import BY_TYPE

PEPPER = b"pepper-of-the-tests"
SEAL_KEY = Fernet.generate_key()
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def digest_of(token: str) -> str:
    return token_digest(PEPPER, token.encode()).hex()


def seal(secret: str) -> str:
    return Fernet(SEAL_KEY).encrypt(secret.encode()).decode()


def config_of(fragments: Iterable[Fragment], version: int = 1) -> Delta:
    """A whole config from fragments, each in the section of its type."""
    return Delta(0, version, [Change(BY_TYPE[type(f)], f.id, encode_fragment(f)) for f in fragments])


class StandaloneProxy:
    """``with StandaloneProxy(fragments, folder) as proxy: proxy.url``; ``database_url`` makes it a full one."""

    def __init__(
        self,
        fragments: Iterable[Fragment],
        folder: Path,
        *,
        environ: Mapping[str, str] | None = None,
        port: int | None = None,
        name: str = "proxy-1",
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.admin_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self.config_file = folder / f"{name}.lkg"
        self.journal_dir = folder / "journal"
        fragments = list(fragments)
        if fragments:
            lastgood.save(self.config_file, config_of(fragments))
        self.log = folder / f"{name}.log"
        self._environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("BULKHEAD_")},
            "BULKHEAD_DATA_DIR": str(folder),
            "BULKHEAD_PROXY_NAME": name,
            "BULKHEAD_PROXY_PORT": str(self.port),
            "BULKHEAD_PROXY_ADMIN_PORT": str(self.admin_port),
            "BULKHEAD_JOURNAL_DIR": str(self.journal_dir),
            "BULKHEAD_CONFIG_FILE": str(self.config_file),
            "BULKHEAD_KEY_PEPPER": PEPPER.decode(),
            "BULKHEAD_SEAL_KEY": SEAL_KEY.decode(),
            "PYTHONPATH": str(ROOT),
            **(environ or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> StandaloneProxy:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, deadline: float = 60) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "apps.proxy"], cwd=ROOT, env=self._environ, stdout=log, stderr=log)
        until = time.monotonic() + deadline
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.admin_url}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise AssertionError(f"the proxy did not become ready:\n{self.log.read_text()[-4000:]}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
