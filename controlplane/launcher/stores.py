"""Which Postgres and Redis this instance uses: embedded, or the operator's own by ``DATABASE_URL`` and ``REDIS_URL``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from controlplane.launcher import keys, preflight
from controlplane.launcher.postgres import PROXY, SUPERUSER, Postgres
from controlplane.launcher.preflight import PreflightError
from controlplane.launcher.redis import Redis, free_port


def database(data_dir: Path) -> Postgres | str:
    """The operator's URL where one is set, else our embedded server (not started)."""
    given = os.environ.get("DATABASE_URL") or os.environ.get("BULKHEAD_DATABASE_URL")
    return given or Postgres(data_dir / "postgres", passwords=keys.postgres_passwords(data_dir))


def broker(data_dir: Path, made: Mapping[str, str]) -> Redis | str:
    """The operator's URL where one is set, else our embedded server (not started). ``made``: the instance's secrets."""
    given = os.environ.get("REDIS_URL") or os.environ.get("BULKHEAD_REDIS_URL")
    password, proxy_password = made["redis_password"], made["proxy_redis_password"]
    return given or Redis(data_dir / "redis", port=free_port(), password=password, proxy_password=proxy_password)


def proxy_redis(server: Redis | str) -> str:
    """The proxies' Redis: as given in ``BULKHEAD_PROXY_REDIS_URL``, else our embedded server, as a user who may only share hints.
    Empty on the operator's own server: what a proxy may do there is the operator's to say, and proxies do without."""
    return os.environ.get("BULKHEAD_PROXY_REDIS_URL") or (server.proxy_url if isinstance(server, Redis) else "")


def answers(server: Postgres) -> bool:
    import psycopg

    try:
        psycopg.connect(server.url(user=SUPERUSER, database="postgres"), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def roles(server: Postgres) -> str:
    """Make our roles and the database where they are missing; the server's version."""
    import psycopg

    server.ensure_roles()
    with psycopg.connect(server.url()) as connection:
        return str(connection.info.parameter_status("server_version"))


def own_proxy_role(database_url: str, password: str) -> str:
    """The proxies' URL on the operator's own server: as given in ``BULKHEAD_PROXY_DATABASE_URL``, else a role made by us."""
    given = os.environ.get("BULKHEAD_PROXY_DATABASE_URL", "")
    if given:
        preflight.check_database(given)
        return given
    import psycopg
    from psycopg import sql
    from psycopg.conninfo import conninfo_to_dict

    try:
        with psycopg.connect(database_url, autocommit=True, connect_timeout=5) as connection:
            exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [PROXY]).fetchone()
            verb = "ALTER" if exists else "CREATE"
            connection.execute(sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(PROXY), sql.Literal(password)))
    except psycopg.errors.InsufficientPrivilege:
        raise PreflightError(
            f"the role of DATABASE_URL may not create the proxies' role: run `CREATE ROLE {PROXY} LOGIN PASSWORD '...'` as a superuser "
            "and set BULKHEAD_PROXY_DATABASE_URL to a URL of that role"
        ) from None
    return proxy_role_url(conninfo_to_dict(database_url), password)


def proxy_role_url(parts: Mapping[str, Any], password: str) -> str:
    """The URL of role ``bulkhead_proxy`` on the server and database that ``parts`` (libpq's names) describe."""
    options = {name: str(value) for name, value in parts.items() if name not in ("user", "password", "dbname") and value}
    name = quote(str(parts.get("dbname") or parts.get("user") or "postgres"), safe="")
    return f"postgresql://{PROXY}:{quote(password, safe='')}@/{name}?{urlencode(options)}"
