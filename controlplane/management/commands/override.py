"""``manage.py override``: switch a fallback, a kill or a degradation in this host's proxies, without Postgres and without the web process.

It asks each proxy of this host through its admin port, which each names in ``DATA_DIR/proxy/<name>/admin.json``. Once the control plane
is back it hears of the override from the proxies and writes it into the audit.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.contracts.identifiers import uuid7
from apps.contracts.overrides import MAX_MS, TOKEN_HEADER

ADMIN_FILES = "*/admin.json"
SECONDS = 5.0
"""How long a proxy may take to answer: it is on this very host."""
_FOR = re.compile(r"([1-9][0-9]{0,4})([smh]?)")
_UNITS = {"s": 1_000, "": 60_000, "m": 60_000, "h": 3_600_000}
SUBJECTS = {
    "fallback": ("route",),
    "kill": ("provider", "model", "route", "key", "feature"),
    "degrade": ("organisation", "region", "route", "team"),
}


class Command(BaseCommand):
    help = "Switch flags in the proxies of this host while the control plane is away. With Postgres up, use `manage.py flag`."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        words = parser.add_subparsers(dest="word", required=True, metavar="list|on|off|fallback|kill|degrade|end")

        def word(name: str, text: str) -> Any:
            found = words.add_parser(name, help=text, description=text)
            found.add_argument(
                "--admin", action="append", default=[], metavar="FILE", help="a proxy's admin.json (default: all of this host)"
            )
            return found

        def switch(name: str, text: str) -> Any:
            found = word(name, text)
            found.add_argument("--reason", required=True, help="told to everybody afterwards, and kept in the audit")
            found.add_argument("--for", dest="lasting", required=True, help="it ends by itself after so long: 90s, 30m, 2h; at most 24h")
            found.add_argument("--organisation", default="", help="id of the organisation, where the name alone is not enough")
            return found

        word("list", "What this host's proxies have in force.")
        for state in ("on", "off"):
            switch(state, f"Switch a flag {state}.").add_argument("name", help="the flag's name")
        switch("fallback", "Send a route down its fallback chain.").add_argument("name", help="the route's name")
        for kind in ("kill", "degrade"):
            found = switch(kind, "Stop something." if kind == "kill" else "Have requests make do with less.")
            found.add_argument("subject", choices=SUBJECTS[kind])
            found.add_argument("name", nargs="?" if kind == "degrade" else None, default="", help="its name; none for an organisation")
            if kind == "degrade":
                found.add_argument("--level", choices=("limited", "cached", "minimal"), default="limited")
        word("end", "Take an override back.").add_argument("id", help="as `list` shows it")

    def handle(self, *args: Any, **options: Any) -> None:
        word = options["word"]
        proxies = _proxies([Path(path) for path in options["admin"]])
        if word == "list":
            answers = [(proxy, _call(proxy, "GET", "/overrides")) for proxy in proxies]
            self._list(answers)
            return
        if word == "end":
            answers = [(proxy, _call(proxy, "DELETE", f"/overrides/{quote(options['id'], safe='')}")) for proxy in proxies]
        else:
            body = json.dumps(_ask(word, options)).encode()
            answers = [(proxy, _call(proxy, "POST", "/overrides", body)) for proxy in proxies]
        taken = 0
        for proxy, (told, problem) in answers:
            taken += not problem
            said = problem or f"{'ended' if word == 'end' else 'in force'}: {_words(told)}"
            self.stdout.write(f"{proxy['name']}: {said}")
        if not taken:
            raise CommandError("no proxy of this host took it: nothing has changed")
        if taken < len(answers):
            raise CommandError(
                f"{taken} of {len(answers)} proxies took it; the others find it when they start, where they share this data directory"
            )
        self.stdout.write(f"{taken} of {taken} proxies of this host. The audit hears of it when the control plane is back.")

    def _list(self, answers: list[tuple[dict[str, str], tuple[Any, str]]]) -> None:
        for proxy, (told, problem) in answers:
            if problem:
                self.stdout.write(f"{proxy['name']}: {problem}")
                continue
            now = time.time() * 1000
            in_force = [one for one in told["overrides"] if "ended_ms" not in one and one["until_ms"] > now]
            self.stdout.write(f"{proxy['name']}: {len(in_force)} in force")
            for one in in_force:
                left = max(0, round((one["until_ms"] - now) / 60_000))
                self.stdout.write(f"  {one['id']}  {_words(one)}  {left} min left  by {one['by']}: {one['reason']}")


def _proxies(files: list[Path]) -> list[dict[str, str]]:
    """Those that said where they are. Raises CommandError where there is none."""
    folder = Path(settings.DATA_DIR) / "proxy"
    found = []
    for path in files or sorted(folder.glob(ADMIN_FILES)):
        try:
            told = json.loads(path.read_bytes())
            found.append({name: str(told[name]) for name in ("name", "admin_url", "token")})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CommandError(
                f"{path} cannot be used ({error}): run this as the user that runs the proxies, or name files with --admin"
            ) from None
    if not found:
        raise CommandError(f"no proxy has announced itself under {folder}: run this on a proxy's host, with its --data-dir")
    return found


def _ask(word: str, options: dict[str, Any]) -> dict[str, Any]:
    found = _FOR.fullmatch(options["lasting"].strip())
    lasting = int(found.group(1)) * _UNITS[found.group(2)] if found else 0
    if not 0 < lasting <= MAX_MS:
        raise CommandError(f"--for {options['lasting']!r} is no time: write 90s, 30m or 2h, at most 24h")
    asked: dict[str, Any] = {
        "id": str(uuid7()),
        "by": os.environ.get("SUDO_USER") or getpass.getuser(),
        "reason": options["reason"],
        "until_ms": time.time_ns() // 1_000_000 + lasting - 1,
        "organisation": options["organisation"],
    }
    if word in ("on", "off"):
        return asked | {"flag": options["name"], "on": word == "on"}
    subject = options.get("subject") or "route"
    if not options["name"] and subject != "organisation":
        raise CommandError(f"name the {subject}")
    return asked | {"kind": word, "subject": subject, "name": options["name"], "level": options.get("level") or "full"}


def _call(proxy: dict[str, str], method: str, path: str, body: bytes | None = None) -> tuple[Any, str]:
    """(what it answered, why not)."""
    headers = {TOKEN_HEADER: proxy["token"], "content-type": "application/json"}
    try:
        with httpx.Client(trust_env=False, timeout=SECONDS) as client:
            answer = client.request(method, proxy["admin_url"] + path, content=body, headers=headers)
        told = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        return None, f"does not answer at {proxy['admin_url']} ({type(error).__name__})"
    return (told, "") if answer.status_code == 200 else (None, str(told.get("error", answer.status_code)))


def _words(told: dict[str, Any]) -> str:
    if told.get("flag"):
        return f"flag {told['flag']} {'on' if told.get('on', True) else 'off'}"
    level = f" to {told['level']}" if told.get("level", "full") != "full" else ""
    return f"{told['kind']} {told['subject']} {told['subject_name']}{level}"
