"""``manage.py flag``: list flags, show one, switch it on or off, make or change it; what changes is published at once."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import MAIN_ORGANISATION, Organisation
from apps.accounts.selectors import organisation_get
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.flags import selectors
from apps.flags.change_rules import moment_in
from apps.flags.changes import flip_submit
from apps.flags.consequences import Prediction
from apps.flags.foretelling import flip_foretell, flip_keep
from apps.flags.measuring import subject_names
from apps.flags.models import ChangeRequest, Flag
from apps.flags.templatetags.flags import budget_end, minutes_text, more_dollars, more_time, per_minute
from apps.publishing.errors import PublishError
from apps.publishing.managed_models import ManagedThing
from apps.publishing.services import publish
from apps.publishing.state import head_state
from apps.ui.format import dollars
from controlplane.configfile.document import FlagEntry
from controlplane.configfile.plain import plain
from controlplane.configfile.references import References
from controlplane.configfile.steps import Steps
from controlplane.configfile.writing import flag_entry

_FOR = re.compile(r"([1-9][0-9]{0,5})([mhd]?)")
_UNITS = {"": timedelta(minutes=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
MAX_FOR = timedelta(days=365)
_FIELDS = [field for field in msgspec.structs.fields(FlagEntry) if field.name not in ("name", "absent", "on", "until", "reason", "rules")]


class Command(BaseCommand):
    help = "List, show, switch and change flags. Every proxy has a flip within a second; without Postgres, see `manage.py override`."

    def add_arguments(self, parser: CommandParser) -> None:
        words = parser.add_subparsers(dest="word", required=True, metavar="list|show|on|off|set")

        def word(name: str, text: str, *, named: bool = True, reason: bool = False) -> Any:
            found = words.add_parser(name, help=text, description=text)
            if named:
                found.add_argument("name", help="the flag's name")
            if reason:
                found.add_argument("--reason", required=True, help="shown while the flag is on, and kept in the audit")
            found.add_argument("--organisation", default=MAIN_ORGANISATION, help="slug of the flag's organisation (default: main)")
            return found

        listed = word("list", "Every flag, and how it stands.", named=False)
        listed.add_argument("--on", action="store_true", help="only those that are on")
        word("show", "One flag as the document writes it.")
        on = word("on", "Switch a flag on in every proxy.", reason=True)
        on.add_argument("--for", dest="lasting", help="it turns itself off after so long: 30m, 2h, 1d (default: when somebody does)")
        on.add_argument("--share", type=int, default=100, help="a drill: only for so many percent of its requests")
        on.add_argument("--simulated", action="store_true", help="a drill: only on routes whose targets are all simulated")
        on.add_argument("--acknowledge", action="store_true", help="even if it leaves a route without a target")
        off = word("off", "Switch a flag off in every proxy.", reason=True)
        for flip in (on, off):
            flip.add_argument("--preview", action="store_true", help="print what it would do, measured over the last hour, and do nothing")
            flip.add_argument("--at", help="not now but then, such as 2027-01-31T09:00; a worker does it")
            flip.add_argument("--zone", default="UTC", help="in which time zone that is, such as Europe/Berlin (default: UTC)")
            flip.add_argument("--break-glass", action="store_true", help="do alone what takes two; it is reviewed afterwards")
        made = word("set", "Make a flag, or change what is given; how it stands stays as it is.", reason=True)
        for field in _FIELDS:
            if field.name != "acknowledge" and field.name not in ("share", "simulated_only"):
                made.add_argument(f"--{field.name.replace('_', '-')}", help=f"as `{field.name}` in docs/config.md")
        made.add_argument("--rules", help="a JSON file with its rules, - for standard input, '{}' for none")

    def handle(self, *args: Any, **options: Any) -> None:
        organisation = organisation_get(slug=options["organisation"])
        if organisation is None:
            raise CommandError(f"there is no organisation {options['organisation']!r}: name another one with --organisation")
        word = options["word"]
        if word == "list":
            self._list(organisation, on=options["on"])
            return
        if word == "show":
            self._show(organisation, options["name"])
            return
        if options.get("preview"):
            flag = self._flag(organisation, options["name"])
            for line in prediction_lines(self._foretold(flag, options), flag):
                self.stdout.write(line)
            self.stdout.write("Nothing was done.")
            return
        try:
            with transaction.atomic():
                if word == "set":
                    told = self._set(organisation, options)
                    version = publish(actor=Actor.command("flag"), reason=options["reason"])
                else:
                    flag = self._flag(organisation, options["name"])
                    foretold = self._foretold(flag, options)
                    told, result = self._flip(organisation, options)
                    version = publish(actor=Actor.command("flag"), reason=options["reason"])
                    flip_keep(actor=Actor.command("flag"), result=result, prediction=foretold, version=version)
        except (ServiceError, PublishError) as error:
            raise CommandError(error.message) from error
        published = f", from v{version.number} on" if version else "" if told.endswith((WAITS, SCHEDULED)) else "; it was so already"
        self.stdout.write(f"{told}{published}.")
        if word != "set":
            self._say_managed(organisation, flag)

    def _list(self, organisation: Organisation, *, on: bool) -> None:
        now = timezone.now()
        flags = list(selectors.flags_on(organisation) if on else selectors.flags_of(organisation))
        names = subject_names(flags, head_state())
        for flag in flags:
            subject = _subject(flag, names.get(flag.subject_id, flag.subject_id))
            self.stdout.write(f"{flag.name}: {flag.kind} {subject}: {_standing(flag, now)}")
        if not flags:
            self.stdout.write("No flag is on." if on else "There are no flags: make one with `manage.py flag set`, or in the document.")

    def _show(self, organisation: Organisation, name: str) -> None:
        flag = self._flag(organisation, name)
        for key, value in plain(flag_entry(flag)).items():
            self.stdout.write(f"{key}: {json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value}")
        self.stdout.write(f"now: {_standing(flag, timezone.now())}")

    def _foretold(self, flag: Flag, options: dict[str, Any]) -> Prediction:
        on = options["word"] == "on"
        share, alone = (options["share"], options["simulated"]) if on else (100, False)
        return flip_foretell(flag, on=on, share=share, simulated_only=alone)

    def _flip(self, organisation: Organisation, options: dict[str, Any]) -> tuple[str, Flag | ChangeRequest]:
        """What to say, and what came of it."""
        on = options["word"] == "on"
        at = _moment(options["at"], options["zone"]) if options["at"] else None
        until = (at or timezone.now()) + lasting_read(options["lasting"]) if on and options["lasting"] else None
        done = flip_submit(
            actor=Actor.command("flag"),
            organisation=organisation,
            name=options["name"],
            on=on,
            reason=options["reason"],
            until=until,
            share=options["share"] if on else 100,
            simulated_only=bool(on and options["simulated"]),
            acknowledge=bool(on and options["acknowledge"]),
            break_glass=options["break_glass"],
            at=at,
            zone=options["zone"],
        )
        if isinstance(done, ChangeRequest) and done.state == "scheduled":
            return f"The flag {options['name']} goes {options['word']} at {at:%Y-%m-%d %H:%M} UTC{SCHEDULED}", done
        if isinstance(done, ChangeRequest) and done.state != "applied":
            return f"The flag {options['name']} is as it was: {done.rule or 'this takes two'}. {WAITS}", done
        ends = f" until {until:%Y-%m-%d %H:%M:%S} UTC" if until else ""
        drill = f" for {options['share']} percent of its requests" if on and options["share"] < 100 else ""
        return f"The flag {options['name']} is {options['word']}{drill}{ends}", done

    def _set(self, organisation: Organisation, options: dict[str, Any]) -> str:
        flag = selectors.flag_get(organisation, options["name"])
        values: dict[str, Any] = {"name": options["name"], "reason": options["reason"]}
        if flag is not None:
            entry = flag_entry(flag)
            values |= {field.name: getattr(entry, field.name) for field in msgspec.structs.fields(FlagEntry)}
            values |= {"reason": options["reason"], "on": flag.on}
        given = {field.name: options[field.name] for field in _FIELDS if options.get(field.name) is not None}
        if options["rules"] is not None:
            given["rules"] = _rules(options["rules"])
        if any(subject in given for subject in SUBJECTS):
            values |= dict.fromkeys(SUBJECTS, "")
        try:
            entry = msgspec.convert({**values, **given}, FlagEntry, strict=False)
        except msgspec.ValidationError as error:
            raise ServiceError(f"{error}; see `flags` in docs/config.md") from None
        if entry.expires is not None and entry.expires.tzinfo is None:
            raise ServiceError("--expires needs a time zone, such as 2027-01-31T00:00:00Z", "expires")
        steps = Steps(actor=Actor.command("flag"), references=References(Path.cwd()), reason=options["reason"])
        steps.flag(organisation, entry, "flag")
        return f"The flag {entry.name} is set"

    def _say_managed(self, organisation: Organisation, flag: Flag) -> None:
        """What the next apply of the document that manages the flag makes of the flip."""
        stands = Flag.objects.get(pk=flag.pk).on
        for mark in ManagedThing.objects.filter(organisation=organisation, kind="flag", object_id=str(flag.pk)):
            if mark.said.get("on") not in (None, stands):
                says = "off" if stands else "on"
                self.stdout.write(f"{mark.document} says {says}: its next apply turns the flag {says} again, unless that is changed there.")

    def _flag(self, organisation: Organisation, name: str) -> Flag:
        flag = selectors.flag_get(organisation, name)
        if flag is None:
            raise CommandError(f"there is no flag {name!r}: `manage.py flag list` names them")
        return flag


WAITS = "Somebody else approves it on the page of changes, or do it alone with --break-glass"
SCHEDULED = ", scheduled: a worker does it"
SUBJECTS = ("route", "provider", "key", "model", "feature", "team", "region")


def prediction_lines(found: Prediction, flag: Flag) -> list[str]:
    """What a flip would do, in the words of its dialog."""
    lines = []
    for one in found.gaining:
        state = f" (breaker {one.state})" if one.state else ""
        lines.append(f"{per_minute(one.gained)} requests/min more to {one.target}{state}")
    if found.refused_per_minute > 0:
        what = "would call no provider" if flag.kind == "degrade" else "would be refused: nothing is left to answer them"
        lines.append(f"{per_minute(found.refused_per_minute)} requests/min {what}")
    elif found.refused_per_minute < 0:
        lines.append(f"{per_minute(found.refused_per_minute)} requests/min would be answered again")
    elif not found.gaining and found.requests:
        lines.append("no request moves")
    if found.requests:
        now = f"{dollars(found.cost_now)}/hour"
        more = "not enough data" if found.cost_more is None else f"{more_dollars(found.cost_more)}/hour" if found.cost_more else "stays"
        lines.append(f"cost: {more}, now {now}")
        lines += [f"budget {change.name} {budget_end(change)}" for change in found.budgets]
        lines.append(f"p95 to the first token: {'not enough data' if found.ttft_more is None else more_time(found.ttft_more)}")
    lines += found.gaps
    if found.requests:
        lines.append(f"measured over the last {minutes_text(found.minutes)}: {found.requests:,} requests")
    return lines


def lasting_read(text: str) -> timedelta:
    """``30m``, ``2h``, ``1d``; a bare number is minutes. Raises CommandError."""
    found = _FOR.fullmatch(text.strip())
    lasting = int(found.group(1)) * _UNITS[found.group(2)] if found else None
    if lasting is None or lasting > MAX_FOR:
        raise CommandError(f"--for {text!r} is no time: write 30m, 2h or 1d, at most 365d")
    return lasting


def _moment(text: str, zone: str) -> datetime:
    """A wall clock's time in a zone. Raises ServiceError, also for a time that the zone skips."""
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        raise ServiceError(f"--at {text!r} is no time: write a day and a time, such as 2027-01-31T09:00") from None
    return local if local.tzinfo is not None else moment_in(local, zone)


def _rules(where: str) -> Any:
    try:
        text = where if where.lstrip().startswith("{") else sys.stdin.read() if where == "-" else Path(where).read_text(encoding="utf-8")
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise ServiceError(f"--rules {where!r} cannot be read as JSON: {error}", "rules") from None
    return found


def _subject(flag: Flag, name: str) -> str:
    level = f" to {flag.level}" if flag.kind == "degrade" else ""
    return f"of the {flag.subject_kind}{'' if flag.subject_kind == 'organisation' else ' ' + name}{level}"


def _standing(flag: Flag, now: datetime) -> str:
    """In words: on or off, since what, until when, and what is odd about it."""
    words = ["off"]
    if flag.in_force(now):
        words = [f"on ({flag.reason})" if flag.reason else "on"]
        words += [f"until {flag.until:%Y-%m-%d %H:%M:%S} UTC"] if flag.until else []
        words += [f"for {flag.share} percent"] if flag.share < 100 else []
        words += ["simulated routes only"] if flag.simulated_only else []
    words += ["stale: not exercised for long"] if flag.stale(now) else []
    words += [f"expired on {flag.expires_at:%Y-%m-%d}"] if flag.expired(now) and flag.expires_at else []
    return ", ".join(words)
