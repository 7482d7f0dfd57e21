"""The compiled hot path: found only when it was built from these very sources, and the listed modules are such as can be compiled."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
import typing
from pathlib import Path

import httpx
import msgspec
import pytest

from apps.proxy import compiled
from tests.proxy.standalone import StandaloneProxy


def start(**environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BULKHEAD_")}
    return subprocess.run(
        [sys.executable, "-m", "apps.proxy"], cwd=compiled.ROOT, env=inherited | environ, capture_output=True, text=True, timeout=120
    )


def test_a_compiled_proxy_that_is_required_and_missing_does_not_start(tmp_path: Path) -> None:
    done = start(BULKHEAD_COMPILED="required", BULKHEAD_COMPILED_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "run make compile" in done.stderr and str(tmp_path) in done.stderr


def test_a_way_that_does_not_exist_is_refused() -> None:
    done = start(BULKHEAD_COMPILED="always")
    assert done.returncode == 2
    assert "must be one of auto, off, required" in done.stderr


def test_a_build_of_other_sources_is_not_found(tmp_path: Path) -> None:
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    for module in compiled.MODULES:
        made = tmp_path / "0123456789abcdef" / (module.replace(".", "/") + suffix)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    before = list(sys.meta_path)
    assert not compiled.install({"BULKHEAD_COMPILED_DIR": str(tmp_path)})
    assert sys.meta_path == before


def test_a_build_with_a_module_missing_is_not_used(tmp_path: Path) -> None:
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    environ = {"BULKHEAD_COMPILED_DIR": str(tmp_path)}
    for module in compiled.MODULES[1:]:
        made = compiled.folder(environ) / (module.replace(".", "/") + suffix)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    assert not compiled.install(environ)
    with pytest.raises(compiled.NotCompiled, match="make compile"):
        compiled.install(environ | {"BULKHEAD_COMPILED": "required"})


def test_the_key_follows_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    key = compiled.build_key()
    assert key == compiled.build_key()
    monkeypatch.setattr(compiled, "MODULES", compiled.MODULES[1:])
    assert compiled.build_key() != key


@pytest.mark.parametrize("module", compiled.MODULES)
def test_a_listed_module_keeps_to_what_compiles(module: str) -> None:
    """What mypyc accepts and then does wrong (docs/adr/0006); what it refuses, it says itself."""
    for node in ast.walk(ast.parse(compiled.source_of(module).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "weakref":
            raise AssertionError(f"{module}:{node.lineno} holds instances weakly")
    for value in vars(importlib.import_module(module)).values():
        if not isinstance(value, type) or value.__module__ != module:
            continue
        assert not issubclass(value, msgspec.Struct), f"{value.__name__} is a Struct"
        if issubclass(value, tuple):
            typing.get_type_hints(value)  # raises NameError for what is imported for type checking only


@pytest.mark.skipif(os.environ.get("BULKHEAD_ACCEPT") != "1", reason="compiling takes minutes: make accept (BULKHEAD_ACCEPT=1)")
@pytest.mark.timeout(1800)
def test_it_compiles_and_the_proxy_runs_it(tmp_path: Path) -> None:
    environ = {"BULKHEAD_COMPILED_DIR": str(tmp_path)}
    command = [sys.executable, "deploy/compile.py"]
    built = subprocess.run(command, cwd=compiled.ROOT, env=os.environ | environ, capture_output=True, text=True)
    if "cannot be compiled here" in built.stderr:
        pytest.skip(f"LOUD SKIP: {built.stderr}")
    assert built.returncode == 0, built.stderr
    with StandaloneProxy([], tmp_path, environ=environ | {"BULKHEAD_COMPILED": "required"}) as proxy:
        assert "hot path: compiled" in proxy.log.read_text()
        assert "\nbulkhead_compiled 1\n" in httpx.get(f"{proxy.admin_url}/metrics", timeout=60).text
        assert httpx.get(f"{proxy.url}/healthz", timeout=60).status_code == 200
