"""Budgets of every scope in a document: applied, exported, applied again; bad ones refused with their line, in the words of forms."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import CommandError

from apps.accounts.models import Organisation
from apps.accounts.services import organisation_ensure
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.budgets.models import Budget
from apps.budgets.services import budget_set, budget_webhooks_set
from apps.contracts.snapshot import BudgetFragment, decode_fragment
from apps.providers.vault import decrypt
from apps.publishing.models import FragmentRow
from controlplane.configfile.plain import yaml_text
from controlplane.configfile.writing import document_of
from tests.configfile.test_apply_resilience import apply

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _main() -> None:
    organisation_ensure(actor=Actor.command("test"), slug="main", name="Main")


BEFORE = """
organisation: main
teams:
  - {name: search, services: [{name: chat}]}
providers:
  - {name: near, allow_private_addresses: true, endpoints: [{base_url: "http://127.0.0.1:8000/v1"}]}
routes:
  - {name: chat, targets: [{provider: near, model: m}]}
keys:
  - {name: app}
budgets:
"""
DOCUMENT = f"""{BEFORE}
  - {{name: all, scope: organisation, window: quarter, limit: 9000, owner: cfo@example.com, alerts: "90, 50"}}
  - {{name: a, scope: team, team: search, window: week, timezone: Europe/Berlin, limit: 10}}
  - {{name: b, scope: service, service: search/chat, window: month, limit: 10, kind: throttle, actions: "95: limited, 80:cheaper"}}
  - {{name: c, scope: user, user: "*", window: day, limit: "0.50"}}
  - {{name: d, scope: user, user: u-1, window: day, limit: 1, kind: soft, open_when_away: false}}
  - {{name: e, scope: key, key: app, window: day, limit: 1}}
  - {{name: f, scope: route, route: chat, window: day, limit: 1}}
  - {{name: g, scope: model, model: m, window: day, limit: 1}}
  - {{name: h, scope: provider, provider: near, window: day, limit: 1}}
  - {{name: i, scope: feature, feature: summary, window: day, limit: 1}}
  - {{name: j, scope: tag, tag: beta, window: day, limit: 1}}
"""


def fragments() -> dict[str, BudgetFragment]:
    found = {}
    for row in FragmentRow.objects.filter(section="budgets", body__isnull=False):
        fragment = decode_fragment("budgets", bytes(row.body))
        assert isinstance(fragment, BudgetFragment)
        found[fragment.name] = fragment
    return found


def test_every_scope_is_applied_and_what_is_exported_changes_nothing(tmp_path: Path) -> None:
    apply(tmp_path, DOCUMENT)
    told = fragments()
    assert {name: fragment.scope_id for name, fragment in told.items() if name in "abcdgij"} == {
        "a": "search", "b": "search/chat", "c": "*", "d": "u-1", "g": "m", "i": "summary", "j": "beta",
    }  # fmt: skip
    assert [(action.at_percent, action.do) for action in told["b"].actions] == [(80, "cheaper"), (95, "limited")]
    assert (told["b"].hard, told["d"].hard, told["d"].open_when_away, told["e"].hard) == (False, False, False, True)
    row = Budget.objects.get(name="all")
    assert (row.owner_email, row.alert_shares) == ("cfo@example.com", "50, 90")
    again = apply(tmp_path, DOCUMENT)
    assert "othing" in again, again
    assert len(fragments()) == 11


@pytest.mark.parametrize(
    ("entry", "field", "facts"),
    [
        ("scope: organisation, window: year, limit: 1", "window", {"window": "year"}),
        ("scope: organisation, window: day, limit: 1, timezone: Mars/Base", "timezone", {"timezone": "Mars/Base"}),
        ("scope: organisation, window: day, limit: 0", "limit", {"limit_nano": 0}),
        ("scope: organisation, window: day, limit: 2000000000", "limit", {"limit_nano": 2_000_000_000 * 10**9}),
        ("scope: organisation, window: day, limit: 1, kind: rubber", "kind", {"kind": "rubber"}),
        ("scope: organisation, window: day, limit: 1, kind: throttle", "actions", {"kind": "throttle"}),
        (
            "scope: organisation, window: day, limit: 1, kind: soft, actions: '80: cheaper'",
            "actions",
            {"kind": "soft", "actions": "80: cheaper"},
        ),
        ("scope: organisation, window: day, limit: 1, actions: '80: sing'", "actions", {"actions": "80: sing"}),
        ("scope: organisation, window: day, limit: 1, actions: '0: cheaper'", "actions", {"actions": "0: cheaper"}),
        ("scope: organisation, window: day, limit: 1, alerts: 'NaN'", "alerts", {"alert_shares": "NaN"}),
        ("scope: organisation, window: day, limit: 1, owner: nobody", "owner", {"owner_email": "nobody"}),
        ("scope: planet, window: day, limit: 1", "scope", {"scope": "planet"}),
        ("scope: tag, tag: ' ', window: day, limit: 1", "tag", {"scope": "tag", "scope_id": " "}),
    ],
)
def test_documents_are_refused_in_the_words_of_the_service_that_forms_call(
    tmp_path: Path, entry: str, field: str, facts: dict[str, object]
) -> None:
    apply(tmp_path, f"{BEFORE}  - {{name: fine, scope: tag, tag: x, window: week, limit: 1}}\n")
    organisation = Organisation.objects.get(slug="main")
    good: dict[str, object] = {"scope": "organisation", "scope_id": organisation.pk, "window": "day", "limit_nano": 10**9}
    with pytest.raises(ServiceError) as refused:
        budget_set(actor=Actor.command("test"), organisation=organisation, name="bad", **{**good, **facts})  # type: ignore[arg-type]
    with pytest.raises(CommandError) as told:
        apply(tmp_path, f"{BEFORE}  - {{name: bad, {entry}}}\n")
    assert f"budgets[0].{field}: {refused.value.message}" in str(told.value)
    assert not Budget.objects.filter(name="bad").exists()


@pytest.mark.parametrize("limit", ["-1", "NaN", "1e3", "inf", '"€5"', '"5 EUR"'])
def test_amounts_that_are_none_and_other_currencies_are_refused(tmp_path: Path, limit: str) -> None:
    with pytest.raises(CommandError, match=r"budgets\[0\].limit: .*(write dollars in plain digits|amounts are in US dollars)"):
        apply(tmp_path, f"{BEFORE}  - {{name: bad, scope: organisation, window: day, limit: {limit}}}\n")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("scope: team, window: day, limit: 1", r"budgets\[0\].team: name the team that the budget is for"),
        ("scope: team, team: search, key: app, window: day, limit: 1", r"budgets\[0\].key: a budget with scope: team is for no key"),
        ("scope: service, service: chat, window: day, limit: 1", r"budgets\[0\].service: 'chat': write a service as team/service"),
        ("scope: route, route: nowhere, window: day, limit: 1", r"budgets\[0\].route"),
    ],
)
def test_what_a_budget_is_for_is_named_once_and_exists(tmp_path: Path, entry: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        apply(tmp_path, f"{BEFORE}  - {{name: bad, {entry}}}\n")


def test_budgets_that_overlap_wholly_are_refused(tmp_path: Path) -> None:
    twice = "  - {name: one, scope: tag, tag: x, window: day, limit: 1}\n  - {name: two, scope: tag, tag: x, window: day, limit: 2}\n"
    with pytest.raises(CommandError, match=r"budgets\[1\].tag: the hard budget 'one' is for the same tag and day already"):
        apply(tmp_path, BEFORE + twice)


HOOKED = """  - {name: hooked, scope: tag, tag: x, window: week, limit: 1, owner: a@example.com, webhook: WEBHOOK}
"""


def test_webhooks_come_by_reference_and_are_exported_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address itself is in no document and no output; without the field, and as ``kept``, it stays as it is."""
    (tmp_path / "hook.url").write_text("https://hooks.example.com/s3cret\n")
    apply(tmp_path, BEFORE + HOOKED.replace("WEBHOOK", "file:hook.url"))
    row = Budget.objects.get(name="hooked")
    stored = row.webhook
    assert decrypt(stored) == "https://hooks.example.com/s3cret" and row.webhook_source == "file:hook.url"
    exported = yaml_text(document_of(row.organisation))
    assert "webhook: file:hook.url" in exported and "s3cret" not in exported and "slack_webhook" not in exported
    assert "othing" in apply(tmp_path, BEFORE + HOOKED.replace("WEBHOOK", "file:hook.url"))
    for same in ("kept", ""):
        apply(tmp_path, BEFORE + (HOOKED.replace("WEBHOOK", same) if same else HOOKED.replace(", webhook: WEBHOOK", "")))
        row.refresh_from_db()
        assert row.webhook == stored
    monkeypatch.setenv("TEAM_HOOK_SECRET", "https://hooks.example.com/other")
    told = apply(tmp_path, BEFORE + HOOKED.replace("WEBHOOK", "env:TEAM_HOOK_SECRET").replace("}", ", slack_webhook: file:hook.url}"))
    assert "other" not in told.replace("another", "") and "s3cret" not in told and "hooked" in told
    budget_webhooks_set(actor=Actor.command("test"), budget=row, webhook="https://hooks.example.com/by-hand")
    row.refresh_from_db()
    exported = yaml_text(document_of(row.organisation))
    assert "webhook: kept" in exported and "slack_webhook: file:hook.url" in exported
    apply(tmp_path, BEFORE + HOOKED.replace("WEBHOOK", "none"))
    row.refresh_from_db()
    assert (row.webhook, row.webhook_source, bool(row.slack_webhook)) == ("", "", True)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("kept", "webhook: there is no address to keep"),
        ("https://hooks.example.com/s3cret", "webhook: takes a reference, never the secret itself"),
        ("file:missing", "webhook: .*cannot be read"),
        ("file:wrong.url", "webhook: a webhook is an address such as"),
        ("env:HOME", "webhook: HOME is not an allowed variable"),
        ("true", "webhook: takes a reference"),
    ],
)
def test_a_webhook_that_is_none_is_refused_without_a_word_of_it(tmp_path: Path, reference: str, says: str) -> None:
    (tmp_path / "wrong.url").write_text("ftp://user:s3cret@hooks.example.com")
    with pytest.raises(CommandError, match=says) as refused:
        apply(tmp_path, BEFORE + HOOKED.replace("WEBHOOK", reference))
    assert "s3cret" not in str(refused.value) and not Budget.objects.exists()
