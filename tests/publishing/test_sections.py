"""The real sections: each is there, builds from rows, and can be rolled back unless it never is."""

from __future__ import annotations

import pytest

from apps.contracts.snapshot import NEVER_ROLLED_BACK, SECTIONS
from apps.publishing import registry
from apps.publishing.services import publish
from tests.publishing.rows import ACTOR


def test_every_section_has_its_builder() -> None:
    registry.sections.cache_clear()
    sections = registry.sections()
    assert list(sections) == list(SECTIONS)
    assert {name for name, section in sections.items() if section.restore is None} == NEVER_ROLLED_BACK


@pytest.mark.django_db
def test_without_rows_there_is_nothing_to_publish() -> None:
    for name, section in registry.sections().items():
        assert section.build(set()) == {}, name
        assert section.build(None) == {}, name
    assert publish(actor=ACTOR, full=True) is None


@pytest.mark.django_db
def test_ids_of_rows_that_are_gone_build_nothing() -> None:
    for name, section in registry.sections().items():
        missing = "01890000-0000-7000-8000-000000000001" + ("/gpt-x" if name == "prices" else "")
        assert section.build({missing}) == {}, name
