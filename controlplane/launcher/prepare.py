"""The one step of ``up`` that needs Django: migrate, the first login, the demo, a provider of the operator's own.

Run as a program (``python -m controlplane.launcher.prepare OUT.json [--demo]``) with ``DATABASE_URL`` set. What ``up.json``
shows of it is written to OUT (mode 0600). ``current`` tells, without Django, whether it would change anything.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FIRST_LOGIN = "admin@bulkhead.local"
ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ("apps/*/migrations/*.py", "controlplane/demo/*.py", "controlplane/launcher/prepare.py")


def fingerprint(*, demo: bool, history: bool, simulators: Sequence[int | None], pepper: str, engine_model: str = "") -> str:
    """Of everything that decides what preparing does: migrations, the demo's code and ports, its model, the operator's API key."""
    digest = hashlib.sha256(f"demo={demo} {history} {simulators} {engine_model}".encode())
    for pattern in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    api_key = os.environ.get("OPENAI_API_KEY", "")
    digest.update(hmac.new(pepper.encode(), api_key.encode(), "sha256").digest() if api_key else b"")
    return digest.hexdigest()


def database_mark(url: str) -> str:
    """Names this very database in this very state of migration; empty where none has run."""
    import psycopg

    with psycopg.connect(url, connect_timeout=10) as connection:
        if connection.execute("SELECT to_regclass('django_migrations')").fetchone() == (None,):
            return ""
        row = connection.execute("SELECT count(*), max(applied)::text FROM django_migrations").fetchone()
    return f"{row[0]} {row[1]}" if row else ""


def current(out: Path, *, url: str, wanted: str) -> dict[str, Any] | None:
    """The facts of the last preparation when nothing has changed since; None: prepare."""
    try:
        kept = json.loads(out.read_text())
    except (OSError, ValueError):
        return None
    if kept.get("fingerprint") != wanted or kept.get("database") != database_mark(url):
        return None
    facts = kept.get("facts")
    return facts if isinstance(facts, dict) else None


def _write(out: Path, document: dict[str, Any]) -> None:
    part = out.with_name(f"{out.name}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(document, file)
    part.rename(out)


def _migrate() -> int:
    """Apply what is pending; how many that were."""
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        call_command("migrate", interactive=False, verbosity=0)
    return len(pending)


def _first_login(kept: dict[str, Any]) -> dict[str, str]:
    """The first admin, made once; afterwards what we kept of it (its password may have been changed since)."""
    from apps.accounts.models import User
    from apps.accounts.services import user_create_first_admin
    from apps.audit.actors import Actor

    if User.objects.exists():
        login = kept.get("login")
        return dict(login) if isinstance(login, dict) else {}
    login = {"email": FIRST_LOGIN, "password": secrets.token_urlsafe(12)}
    user_create_first_admin(actor=Actor.system("up"), email=login["email"], password=login["password"])
    return login


def _demo(engine_model: Path | None) -> dict[str, Any]:
    from apps.audit.actors import Actor
    from controlplane.demo.seed import demo_seed

    return dict(demo_seed(actor=Actor.system("up"), engine_model=engine_model))


def _history(token: str) -> int:
    """A day of generated requests, where the demo has none yet; how many."""
    from apps.keys.selectors import key_by_digest
    from apps.keys.services import key_digest
    from controlplane.demo.history import history_generate

    key = key_by_digest(key_digest(token))
    return 0 if key is None else history_generate(organisation=key.organisation, key=key)


def _finish_removal() -> None:
    """A removal that was cut short, by a stop or a crash, is ended before anything starts."""
    from apps.audit.actors import Actor
    from controlplane import env
    from controlplane.demo.removal import demo_remove
    from controlplane.demo.state import demo_state

    state = demo_state(env.data_dir())
    if state.removed and not state.gone:
        demo_remove(actor=Actor.system("up"), waits=False)
        print("demo: removed")


def _openai(api_key: str) -> dict[str, Any]:
    from apps.audit.actors import Actor
    from controlplane.demo.openai import ensure_openai

    return dict(ensure_openai(actor=Actor.system("up"), api_key=api_key))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m controlplane.launcher.prepare")
    parser.add_argument("out", type=Path)
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--history", action="store_true")
    parser.add_argument("--engine-model", type=Path, help="a directory that the built-in engine shall serve")
    parser.add_argument("--fingerprint", required=True)
    arguments = parser.parse_args()

    import django

    django.setup()
    from controlplane import env

    try:
        kept = json.loads(arguments.out.read_text()).get("facts", {})
    except (OSError, ValueError):
        kept = {}
    applied = _migrate()
    print(f"migrated: {applied} applied" if applied else "migrated: nothing pending")
    facts: dict[str, Any] = {"login": _first_login(kept)}
    if "openai_key" in kept:  # a start without the variable changes nothing
        facts["openai_key"] = kept["openai_key"]
    _write(arguments.out, {"facts": {**kept, **facts}})  # the password exists nowhere else if the next step fails
    if arguments.demo:
        facts |= _demo(arguments.engine_model)
        print("demo: seeded")
        if arguments.history and (made := _history(facts["key"])):
            print(f"demo: {made} requests of the past day generated")
    else:
        _finish_removal()
    if api_key := os.environ.get("OPENAI_API_KEY", ""):
        facts["openai_key"] = _openai(api_key)
        print("openai: provider, route and key stand")
    mark = database_mark(env.database_url())
    _write(arguments.out, {"fingerprint": arguments.fingerprint, "database": mark, "facts": facts})


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    main()
