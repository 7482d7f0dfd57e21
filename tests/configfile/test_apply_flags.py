"""Flags in the document: every kind, rules as they are written, and back out again as they went in."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.flags.models import Flag
from apps.flags.services import flag_flip

DOCUMENT = """\
teams:
  - name: search
flags:
  - name: checked
    kind: kill
    feature: search
    rules:
      dependencies: [{feature: everything, enabled: false}]
      segments: [{id: 1, constraints: [{contextName: version, operator: SEMVER_LT, value: "2.0.0", inverted: true}]}]
      strategies:
        - name: flexibleRollout
          parameters: {rollout: 12.5, stickiness: userId, groupId: search}
          segments: [1]
          constraints: [{contextName: team, operator: IN, values: [search, "7"]}]
  - name: everything
    kind: degrade
    level: limited
    "on": true
    reason: a drill
    share: 5
    simulated_only: true
  - {name: theirs, kind: degrade, team: search, level: cached, runbook: "https://example.org/x", default: "on"}
  - {name: model, kind: kill, model: gpt-x, acknowledge: true, stale_after_days: 0, expires: 2031-01-01T00:00:00Z}
  - {name: where, kind: degrade, region: eu, level: minimal}
  - name: new-look
    kind: release
    default: plain
    rules:
      variants: [{name: plain, weight: 1}, {name: fancy, weight: 999, payload: {type: json, value: "{}"}}]
"""


def run(command: str, *words: str) -> str:
    said = StringIO()
    call_command(command, *words, stdout=said)
    return said.getvalue()


def test_flags_go_in_and_come_out_the_same(organisation: Organisation, tmp_path: Path) -> None:
    path = tmp_path / "bulkhead.yaml"
    path.write_text(DOCUMENT)
    assert "published v1" in run("apply", "-f", str(path))
    rules = Flag.objects.get(name="checked").rules
    assert rules["strategies"][0]["parameters"] == {"rollout": "12.5", "stickiness": "userId", "groupId": "search"}
    assert rules["segments"][0]["constraints"][0]["inverted"] is True and rules["strategies"][0]["segments"] == [1]
    about = {flag.name: (flag.subject_kind, flag.subject_id, flag.level) for flag in Flag.objects.all()}
    assert about["theirs"] == ("team", "search", "cached") and about["where"] == ("region", "eu", "minimal")
    assert about["everything"] == (*about["new-look"][:2], "limited") == ("organisation", str(organisation.pk), "limited")
    path.write_text(run("export"))
    assert run("apply", "-f", str(path)) == "nothing changes\n"


def test_what_a_document_does_not_say_of_a_flag_stays_as_people_left_it(organisation: Organisation, actor: Actor, tmp_path: Path) -> None:
    path = tmp_path / "bulkhead.yaml"
    path.write_text("flags: [{name: slow, kind: degrade, level: limited}]\n")
    run("apply", "-f", str(path))
    assert not Flag.objects.get(name="slow").on
    flag_flip(actor=actor, organisation=organisation, name="slow", on=True, reason="at three in the morning", share=40)
    path.write_text("flags: [{name: slow, kind: degrade, level: minimal, purpose: Less of everything.}]\n")
    run("apply", "-f", str(path))
    flag = Flag.objects.get(name="slow")
    assert (flag.on, flag.reason, flag.share) == (True, "at three in the morning", 40)
    assert (flag.level, flag.purpose) == ("minimal", "Less of everything.")
    path.write_text("flags: [{name: slow, kind: degrade, level: minimal, 'on': false}]\n")
    run("apply", "-f", str(path))
    assert not Flag.objects.get(name="slow").on


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("{name: f, kind: kill, rules: [default]}", "takes fields"),
        ("{name: f, kind: kill, feature: x, rules: {strategies: [{name: soon}]}}", "'soon' is unknown"),
        ("{name: f, kind: kill, feature: x, rules: {strategies: [{name: }]}}", "has no value"),
        ("{name: f, kind: degrade, team: nobody, level: limited}", "no team 'nobody'"),
        ("{name: f, kind: degrade, region: eu}", "how far"),
        ("{name: f, kind: release, feature: x}", "is about 'organisation'"),
        ("{name: f, kind: kill, feature: x, share: 101}", "0 to 100"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(organisation: Organisation, tmp_path: Path, flag: str, said: str) -> None:
    path = tmp_path / "bulkhead.yaml"
    path.write_text(f"flags:\n  - {flag}\n")
    with pytest.raises(CommandError, match=said) as caught:
        run("apply", "-f", str(path))
    assert "bulkhead.yaml:2" in str(caught.value) and not Flag.objects.exists()
