"""Sections for tests: a real table of fragments as the rows that publishing builds from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from django.db import connection

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.contracts.snapshot import (
    NEVER_ROLLED_BACK,
    SECTIONS,
    Endpoint,
    Fragment,
    KeyFragment,
    ProviderFragment,
    RouteFragment,
    Target,
    decode_fragment,
    encode_fragment,
)
from apps.publishing.registry import Section
from apps.publishing.services import section_touch

ACTOR = Actor.command("test")
TABLE = "test_publishing_rows"


def create_table() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (section text, object_id text, body bytea, PRIMARY KEY (section, object_id))")


def drop_table() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")


def rows_write(section: str, *fragments: Fragment, touch: bool = True) -> None:
    """What a service does: change rows, touch their section."""
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {TABLE} VALUES (%s, %s, %s) ON CONFLICT (section, object_id) DO UPDATE SET body = excluded.body",
            [(section, fragment.id, encode_fragment(fragment)) for fragment in fragments],
        )
    if touch:
        section_touch(section=section, ids=[fragment.id for fragment in fragments])


def rows_delete(section: str, *ids: str, touch: bool = True) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {TABLE} WHERE section = %s AND object_id = ANY(%s)", [section, list(ids)])
    if touch:
        section_touch(section=section, ids=ids)


class TableSection:
    """``build`` counts what it was asked for; ``restore`` refuses ids in ``stuck``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[set[str] | None] = []
        self.stuck: set[str] = set()

    def build(self, ids: set[str] | None) -> Mapping[str, Fragment]:
        self.asked.append(ids)
        with connection.cursor() as cursor:
            if ids is None:
                cursor.execute(f"SELECT object_id, body FROM {TABLE} WHERE section = %s", [self.name])
            else:
                cursor.execute(f"SELECT object_id, body FROM {TABLE} WHERE section = %s AND object_id = ANY(%s)", [self.name, list(ids)])
            return {object_id: decode_fragment(self.name, bytes(body)) for object_id, body in cursor.fetchall()}

    def restore(self, *, actor: Actor, object_id: str, fragment: Fragment | None, reason: str) -> None:
        if object_id in self.stuck:
            raise ServiceError(f"{object_id} is stuck")
        if fragment is None:
            rows_delete(self.name, object_id)
        else:
            rows_write(self.name, fragment)


def sections(tables: Sequence[TableSection] | None = None) -> dict[str, Section]:
    by_name = {table.name: table for table in tables or ()}
    registered: dict[str, Section] = {}
    for name in SECTIONS:
        table = by_name.get(name) or TableSection(name)
        registered[name] = Section(build=table.build, restore=None if name in NEVER_ROLLED_BACK else table.restore)
    return registered


def provider(id: str = "p1", *, name: str = "openai", base_url: str = "https://api.example.com/v1", **fields: Any) -> ProviderFragment:
    return ProviderFragment(
        id=id, name=name, kind="openai", endpoints=[Endpoint(name="eu", base_url=base_url)], organisation="o1", **fields
    )


def route(id: str = "r1", *, name: str = "chat", provider: str = "openai", model: str = "gpt-x", **fields: Any) -> RouteFragment:
    return RouteFragment(id=id, name=name, organisation="o1", targets=[Target(provider=provider, model=model)], **fields)


def key(id: str, *, digest: str | None = None, **fields: Any) -> KeyFragment:
    digests = [digest if digest is not None else sha256(id.encode()).hexdigest()]
    return KeyFragment(id=id, name=f"key {id}", public_id=id, organisation="o1", digests=digests, **fields)
