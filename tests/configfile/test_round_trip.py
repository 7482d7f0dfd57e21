"""Everything that a document can say: applied to an organisation, exported, applied to an empty one, exported again: the same."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.flags.models import ChangeRequest, TwoPersonRule
from apps.ownership.models import Team
from controlplane.configfile.apply import apply_file
from controlplane.configfile.document import Document
from controlplane.configfile.managed import THINGS
from controlplane.configfile.plain import moment_text, yaml_text
from controlplane.configfile.problems import DocumentError
from controlplane.configfile.writing import WRITERS, document_of, entry_of
from tests.people import member

pytestmark = pytest.mark.django_db
LISTS = {field.name for field in msgspec.structs.fields(Document)} - {"organisation"}
APPLY = Actor.command("apply")
SECRETS = {
    "secret": "sk-near-0123456789", "hook": "https://hooks.example.com/x", "signing": f"whsec_{b64encode(bytes(32)).decode()}",
    "routing": "0123456789abcdef0123456789abcdef", "topic": "https://ntfy.sh/payments", "token": "tk_0123456789",
}  # fmt: skip
"""Files that the document names."""
EVERYTHING = """
teams:
  - name: payments
    title: Payments
    contact: pay@example.test
    contacts: [{kind: chat, value: "#payments"}]
    sla: {availability: "99.9", window_days: 28}
    services: [{name: checkout, title: Checkout, sla: {availability: "99.95"}}]
layers: [{name: proxy, title: The proxy, position: 1}]
regions: [{name: eu-west, title: Frankfurt, owners: [{layer: proxy, team: payments}]}]
rotations: [{name: weekly, team: payments, members: [ada@example.test], zone: Europe/Berlin, weekday: wed, starts_on: "2026-03-04"}]
runbooks: [{name: away, title: Away, owner: payments, text: "# Look"}]
credentials: [{name: main, secret: "file:secret"}, {name: second, secret: "file:secret"}]
providers:
  - name: near
    owner: payments
    endpoints:
      - {name: a, base_url: "https://near.example.com/v1", region: eu-west, credential: main}
      - {name: b, base_url: "https://far.example.com/v1", credentials: [{name: main, requests_per_minute: 60}, {name: second}]}
    prices:
      - model: m
        input: "1.50"
        output: 6
        tiers: [{from_input_tokens: 1000, input: 3}]
        off_peak: [{start: "16:30", end: "00:30", discount: 50%}]
    priced_like: [{model: m2, like: near/m}]
    models: [{model: m, window: 32000, can: [tools], cannot: [seed], deprecated: false, ends_on: "2030-01-31", note: measured}]
discounts: [{name: deal, provider: near, discount: 10%}]
unit_prices: [{name: hd, provider: near, model: m, unit: image, quality: hd, per_thousand: 80}]
gpu_prices: [{name: rack, gpu: H200, per_hour: "2.50"}]
deployments:
  - {name: code, model: code, engine: vllm, source: hub, location: a/b, gpus: 1, memory: "14.5", most: 2, drain: 2m, owner: payments,
     arguments: {max-model-len: "8192", enable-prefix-caching: ""}, labels: {zone: a}, scaling_mode: dry_run, max_waiting: 8,
     scaling: {tokens_each: 20000, kv_target: 0.75, floors: [{minimum: 1, days: [mon], from: "08:00", to: "18:00"}], zone: Europe/Zurich},
     warm_up: {requests: 2}, health: {failures: 2, timeout_seconds: 2.5}, performance_budget: fast}
routes:
  - name: chat
    aliases: [talk]
    owner: payments
    targets: [{provider: near, model: m, weight: 7}]
    fallback: [{provider: near, model: m2}, {provider: "deployment:code", model: code}]
    deadlines: {total: 90s}
    resilience: {hedge_percent: 5, breaker: {consecutive: 3}}
keys: [{name: app, secret: "file:app.key", service: payments/checkout, tags: [a], routes: [chat]}]
key_templates: [{name: payments, environments: [staging], budget: 5, requests_per_minute: 60}]
budgets:
  - {name: wall, scope: key, key: app, window: day, limit: "12.50", owned_by: payments, webhook: "file:hook", alerts: "50, 80"}
limits: [{name: rpm, route: chat, kind: requests_per_minute, amount: 600, owned_by: payments}]
performance_budgets: [{name: fast, route: chat, metric: ttft_p95, bound: 1500ms, owner: pay@example.test}]
flags:
  - {name: chat-away, kind: fallback, route: chat, owner: payments, runbook: away, purpose: when near is down}
  - {name: careful, kind: degrade, level: limited, team: payments, owner: payments, rules: {strategies: [{name: default}]}}
two_person_rules:
  - {kind: kill, subject: provider, environment: production, turning: either, reason: careful}
  - {team: payments}
schedules:
  - {flag: careful, turn: "on", at: "%(at)s", until: "%(until)s", zone: Europe/Berlin, late: 30m, reason: the sale}
alert_rules:
  - {name: errors, title: Requests fail, series: error_rate, by: route, warn: 2%, critical: 10%, min_samples: 50, enabled: false}
  - name: app-slow
    title: The app waits
    series: latency_p95
    by: key
    values: [app]
    comparison: times_baseline
    warn: 1.5x
    window: 10m
    fires_after: 2m
    labels: {layer: application, who: "all"}
    owner: payments
    runbook: away
    opens_incident: sev2
slos:
  - {name: chat-fast, title: Chat is fast, indicator: latency, objective: "99.5", threshold: 4s, by: route, subject: chat, owner: payments}
  - {name: app-well, title: The app is well, indicator: availability, objective: "99.9", by: key, subject: app, alerting: false}
alert_channels:
  - {name: team-mail, kind: email, emails: [pay@example.test, ops@example.test], team: payments}
  - {name: ops-hook, kind: webhook, address: "file:hook", secret: "file:signing", enabled: false}
  - {name: pages, kind: pagerduty, secret: "file:routing"}
  - {name: push, kind: ntfy, address: "file:topic", secret: "file:token"}
notification_policies:
  - name: payments
    team: payments
    severity: warning
    labels: {layer: application}
    steps: ["0 on-call weekly", "0 channel team-mail", "10 next"]
    zone: Europe/Berlin
    days: mon-fri
    from_time: "08:00"
    to_time: "18:00"
    repeat: 30m
  - {name: all, position: 1, steps: ["0 channel pages"], group_wait: 0s, repeat: 0s}
captures: [{route: chat, percent: 0.5%, keep_days: 3}]
redactions: [{kind: employee, template: "EMP-######"}, {kind: employee, template: "case-*"}]
saved_views: [{name: payments/Errors today, url: "/requests/?route=chat&outcome=error"}]
"""


def written(folder: Path) -> Path:
    for name, text in SECRETS.items():
        (folder / name).write_text(text, encoding="utf-8")
    soon = timezone.now().replace(microsecond=0) + timedelta(days=3)
    at = {"at": moment_text(soon), "until": moment_text(soon + timedelta(hours=6))}
    path = folder / "bulkhead.yaml"
    path.write_text(EVERYTHING.replace("%(at)s", at["at"]).replace("%(until)s", at["until"]), encoding="utf-8")
    return path


def test_the_lists_are_known_everywhere() -> None:
    """A new list of the document is written, and managed, or this fails."""
    assert WRITERS.keys() == THINGS.keys() == LISTS


def test_all_of_it_comes_back_from_an_empty_organisation(organisation: Organisation, tmp_path: Path) -> None:
    ada = member(organisation, "on-call", email="ada@example.test")
    path = written(tmp_path)
    apply_file(actor=APPLY, path=path, organisation="main")
    first = document_of(organisation)
    assert {name for name in LISTS if not getattr(first, name)} == set(), "the document above says something of every list"
    assert [(rule.kind, rule.turning) for rule in TwoPersonRule.objects.order_by("kind")] == [("", "on"), ("kill", "either")]
    assert ChangeRequest.objects.get().state == "waiting", "a rule asks for a second person of what the team owns or of all"
    assert apply_file(actor=APPLY, path=path, organisation="main").lines == []

    other = Organisation.objects.create(name="Other", slug="other")
    other.memberships.create(user=ada, role="on-call")
    (tmp_path / "app.key").unlink()  # one secret opens one key only
    path.write_text(yaml_text(first).replace("organisation: main", "organisation: other"), encoding="utf-8")
    apply_file(actor=APPLY, path=path)
    second = document_of(other)
    assert yaml_text(second).replace("organisation: other", "organisation: main") == yaml_text(first)
    for name in LISTS:
        for entry in getattr(first, name):
            assert entry_of(organisation, name, entry.name) == entry, "one entry is written as the whole document writes it"


def test_what_has_no_name_goes_by_what_it_says(organisation: Organisation, tmp_path: Path) -> None:
    member(organisation, "on-call", email="ada@example.test")
    path = written(tmp_path)
    apply_file(actor=APPLY, path=path, organisation="main")
    at = moment_text(ChangeRequest.objects.get().at)  # type: ignore[arg-type]
    entry = f"schedules: [{{flag: careful, turn: 'on', at: '{at}', reason: later, share: 50}}]\n"
    path.write_text(entry, encoding="utf-8")
    apply_file(actor=APPLY, path=path, organisation="main")
    assert list(ChangeRequest.objects.order_by("asked_at").values_list("state", "share")) == [("withdrawn", 100), ("waiting", 50)]
    gone = "two_person_rules: [{kind: kill, subject: provider, environment: production, turning: either, absent: true}]\n"
    path.write_text(gone + f"schedules: [{{flag: careful, turn: 'on', at: '{at}', absent: true}}]\n", encoding="utf-8")
    lines = apply_file(actor=APPLY, path=path, organisation="main").lines
    assert lines == ["- rule for two persons turning either kill/provider/production/", f"- scheduled flip careful on {at}"]
    assert TwoPersonRule.objects.get(kind="kill").ends_at is not None, "it holds on for a day"
    past = moment_text(timezone.now() - timedelta(days=1))
    path.write_text(f"schedules: [{{flag: careful, turn: 'on', at: '{past}', reason: over}}]\n", encoding="utf-8")
    assert apply_file(actor=APPLY, path=path, organisation="main").lines == [], "what is past is history"


def test_a_team_goes_once_it_answers_for_nothing(organisation: Organisation, tmp_path: Path) -> None:
    path = tmp_path / "bulkhead.yaml"
    path.write_text("teams: [{name: ops}, {name: spare}]\nrunbooks: [{name: away, owner: ops}]\n", encoding="utf-8")
    apply_file(actor=APPLY, path=path, organisation="main")
    path.write_text("teams: [{name: spare, absent: true}, {name: never, absent: true}]\n", encoding="utf-8")
    apply_file(actor=APPLY, path=path, organisation="main")
    assert list(Team.objects.values_list("slug", flat=True)) == ["ops"]


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        ("two_person_rules: [{kind: stop}]", "two_person_rules[0].kind", "no kind of flag"),
        ("two_person_rules: [{kind: fallback, subject: provider}]", "two_person_rules[0].subject", "never about"),
        ("two_person_rules: [{team: nobody}]", "two_person_rules[0].team", "no team 'nobody'"),
        ("schedules: [{flag: none, turn: 'on', at: '2999-01-01T00:00:00Z', reason: x}]", "schedules[0].flag", "no flag 'none'"),
        ("schedules: [{turn: 'on', absent: true}]", "schedules[0].flag", "is missing"),
    ],
)
def test_mistakes_are_named_with_their_field(organisation: Organisation, tmp_path: Path, text: str, field: str, said: str) -> None:
    path = tmp_path / "bulkhead.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError) as refused:
        apply_file(actor=APPLY, path=path, organisation="main")
    assert any(problem.field == field and said in problem.message for problem in refused.value.problems), refused.value
