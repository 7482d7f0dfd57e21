"""Writing a minute down: alerts begin, fire, worsen and end, and each that happens is an event. In the minute's transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from apps.alerts import choices
from apps.alerts.budget_days import group_of
from apps.alerts.events import event_add
from apps.alerts.judging import MISSING, Judged, looks_elsewhere
from apps.alerts.models import Alert, AlertRule
from apps.alerts.rules import FLAP_S, UNMEASURED, Before, Episode, Telling, Terms, step, telling
from apps.alerts.series import SERIES, Source
from apps.alerts.silencing import Explaining, silenced_until, silences_at
from apps.alerts.sources.look import Look

_MACHINE = ("state", "severity", "started_at", "fired_at", "clear_since", "eased_since", "no_data_since", "resolved_at", "flaps")


@dataclass(slots=True)
class _Move:
    """One alert, what it became and what happened; ``note`` says why where the reason is not a figure."""

    alert: Alert
    happened: tuple[str, ...]
    quiet_before: str
    new: bool = False
    note: str = ""


def minute_apply(
    look: Look, rules: Sequence[AlertRule], open_ones: Sequence[Alert], judged: Mapping[str, Judged], *, unread: Collection[Source] = ()
) -> list[Alert]:
    """Move every alert by what was judged; those that were looked at. open_ones: all that are open, locked. unread: sources that could
    not be read, whose alerts stay as they are."""
    by_fingerprint = {alert.fingerprint: alert for alert in open_ones}
    begun = [one for print_, one in judged.items() if print_ not in by_fingerprint and one.judgement.measured and one.judgement.level]
    before = _before(look, [one.fingerprint for one in begun])
    moves = [move for one in begun if (move := _begin(look, one, before.get(one.fingerprint))) is not None]
    living = {rule.pk: rule for rule in rules}
    moves += [move for alert in open_ones if (move := _move(look, alert, living, judged, unread)) is not None]
    explaining = Explaining([*open_ones, *(move.alert for move in moves if move.new)], look.at)
    silences = silences_at(look.organisation.pk, look.at)
    # what explains others is written first, because others refer to it
    for move in sorted(moves, key=lambda move: explaining.of(move.alert) is not None):
        _write(look, move, explaining, silenced_until(silences, move.alert))
    return [move.alert for move in moves]


def _before(look: Look, fingerprints: Sequence[str]) -> dict[str, Before]:
    """The episodes that fired and ended lately, the last of each fingerprint."""
    if not fingerprints:
        return {}
    rows = Alert.objects.filter(
        fingerprint__in=fingerprints,
        state=choices.RESOLVED,
        fired_at__isnull=False,
        resolved_at__gte=look.at - timedelta(seconds=FLAP_S),
    )
    return {row.fingerprint: Before(row.resolved_at, row.flaps) for row in rows.order_by("resolved_at") if row.resolved_at is not None}


def _begin(look: Look, one: Judged, before: Before | None) -> _Move | None:
    episode, happened = step(None, one.judgement, look.at, one.terms, before=before)
    if episode is None:
        return None
    alert = Alert(
        organisation=look.organisation,
        rule=one.rule,
        fingerprint=one.fingerprint,
        by=one.rule.by,
        subject=one.subject[:300],
        group_key=group_of(one.rule, one.evidence),
        judged_at=look.at,
    )
    _told_by_machine(alert, episode)
    _measured(alert, one, look)
    return _Move(alert, happened, "", new=True)


def _move(
    look: Look, alert: Alert, living: Mapping[UUID, AlertRule], judged: Mapping[str, Judged], unread: Collection[Source]
) -> _Move | None:
    quiet = _quiet_before(alert)
    rule = living.get(alert.rule_id)
    if rule is None or looks_elsewhere(rule, alert.by, alert.subject) or (MISSING in alert.evidence and rule.on_missing != "alert"):
        over = "resolved" if alert.fired_at is not None else "cleared"
        alert.state, alert.resolved_at = choices.RESOLVED, look.at
        return _Move(alert, (over,), quiet, note="its rule was changed, switched off or deleted")
    if SERIES[rule.series].source in unread:
        return None
    one = judged.get(alert.fingerprint)
    terms = one.terms if one is not None else Terms(rule.for_s, rule.hold_s)
    episode, happened = step(_episode(alert), one.judgement if one is not None else UNMEASURED, look.at, terms)
    assert episode is not None  # an episode that there is ends as one that is over
    _told_by_machine(alert, episode)
    if one is not None and one.judgement.measured:
        _measured(alert, one, look)
    note = ""
    if episode.state == choices.RESOLVED and episode.no_data_since is not None:
        note = "nothing was measured of it for an hour: nobody knows how it is"
    return _Move(alert, happened, quiet, note=note)


def _write(look: Look, move: _Move, explaining: Explaining, until: Any) -> None:
    alert = move.alert
    alert.judged_at = look.at
    alert.silenced_until = until
    alert.inhibited_by = explaining.of(alert)
    quiet = "silenced" if until is not None else "inhibited" if alert.inhibited_by is not None else ""
    fired = alert.state in choices.FIRED
    found, events = telling(Telling(alert.told, move.quiet_before), move.happened, quiet=quiet, fired=fired)
    alert.told = found.told
    alert.save(force_insert=move.new)
    for kind, muted in events:
        event_add(alert, kind, at=look.at, muted=muted, note=move.note or _because(alert, kind))


def _because(alert: Alert, kind: str) -> str:
    if kind == "inhibited" and alert.inhibited_by is not None:
        return f"{alert.inhibited_by.rule.title}: {alert.inhibited_by.subject}"
    return ""


def _measured(alert: Alert, one: Judged, look: Look) -> None:
    """What the last judgement rests on, beside the worst of the episode so far."""
    judgement = one.judgement
    alert.value, alert.threshold = judgement.value, judgement.threshold
    worst = alert.evidence.get("worst")
    sharper = judgement.value is not None and (
        worst is None or (judgement.value < worst["value"] if one.rule.comparison == choices.BELOW else judgement.value > worst["value"])
    )
    alert.evidence = {**one.evidence, "worst": {"value": judgement.value, "at": look.at.isoformat()} if sharper else worst}


def _quiet_before(alert: Alert) -> str:
    if alert.silenced_until is not None:
        return "silenced"
    if alert.inhibited_by_id is not None:
        return "inhibited"
    return ""


def _episode(alert: Alert) -> Episode:
    return Episode(**{name: getattr(alert, name) for name in _MACHINE})


def _told_by_machine(alert: Alert, episode: Episode) -> None:
    for name in _MACHINE:
        setattr(alert, name, getattr(episode, name))
