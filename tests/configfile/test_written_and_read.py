"""What is written is read as the same: every entry of watching, with whatever people may have typed."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.configfile.document import (
    AlertChannelEntry,
    AlertRuleEntry,
    CaptureEntry,
    Document,
    NotificationPolicyEntry,
    RedactionEntry,
    SavedViewEntry,
    SloEntry,
)
from controlplane.configfile.plain import yaml_text
from controlplane.configfile.reading import read_document
from controlplane.configfile.text import read_text

ODD = [
    "no", "7", "0x1f", "1e3", "null", "~", "2026-01-01", "- a", "a: b", "#x", "'", '"', "{a}", "*a", "&a", "!x", "%", "on", "🜁", " a", "a ",
]  # fmt: skip
WORDS = st.characters(exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp"), exclude_characters="\ufeff")
TEXTS = st.text(WORDS, max_size=12) | st.sampled_from(ODD)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
SPANS = st.integers(0, 90_000_000)
LABELS = st.dictionaries(NAMES, TEXTS, max_size=3)
REFERENCES = st.none() | st.just("kept") | NAMES.map("env:{}".format) | NAMES.map("file:{}".format)
INCIDENTS = st.sampled_from(["", "sev1", "sev4"])
LASTING: dict[str, Any] = {
    "fires_after": SPANS, "resolves_after": SPANS, "on_missing": st.sampled_from(["hold", "alert"]), "labels": LABELS,
    "opens_incident": INCIDENTS, "owner": TEXTS, "runbook": TEXTS, "by": TEXTS, "title": TEXTS, "name": NAMES,
}  # fmt: skip


def listed(entries: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(entries, max_size=2, unique_by=lambda entry: entry.name)


DOCUMENTS = st.builds(
    Document,
    organisation=st.just("main"),
    alert_rules=listed(
        st.builds(
            AlertRuleEntry, **LASTING, series=TEXTS, values=st.lists(TEXTS, max_size=3), warn=TEXTS, critical=TEXTS, window=SPANS,
            comparison=st.sampled_from(["above", "below", "times_baseline"]), min_samples=st.integers(0, 10**6), enabled=st.booleans(),
        )
    ),
    slos=listed(
        st.builds(
            SloEntry, **LASTING, indicator=st.sampled_from(["availability", "ttft"]), objective=TEXTS, threshold=SPANS, subject=TEXTS,
            alerting=st.booleans(),
        )
    ),
    alert_channels=listed(
        st.builds(
            AlertChannelEntry, name=NAMES, kind=st.sampled_from(["email", "slack"]), emails=st.lists(TEXTS, max_size=2), team=TEXTS,
            address=REFERENCES, secret=REFERENCES, allow_private=st.booleans(),
        )
    ),
    notification_policies=listed(
        st.builds(
            NotificationPolicyEntry, name=NAMES, position=st.integers(0, 999), team=TEXTS, labels=LABELS, steps=st.lists(TEXTS, max_size=3),
            severity=st.sampled_from(["", "critical"]), zone=TEXTS, days=TEXTS, from_time=TEXTS, group_wait=SPANS, repeat=SPANS,
        )
    ),
    redactions=listed(st.builds(RedactionEntry, kind=TEXTS, template=TEXTS)),
    captures=listed(st.builds(CaptureEntry, route=TEXTS, percent=st.integers(0, 10_000), keep_days=st.integers(0, 99))),
    saved_views=listed(st.builds(SavedViewEntry, name=TEXTS, url=TEXTS)),
)  # fmt: skip


@given(document=DOCUMENTS)
def test_what_is_written_is_read_as_the_same(document: Document) -> None:
    draft = read_document(read_text(yaml_text(document).encode(), file="bulkhead.yaml"))
    assert draft.problems == [] and draft.document == document
