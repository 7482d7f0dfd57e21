"""Alert rules, SLOs, channels, policies, captures and teams' views in the document; secrets by reference alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.accounts.models import Organisation
from apps.alerts.channel_models import AlertChannel
from apps.alerts.channel_services import channel_create, channel_update
from apps.alerts.models import AlertRule, Slo
from apps.alerts.rule_services import rule_update
from apps.alerts.seeds import SEEDS, defaults_ensure
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.dashboard.models import SavedView
from apps.dashboard.saved_services import saved_view_create
from apps.ownership.models import Team
from apps.publishing.managed import Guard, ManagedByDocument
from apps.usage.capture_models import CaptureRule
from apps.usage.capture_selectors import capture_patterns
from apps.usage.capture_services import capture_patterns_set
from controlplane.configfile.apply import Outcome, apply_file
from controlplane.configfile.plain import yaml_text
from controlplane.configfile.problems import DocumentError
from controlplane.configfile.writing import document_of
from controlplane.masterkey import decrypt
from tests.people import member

pytestmark = pytest.mark.django_db
APPLY = Actor.command("apply")
ROUTE = """
providers: [{name: near, endpoints: [{base_url: "https://near.example.com/v1"}]}]
routes: [{name: chat, targets: [{provider: near, model: m}], unpriced: zero}]
"""
RULE = "alert_rules: [{name: slow, title: Slow, series: latency_p95, warn: 2s%s}]"
HOOK = "alert_channels: [{name: hook, kind: slack, address: 'file:hook'}]"


def run(folder: Path, text: str) -> Outcome:
    path = folder / "bulkhead.yaml"
    path.write_text(text, encoding="utf-8")
    return apply_file(actor=APPLY, path=path, organisation="main")


def refused(folder: Path, text: str) -> list[tuple[str, str]]:
    with pytest.raises(DocumentError) as error:
        run(folder, text)
    return [(problem.field, problem.message) for problem in error.value.problems]


MISTAKES = [
    ("alert_rules: [{name: slow, title: Slow, series: odd, warn: 2s}]", "alert_rules[0].series", "no series that a rule can look at"),
    (RULE % ", critical: 1s", "alert_rules[0].critical", "must lie above"),
    (RULE % ", window: 7m", "alert_rules[0].window", "looks back over one of"),
    (RULE % ", fires_after: 90s", "alert_rules[0].fires_after", "whole minutes"),
    (RULE % ", resolves_after: 1500ms", "alert_rules[0].resolves_after", "whole seconds"),
    (RULE % ", owner: nobody", "alert_rules[0].owner", "there is no team 'nobody': add it under teams"),
    (RULE % ", by: key, values: [gone]", "alert_rules[0].values", "there is no active key 'gone'"),
    (RULE % ", labels: [a]", "alert_rules[0].labels", "names with a text each"),
    (RULE % ", labels: {layer: 7}", "alert_rules[0].labels.layer", "put it in quotes"),
    ("alert_rules: [{name: errors, absent: true}]\n", "", ""),  # not there yet: nothing to take out
    ("slos: [{name: x, title: X, indicator: ttft, objective: 99}]", "slos[0].threshold", "whole milliseconds"),
    ("slos: [{name: x, title: X, indicator: availability, objective: '100'}]", "slos[0].objective", "leaves no error budget"),
    ("slos: [{name: x, title: X, indicator: availability, objective: 99, by: route}]", "slos[0].subject", "name the route"),
    ("alert_channels: [{name: a, kind: email}]", "alert_channels[0].emails", "list the e-mail addresses"),
    ("alert_channels: [{name: a, kind: email, emails: [nobody]}]", "alert_channels[0].emails", "not an email address"),
    ("alert_channels: [{name: a, kind: slack}]", "alert_channels[0].address", "env:NAME or file:path"),
    ("alert_channels: [{name: a, kind: slack, address: 'https://s.test/x'}]", "alert_channels[0].address", "never the secret itself"),
    ("alert_channels: [{name: a, kind: slack, address: kept}]", "alert_channels[0].address", "there is no address to keep"),
    ("alert_channels: [{name: a, kind: slack, address: 'file:hook', secret: 'file:hook'}]", "alert_channels[0].secret", "has no secret"),
    ("alert_channels: [{name: a, kind: webhook, address: 'file:hook'}]", "alert_channels[0].secret", "none is made for a document"),
    ("alert_channels: [{name: a, kind: pagerduty}]", "alert_channels[0].secret", "routing key"),
    ("alert_channels: [{name: a, kind: ntfy, address: 'env:HOME'}]", "alert_channels[0].address", "not an allowed variable"),
    ("notification_policies: [{name: p, steps: []}]", "notification_policies[0].steps", "Begin with a step at 0 minutes"),
    ("notification_policies: [{name: p, steps: ['0 channel none']}]", "notification_policies[0].steps", "There is no channel 'none'"),
    ("notification_policies: [{name: p, steps: ['0 on-call'], to_time: '25:00'}]", "notification_policies[0].to_time", "no time of day"),
    ("notification_policies: [{name: p, steps: ['0 on-call'], repeat: 90s}]", "notification_policies[0].repeat", "whole minutes"),
    ("captures: [{route: gone, percent: 1%}]", "captures[0].route", "there is no route 'gone'"),
    (f"{ROUTE}captures: [{{route: chat, percent: 0%}}]", "captures[0].percent", "0.01 to 100 percent"),
    (f"{ROUTE}captures: [{{route: chat, percent: 1%, keep_days: 40}}]", "captures[0].keep_days", "1 to 30 days"),
    ("redactions: [{kind: email, template: 'x-####'}]", "redactions[0].template", "is looked for already"),
    ("redactions: [{kind: employee, template: '****'}]", "redactions[0].template", "nearly everything"),
    (f"{ROUTE}captures: [{{route: chat, percent: 1%}}, {{route: chat, percent: 2%}}]", "captures[1].name", "listed twice"),
    ("saved_views: [{name: mine, url: /requests/}]", "saved_views[0].name", "write a team's slug, a slash"),
    ("teams: [{name: a}]\nsaved_views: [{name: a/b, url: 'https://evil.example'}]", "saved_views[0].url", "can be kept"),
]  # fmt: skip


def test_every_mistake_is_named_with_its_field(organisation: Organisation, tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("https://hooks.example.com/s3cret", encoding="utf-8")
    wrong = []
    for text, field, said in MISTAKES:
        if not field:
            assert run(tmp_path, text).lines == []
            continue
        found = refused(tmp_path, text)
        if not any(said in message and at == field for at, message in found) or "s3cret" in str(found):
            wrong.append((text, found))
    assert wrong == []


def test_what_opens_a_channel_comes_from_its_reference_and_is_never_written(organisation: Organisation, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text("https://hooks.example.com/s3cret", encoding="utf-8")
    assert "+ alert channel hook" in run(tmp_path, HOOK).lines
    row = AlertChannel.objects.get()
    assert (decrypt(row.address), row.address_source) == ("https://hooks.example.com/s3cret", "file:hook")
    assert run(tmp_path, HOOK).lines == []
    hook.write_text("https://hooks.example.com/other", encoding="utf-8")
    assert run(tmp_path, HOOK).lines == ["~ alert channel hook", "    ~ address: has a new value"]
    written = yaml_text(document_of(organisation))
    assert "file:hook" in written and "hooks.example.com" not in written
    assert not AuditEvent.objects.filter(after__contains={"address": "https://hooks.example.com/s3cret"}).exists()
    channel_update(actor=APPLY, channel=AlertChannel.objects.get(), address="https://hooks.example.com/typed")
    assert AlertChannel.objects.get().address_source == "" and "address: kept" in yaml_text(document_of(organisation))
    assert refused(tmp_path, HOOK.replace("slack", "ntfy"))[0][0] == "alert_channels[0].kind"
    channel_create(actor=APPLY, organisation=organisation, name="own", kind="email", address="a@b.test", person=member(organisation))
    assert "own" not in yaml_text(document_of(organisation)), "what somebody set up for themselves is theirs"
    assert refused(tmp_path, "alert_channels: [{name: own, kind: email, emails: [c@d.test]}]")[0][0] == "alert_channels[0].name"


def test_rules_that_everybody_has_stay_that_and_an_slos_rule_is_its(organisation: Organisation, tmp_path: Path) -> None:
    run(tmp_path, "alert_rules: [{name: errors, title: Requests fail, series: error_rate, by: route, warn: 3%, enabled: false}]")
    row = AlertRule.objects.get(name="errors")
    assert (row.is_default, row.enabled, row.warn, row.critical) == (True, False, 0.03, None)
    assert AlertRule.objects.count() == 1, "the other default rules are not this document's"
    assert "switch it off instead" in str(refused(tmp_path, "alert_rules: [{name: errors, absent: true}]"))
    slo = "slos: [{name: well, title: Well, indicator: availability, objective: '99.9', labels: {layer: app}}]"
    run(tmp_path, slo)
    assert run(tmp_path, slo).lines == []
    assert "slo-well" not in yaml_text(document_of(organisation))
    assert "list that under slos" in str(refused(tmp_path, "alert_rules: [{name: slo-well, title: W, series: error_rate, warn: 1%}]"))

    def edit() -> AlertRule:
        return rule_update(actor=Actor.of_user(member(organisation)), rule=AlertRule.objects.get(name="slo-well"), enabled=False)

    with pytest.raises(ManagedByDocument) as held:
        Guard(edit, actor=APPLY, organisation=organisation)()
    (touched,) = held.value.touched
    assert (touched.thing.kind, touched.thing.name) == ("slo", "well") and "alerting: false" in touched.comparison.now
    run(tmp_path, "slos: [{name: well, absent: true}]")
    assert not Slo.objects.filter(deleted_at=None).exists() and AlertRule.objects.filter(deleted_at=None).count() == 1


def test_captures_and_views_are_made_changed_and_taken_out(organisation: Organisation, tmp_path: Path) -> None:
    both = f"""{ROUTE}
teams: [{{name: search}}]
captures: [{{route: chat, percent: 2.5%}}]
saved_views: [{{name: search/Errors, url: "/requests/?outcome=error"}}]
"""
    assert {"+ capture chat", "+ saved view search/Errors"} <= set(run(tmp_path, both).lines)
    rule, view = CaptureRule.objects.get(), SavedView.objects.get()
    assert (rule.percent, rule.days, view.owner, view.team) == (2.5, 7, None, Team.objects.get())
    assert run(tmp_path, both).lines == []
    CaptureRule.objects.update(percent=2.499)  # as fine as a person may type it; proxies know hundredths of a percent
    assert run(tmp_path, both).lines == [] and CaptureRule.objects.get().percent == 2.499
    changed = both.replace("2.5%", "5%").replace("outcome=error", "outcome=refused")
    assert "    ~ percent: 2.5% -> 5%" in run(tmp_path, changed).lines and SavedView.objects.get().query == "outcome=refused"

    ada = member(organisation, email="ada@example.test")
    given = {"actor": Actor.of_user(ada), "organisation": organisation, "owner": ada, "team": Team.objects.get()}
    saved_view_create(**given, name="Spend", path="/spend/")  # type: ignore[arg-type]
    written = yaml_text(document_of(organisation))
    assert "name: search/Spend" in written, "what a person shares with a team is the team's to export"
    path = tmp_path / "bulkhead.yaml"
    path.write_text(written, encoding="utf-8")
    assert apply_file(actor=APPLY, path=path, organisation="main").lines == [] and SavedView.objects.get(name="Spend").owner == ada
    run(tmp_path, "captures: [{route: chat, absent: true}]\nsaved_views: [{name: search/Errors, absent: true}]")
    assert CaptureRule.objects.get().ended_at is not None and SavedView.objects.get().name == "Spend"
    assert run(tmp_path, "captures: [{route: chat, absent: true}]").lines == []


def test_redactions_stand_beside_what_a_person_wrote(organisation: Organisation, tmp_path: Path) -> None:
    capture_patterns_set(actor=APPLY, organisation=organisation, patterns=[("ticket", "TCK-####")])
    one = "redactions: [{kind: employee, template: EMP-######}]"
    assert "+ redaction employee = EMP-######" in run(tmp_path, one).lines
    assert capture_patterns(organisation) == [("ticket", "TCK-####"), ("employee", "EMP-######")]
    assert run(tmp_path, one).lines == []
    run(tmp_path, "redactions: [{kind: employee, template: EMP-######, absent: true}]")
    assert capture_patterns(organisation) == [("ticket", "TCK-####")]


def test_what_is_exported_changes_nothing_with_every_rule_that_is_there_for_everybody(organisation: Organisation, tmp_path: Path) -> None:
    assert defaults_ensure(organisation) == len(SEEDS)
    assert run(tmp_path, yaml_text(document_of(organisation))).lines == []
    assert not AuditEvent.objects.filter(action="alert_rule.update").exists(), "each is said as it is kept, to the last field"
    assert AlertRule.objects.filter(is_default=True).count() == len(SEEDS)
