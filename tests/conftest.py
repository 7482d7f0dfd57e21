"""The test session's real services.

One embedded PostgreSQL per session (started by the xdist controller, or at first use without xdist). The first worker
that needs a database migrates a template; every worker, and every test that asks for ``fresh_database``, gets a clone
of it. Tests that kill a server get their own from ``postgres_server`` or ``redis_server``.
"""

from __future__ import annotations

import fcntl
import gc
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from apps.proxy import compiled
from controlplane.launcher.postgres import OWNER, PROXY, SUPERUSER, Passwords, Postgres
from controlplane.launcher.redis import Redis
from tests.clients_of_http import httpx_shaped
from tests.prepared import FAST, Prepared, make_short_dir, model_migrated
from tests.rewriting import rewrite_in_parts
from tests.scale import FULL

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.audit.actors import Actor

if os.environ.get("BULKHEAD_TEST_COMPILED") == "1":  # the tests' own process, too, runs the compiled hot path
    compiled.install({"BULKHEAD_COMPILED": "required"})

# No deadlines: a busy machine is not a bug. The long run looks further and elsewhere each time; the short one repeats itself under CI.
settings.register_profile(
    "short",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    derandomize="CI" in os.environ,
    print_blob=True,
    max_examples=30,
)
settings.register_profile("long", parent=settings.get_profile("short"), derandomize=False, max_examples=500)
settings.load_profile("long" if os.environ.get("BULKHEAD_ACCEPT") == "1" else "short")

httpx_shaped()

gc.set_threshold(20_000, 20, 20)
"""Seldom: hundreds of thousands of objects live as long as the tests do, and Hypothesis is called each time garbage is looked for."""

TEMPLATE = "bulkhead_template"


class Session:
    """The session's server, as its starter knows it; workers of xdist get ``seat`` (everything needed to connect)."""

    def __init__(self) -> None:
        self.directory: Path | None = None
        self.server: Postgres | None = None

    def start(self) -> dict[str, str]:
        if self.server is None or self.directory is None:
            self.directory = make_short_dir("session")
            self.server = Postgres(
                self.directory / "postgres",
                passwords=Passwords.random(),
                settings={**FAST, "synchronous_commit": "off"},
                log=self.directory / "postgres.log",
            )
            self.server.start()
        return self.seat()

    def seat(self) -> dict[str, str]:
        assert self.server is not None and self.directory is not None
        words = self.server.passwords
        return {"directory": str(self.directory), "superuser": words.superuser, "owner": words.owner, "proxy": words.proxy}

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            base = self.server.location.data.parent
            for path in (self.directory, base):
                if path is not None:
                    shutil.rmtree(path, ignore_errors=True)
            self.server = None


session_services = Session()

GROUPS = {
    "accept/": "accept",
    "launcher/test_up.py": "accept",
    "browser/": "browser",
    "proxy/test_live_": "lab",
    "proxy/test_fault_table.py": "lab",
}
"""Beginnings of paths -> the tests that follow one another on one worker, because they start a whole instance, or share one, a browser
or a lab of proxies: two cores carry one of each at a time. In this order they come first; then every file is a group of its own."""


def group_of(nodeid: str) -> str:
    path = nodeid.split("::", 1)[0].removeprefix("tests/")
    return next((group for beginning, group in GROUPS.items() if path.startswith(beginning)), path)


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """By our groups and not by marks: pytest 9.2 keeps no mark in a test's id, where ``--dist loadgroup`` looks for it."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    config.option.loadscopereorder = False  # else what has most tests comes first, not what takes longest
    return Groups(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    worker = getattr(session.config, "workerinput", None)
    if worker is not None and not sys.dont_write_bytecode:
        rewrite_in_parts(session.config, number=int(worker["workerid"].removeprefix("gw")), count=worker["workercount"])


@pytest.hookimpl(trylast=True)  # after pytest-django, which puts tests with a database first
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = list(dict.fromkeys(GROUPS.values()))
    for item in items:
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)  # a server of its own takes seconds to make
    places = {group: place for place, group in enumerate(order)}
    items.sort(key=lambda item: places.get(group_of(item.nodeid), len(order)))


def pytest_collection_finish() -> None:
    """What was loaded up to here stays: nobody looks through it for garbage again."""
    gc.collect()
    gc.freeze()


def pytest_configure_node(node: pytest.Item) -> None:
    """xdist's controller tells each worker where the session's server is."""
    node.workerinput["bulkhead_postgres"] = session_services.start()  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    session_services.stop()


@pytest.fixture(scope="session")
def session_postgres(request: pytest.FixtureRequest) -> Postgres:
    """The session's one server; ``url(user=, database=)`` of it. Never kill this one."""
    seat = getattr(request.config, "workerinput", {}).get("bulkhead_postgres") or session_services.start()
    words = Passwords(superuser=seat["superuser"], owner=seat["owner"], proxy=seat["proxy"])
    return Postgres(Path(seat["directory"]) / "postgres", passwords=words)


def _clone(server: Postgres, name: str, template: str) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(server.url(user=SUPERUSER, database="postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(template), sql.Identifier(OWNER))
        )
        # Settings of a database (ALTER DATABASE ... SET) and CONNECT grants are not part of a clone; ours has neither.


def _drop(server: Postgres, name: str) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(server.url(user=SUPERUSER, database="postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _point_django_at(url: str) -> None:
    from django.conf import settings
    from django.db import connections

    from controlplane import env

    entry = env.django_database(url)
    for alias in ("default",):
        connection = connections[alias]
        connection.close()
        for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS"):
            settings.DATABASES[alias][key] = entry[key]
            connection.settings_dict[key] = entry[key]


@pytest.fixture(scope="session")
def template_database(session_postgres: Postgres, django_db_blocker: object) -> str:
    """The migrated template's name. One worker makes it, the others wait for its file lock."""
    from django.core.management import call_command
    from django.db import connections

    home = session_postgres.home.parent
    with (home / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = home / "template.done"
        if not done.exists():
            session_postgres.ensure_roles(database=TEMPLATE)
            with django_db_blocker.unblock():  # type: ignore[attr-defined]
                _point_django_at(session_postgres.url(database=TEMPLATE))
                call_command("migrate", verbosity=0, interactive=False)
                connections.close_all()
            done.touch()
    return TEMPLATE


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest, session_postgres: Postgres, template_database: str, django_db_blocker: object
) -> Iterator[None]:
    """pytest-django's set-up, replaced: this worker's database is a clone of the template."""
    from django.db import connections

    name = f"test_{getattr(request.config, 'workerinput', {}).get('workerid', 'main')}"
    _clone(session_postgres, name, template_database)
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        _point_django_at(session_postgres.url(database=name))
    yield
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        connections.close_all()
    _drop(session_postgres, name)


@dataclass(frozen=True)
class FreshDatabase:
    """A migrated database of a test's own: what it commits is gone with it. For tests that start real processes."""

    name: str
    url: str
    """As the owner role ``bulkhead``."""
    proxy_url: str
    """As the role ``bulkhead_proxy``."""
    superuser_url: str


_numbers = itertools.count()


@pytest.fixture
def fresh_database(session_postgres: Postgres, template_database: str) -> Iterator[FreshDatabase]:
    name = f"fresh_{os.getpid()}_{next(_numbers)}"
    _clone(session_postgres, name, template_database)
    yield FreshDatabase(
        name=name,
        url=session_postgres.url(database=name),
        proxy_url=session_postgres.url(user=PROXY, database=name),
        superuser_url=session_postgres.url(user=SUPERUSER, database=name),
    )
    _drop(session_postgres, name)


@pytest.fixture
def actor() -> Actor:
    """Who acts on the services where nobody in particular does."""
    from apps.audit.actors import Actor

    return Actor.command("test")


@pytest.fixture
def organisation(db: None, actor: Actor) -> Organisation:
    """Organisation ``main``, empty."""
    from apps.accounts.services import organisation_ensure

    return organisation_ensure(actor=actor, slug="main", name="Main")


@pytest.fixture(scope="session")
def postgres_model() -> Iterator[tuple[Path, Passwords]]:
    """Where the first server of ``postgres_server`` leaves its first files for the others, and the passwords in them."""
    directory = make_short_dir("model")
    yield directory / "data", Passwords.random()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_model(postgres_model: tuple[Path, Passwords], session_postgres: Postgres, template_database: str) -> tuple[Path, Passwords]:
    """As ``postgres_model``, of a server whose database ``bulkhead`` is migrated. Under ``make accept`` it is empty all the same."""
    empty, passwords = postgres_model
    if FULL:
        return empty, passwords
    model = empty.with_name("migrated")
    model_migrated(model, empty=empty, passwords=passwords, source=session_postgres, template=template_database)
    return model, passwords


@pytest.fixture
def postgres_server(request: pytest.FixtureRequest, postgres_model: tuple[Path, Passwords]) -> Iterator[Callable[..., Postgres]]:
    """``postgres_server(settings={...}) -> Postgres``: a started server of the test's own, to kill, stop and start again.

    Commits are synchronous: what a client was told is committed survives ``kill()``. It has the roles and an empty
    database ``bulkhead``. Where tables are needed, migrate it (``manage.py migrate`` with ``DATABASE_URL=server.url()``), and say
    ``migrated=True``: there is nothing left to migrate then, but under ``make accept``.
    """
    started: list[tuple[Postgres, Path]] = []

    def start(settings: dict[str, str] | None = None, *, migrated: bool = False) -> Postgres:
        model, passwords = request.getfixturevalue("migrated_model") if migrated else postgres_model
        directory = make_short_dir("postgres")
        server = Prepared(
            directory / "postgres",
            model=model,
            passwords=passwords,
            settings={**FAST, **(settings or {})},
            log=directory / "postgres.log",
        )
        started.append((server, directory))
        server.start()
        return server

    yield start
    for server, directory in started:
        server.stop()
        shutil.rmtree(server.location.data.parent, ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def redis_server() -> Iterator[Redis]:
    """A started Redis of the test's own; ``url``, ``kill()``, ``start()``."""
    directory = make_short_dir("redis")
    server = Redis(directory / "redis", log=directory / "redis.log")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)
