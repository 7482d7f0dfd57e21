"""The proxies' role: it may call its functions and can read or change nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from apps.publishing import services
from tests.conftest import FreshDatabase

BOOT = uuid.UUID(int=7)


@pytest.fixture
def proxy(fresh_database: FreshDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(fresh_database.proxy_url, autocommit=True) as connection:
        yield connection


def register(proxy: psycopg.Connection, boot: uuid.UUID = BOOT, name: str = "proxy-1") -> int:
    row = proxy.execute(
        "SELECT proxy_api.register(%s, %s, %s, %s, %s, %s)", [boot, name, "host-a", 42, "http://127.0.0.1:8080", "http://127.0.0.1:9080"]
    ).fetchone()
    assert row is not None
    return int(row[0])


def heartbeat(proxy: psycopg.Connection, version: int, state: str = "ready", boot: uuid.UUID = BOOT) -> tuple[int, int] | None:
    return proxy.execute(
        "SELECT now_ms, head FROM proxy_api.heartbeat(%s, %s, %s, %s::jsonb)", [boot, version, state, '{"a": 1}']
    ).fetchone()


def test_register_heartbeat_and_delta(proxy: psycopg.Connection, fresh_database: FreshDatabase) -> None:
    now_ms = register(proxy)
    assert now_ms > 1_700_000_000_000
    first = heartbeat(proxy, 0, "starting")
    assert first is not None and first[0] >= now_ms and first[1] == 0
    with psycopg.connect(fresh_database.url, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO publishing_version (number, lineage, actor_kind, actor_id, actor_name, reason, created_at, counts, diff, manifest)"
            " VALUES (3, gen_random_uuid(), 'command', 't', 't', '', now(), '{}', '{}', '{}')"
        )
        beat = heartbeat(proxy, 0)
        assert beat is not None and beat[1] == 3
        acked = "SELECT version, state, acked_at, detail FROM publishing_proxy"
        heartbeat(proxy, 3)
        row = owner.execute(acked).fetchone()
        assert row is not None and row[:2] == (3, "ready") and row[3] == {"a": 1}
        heartbeat(proxy, 3, "unready")
        again = owner.execute(acked).fetchone()
        assert again is not None and again[1] == "unready" and again[2] == row[2], "acked_at is when the version was first acknowledged"
        register(proxy, name="renamed")
        assert owner.execute("SELECT name, version FROM publishing_proxy").fetchall() == [("renamed", 3)]


def test_a_heartbeat_of_an_unknown_boot_reads_as_a_lost_connection(proxy: psycopg.Connection) -> None:
    with pytest.raises(psycopg.OperationalError, match="is not registered"):
        heartbeat(proxy, 1, boot=uuid.UUID(int=99))


def test_heartbeats_stay_in_place(proxy: psycopg.Connection, fresh_database: FreshDatabase) -> None:
    """Updates are HOT updates: no index is written. Not quite all: while a snapshot, autovacuum's say, sees old rows, a page fills up."""
    for number in range(4):
        register(proxy, uuid.UUID(int=number))
    for round_number in range(200):
        heartbeat(proxy, round_number, boot=uuid.UUID(int=round_number % 4))
    with psycopg.connect(fresh_database.url, autocommit=True) as owner:
        proxy.close()  # its statistics are flushed when it ends
        row = None
        for _ in range(200):
            owner.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
            row = owner.execute("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'publishing_proxy'").fetchone()
            if row is not None and row[0] >= 200:
                break
            owner.execute("SELECT pg_sleep(0.05)")
    assert row is not None and row[0] == 200
    assert row[1] >= 0.75 * row[0]


def test_nothing_else_is_open_to_it(proxy: psycopg.Connection) -> None:
    tables = proxy.execute(
        "SELECT n.nspname || '.' || c.relname, array_agg(p) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,"
        " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p"
        " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'"
        " AND has_table_privilege(current_user, c.oid, p) GROUP BY 1"
    ).fetchall()
    assert tables == []
    columns = proxy.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v')"
        " AND has_any_column_privilege(current_user, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')"
    ).fetchall()
    assert columns == []
    sequences = proxy.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'"
        " AND c.relkind = 'S' AND has_sequence_privilege(current_user, c.oid, 'USAGE, SELECT, UPDATE')"
    ).fetchall()
    assert sequences == []
    create = proxy.execute(
        "SELECT nspname FROM pg_namespace WHERE has_schema_privilege(current_user, oid, 'CREATE') AND nspname NOT LIKE 'pg_temp%'"
    ).fetchall()
    assert create == []
    role = proxy.execute(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert role == (False, False, False, False, False)


def test_every_definer_function_is_pinned_and_closed_to_everybody_else(proxy: psycopg.Connection) -> None:
    """Also those that other apps add to the schema."""
    rows = proxy.execute(
        "SELECT p.proname, p.prosecdef, coalesce(array_to_string(p.proconfig, ','), ''),"
        " has_function_privilege('bulkhead_proxy', p.oid, 'EXECUTE'),"
        " EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a WHERE a.grantee = 0), n.nspname"
        " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = 'proxy_api' OR (p.prosecdef AND n.nspname = 'public')"
    ).fetchall()
    names = {row[0] for row in rows}
    assert {"register", "heartbeat", "config_delta"} <= names
    for name, definer, config, executable, public, schema in rows:
        assert schema == "proxy_api", f"{name}: SECURITY DEFINER functions live in proxy_api only"
        assert definer and executable and not public, name
        assert "search_path=" in config and config.split("search_path=")[1].split(",")[-1].strip().endswith("pg_temp"), f"{name}: {config}"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM publishing_version",
        "SELECT * FROM publishing_fragment",
        "SELECT * FROM accounts_user",
        "SELECT * FROM audit_event",
        "UPDATE publishing_proxy SET version = 99",
        "INSERT INTO publishing_touched (section, object_id, at) VALUES ('keys', 'x', now())",
        "CREATE TABLE mine (x int)",
        "CREATE FUNCTION proxy_api.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SET ROLE bulkhead",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_what_it_tries_is_refused(proxy: psycopg.Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        proxy.execute(statement)


def test_a_table_of_its_own_cannot_stand_in_for_ours(proxy: psycopg.Connection) -> None:
    """The functions' search_path is pinned: a temporary table of the same name is not looked at."""
    proxy.execute("CREATE TEMPORARY TABLE publishing_version (number bigint)")
    proxy.execute("INSERT INTO publishing_version VALUES (999)")
    proxy.execute("SET search_path = pg_temp, public")
    register(proxy)
    beat = heartbeat(proxy, 0)
    assert beat is not None and beat[1] == 0
    row = proxy.execute("SELECT version FROM proxy_api.config_delta(0)").fetchone()
    assert row == (0,)


def test_the_channel_s_name_is_the_proxies_one() -> None:
    from apps.proxy import store

    assert store.CONFIG_CHANNEL == services.CHANNEL
