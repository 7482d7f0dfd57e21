"""The hot path as C extensions, where somebody has built them (``make compile``); the same source, interpreted, where nobody has.

``deploy/compile.py`` translates ``MODULES`` with mypyc into ``folder()``, named after what it was made from:
a build of other sources, or for another Python, is not found and so cannot be used by mistake. ``install`` runs before anything
else of the proxy is imported. docs/adr/0006 says why and what these modules must not contain.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]

MODULES = (
    "apps.contracts.flag_constraints",
    "apps.contracts.flag_rules",
    "apps.contracts.histogram",
    "apps.contracts.identifiers",
    "apps.contracts.pricing",
    "apps.contracts.tariff",
    "apps.proxy.attempt",
    "apps.proxy.breaker",
    "apps.proxy.choose",
    "apps.proxy.dialects.base",
    "apps.proxy.dialects.openai",
    "apps.proxy.dialects.openai_stream",
    "apps.proxy.dispatch",
    "apps.proxy.driver",
    "apps.proxy.engine",
    "apps.proxy.exchange",
    "apps.proxy.flagging",
    "apps.proxy.flight",
    "apps.proxy.health",
    "apps.proxy.hedge",
    "apps.proxy.http.client",
    "apps.proxy.http.heads",
    "apps.proxy.http.known",
    "apps.proxy.http.outbox",
    "apps.proxy.http.reply",
    "apps.proxy.http.server",
    "apps.proxy.http.sweep",
    "apps.proxy.http.types",
    "apps.proxy.journal",
    "apps.proxy.leases",
    "apps.proxy.limits",
    "apps.proxy.limits_text",
    "apps.proxy.metrics",
    "apps.proxy.pipeline",
    "apps.proxy.records",
    "apps.proxy.retries",
    "apps.proxy.segments",
    "apps.proxy.server",
    "apps.proxy.slices",
    "apps.proxy.slots",
    "apps.proxy.spend",
    "apps.proxy.splice",
    "apps.proxy.state",
    "apps.proxy.steps.attribute",
    "apps.proxy.steps.authenticate",
    "apps.proxy.steps.bound",
    "apps.proxy.steps.limit",
    "apps.proxy.steps.plan",
    "apps.proxy.steps.json_body",
    "apps.proxy.steps.read",
)
"""What runs for every request, and everything that shares a class with it."""

WAYS = ("auto", "off", "required")


class NotCompiled(RuntimeError):
    """A compiled proxy was required and there is no build of these sources."""


def source_of(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def build_key() -> str:
    """16 hex digits over every source of the proxy and its contracts, the Python and the machine: what a build is good for."""
    digest = hashlib.sha256(f"{sys.implementation.cache_tag} {platform.machine()} {' '.join(MODULES)}".encode())
    for path in sorted(path for room in ("apps/contracts", "apps/proxy") for path in (ROOT / room).rglob("*.py")):
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the build of these very sources lies, or would lie: beside the environment's packages, or under BULKHEAD_COMPILED_DIR."""
    return Path(environ.get("BULKHEAD_COMPILED_DIR") or Path(sys.prefix) / "compiled") / build_key()


class _Finder:
    """Finds the modules of one build, before anybody looks for their sources."""

    def __init__(self, found: Mapping[str, Path]) -> None:
        self._found = found

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        file = self._found.get(name)
        return importlib.util.spec_from_file_location(name, file) if file is not None else None


def install(environ: Mapping[str, str] = os.environ) -> bool:
    """Lets imports find the build, if there is one, and says whether.

    BULKHEAD_COMPILED: ``auto`` (the default), ``off``, or ``required``: NotCompiled where there is none. Another value: ValueError.
    """
    way = environ.get("BULKHEAD_COMPILED") or "auto"
    if way not in WAYS:
        raise ValueError(f"BULKHEAD_COMPILED is {way!r}; it must be one of {', '.join(WAYS)}")
    if way == "off":
        return False
    built = folder(environ)
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    found = {".".join(path.relative_to(built).parts)[: -len(suffix)]: path for path in built.rglob(f"*{suffix}")}
    if not set(MODULES) <= found.keys():
        if way == "required":
            raise NotCompiled(f"BULKHEAD_COMPILED is required, and {built} holds no build of these sources: run make compile")
        return False
    sys.meta_path.insert(0, _Finder(found))
    return True


def in_use() -> bool:
    """Whether this process runs the compiled hot path."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)
