"""What tests of telling share: an alert that changes as evaluation would change it, people who are on call, and real receivers."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from apps.accounts.models import Organisation, User
from apps.alerts.events import event_add
from apps.alerts.models import Alert, AlertRule
from apps.audit.actors import Actor
from apps.ownership.models import Team
from apps.ownership.rotation_services import rotation_set
from tests.people import member

COMMAND = Actor.command("test")
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
"""A Wednesday."""


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def rule_of(organisation: Organisation, name: str = "errors", **more: Any) -> AlertRule:
    facts = {"title": "Chat fails", "series": "error_rate", "scope": {"by": "route"}, "warn": 0.01, "critical": 0.05, **more}
    return AlertRule.objects.create(organisation=organisation, name=name, **facts)


def fired(rule: AlertRule, subject: str = "chat", *, severity: str = "critical", at: datetime = NOON, **more: Any) -> Alert:
    """An alert that fires, handed over as evaluation does."""
    alert = Alert.objects.create(
        organisation=rule.organisation, rule=rule, by=rule.by, subject=subject, fingerprint=f"{rule.pk.hex[-16:]}{subject}"[:32],
        state="firing", severity=severity, value=0.08, threshold=0.05, started_at=at, fired_at=at, judged_at=at,
        **{"group_key": f"{rule.name}:{rule.by}", **more},
    )  # fmt: skip
    event_add(alert, "fired", at=at, muted=False)
    return alert


def over(alert: Alert, *, at: datetime, muted: bool = False) -> None:
    """Its end."""
    alert.state, alert.resolved_at = "resolved", at
    alert.save()
    event_add(alert, "resolved", at=at, muted=muted)


def on_call(organisation: Organisation, *people: User, team: Team | None = None, name: str = "weekly", **more: Any) -> Any:
    """A rotation on which the first of these is on at ``NOON``, the second the week after."""
    return rotation_set(
        actor=COMMAND,
        organisation=organisation,
        name=name,
        team=team,
        members=people,
        weekday=0,
        minute=0,
        starts_on=date(2026, 3, 2),
        **more,
    )


def person(organisation: Organisation, name: str, role: str = "on-call") -> User:
    user = member(organisation, role, email=f"{name}@example.test")
    user.name = name.capitalize()
    user.save()
    return user


class Receiver:
    """An HTTP server on 127.0.0.1 that keeps what it is sent. answers: what it says to one request after the other, then 200. open: while
    it is cleared, nothing is answered."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                outer.open.wait(timeout=120)
                status, headers = outer.answers.pop(0) if outer.answers else (200, {})
                if not status:  # it breaks off
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {**headers, "content-length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.got]

    @contextmanager
    def running(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join(timeout=60)


class PostOffice(socketserver.ThreadingTCPServer):
    """A mail server on 127.0.0.1 that keeps what it is given: (recipient, message). refuse: what it says to every recipient instead."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.refuse = b""
        super().__init__(("127.0.0.1", 0), _Conversation)

    @contextmanager
    def running(self) -> Iterator[PostOffice]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join(timeout=60)


class _Conversation(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        office: Any = self.server
        to = ""
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"RCPT":
                to = line.decode().partition("<")[2].partition(">")[0]
                self.wfile.write(office.refuse + b"\r\n" if office.refuse else b"250 ok\r\n")
            elif verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b""
                while (part := self.rfile.readline()) not in (b".\r\n", b""):
                    text += part
                office.got.append((to, text.decode()))
                self.wfile.write(b"250 taken\r\n")
            elif verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")
