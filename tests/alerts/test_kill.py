"""SIGKILL in the middle of handing messages over: what its receiver tells apart is sent once again under its id, the rest is not lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import connection
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.alerts import channel_choices as choices
from apps.alerts.channel_checks import StepWords
from apps.alerts.channel_models import Delivery, Notification
from apps.alerts.channel_services import channel_create
from apps.alerts.deliveries import CLAIM, deliveries_due, deliveries_recover, delivery_send
from apps.alerts.escalation import notifications_run
from apps.alerts.policy_services import policy_set
from tests.alerts.telling import COMMAND, Receiver, fired, rule_of

pytestmark = [pytest.mark.slow, pytest.mark.kill]
ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 120.0
WORKER = """
import os, sys, threading, django
from django.conf import settings
from controlplane import env
settings.DATABASES["default"] = env.django_database(os.environ["OF_THE_TEST"])
django.setup()
from apps.alerts.tasks import delivery_send
tasks = [threading.Thread(target=delivery_send, args=(one,)) for one in sys.argv[1:]]
for task in tasks: task.start()
for task in tasks: task.join()
"""
"""A worker process with a task for each delivery."""


def until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def database() -> str:
    """This worker's database, as another process is told of it."""
    of = connection.settings_dict
    return f"postgresql://{of['USER']}:{quote(str(of['PASSWORD']), safe='')}@/{of['NAME']}?host={of['HOST']}&port={of['PORT']}"


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing_that_cannot_be_told_apart(organisation: Organisation) -> None:
    with Receiver().running() as server:
        for kind in ("webhook", "slack"):
            address = f"{server.url}/{kind}"
            channel_create(actor=COMMAND, organisation=organisation, name=kind, kind=kind, address=address, allow_private=True)
        steps = [StepWords(0, "channel", "slack"), StepWords(0, "channel", "webhook"), StepWords(30, "leads")]
        policy_set(actor=COMMAND, organisation=organisation, name="all", steps=steps)
        fired(rule_of(organisation), at=timezone.now())
        now = timezone.now() + timedelta(minutes=1)
        assert notifications_run(now) == 1
        due = deliveries_due(now)
        assert len(due) == 2

        server.open.clear()
        environ = {**os.environ, "OF_THE_TEST": database(), "DJANGO_SETTINGS_MODULE": "controlplane.settings.test"}
        worker = subprocess.Popen([sys.executable, "-c", WORKER, *map(str, due)], cwd=ROOT, env=environ)
        try:
            until(lambda: len(server.got) == 2 or worker.poll() is not None, "the worker hands nothing over")
            assert worker.poll() is None, "it waits for both answers"
        finally:
            worker.kill()
            worker.wait(timeout=DEADLINE_SECONDS)
        server.open.set()

        assert set(Delivery.objects.values_list("state", "tries")) == {(choices.SENDING, 1)}
        claimed = max(row.claimed_at for row in Delivery.objects.all() if row.claimed_at is not None)
        before, later = claimed + CLAIM / 2, claimed + CLAIM + timedelta(seconds=1)
        assert deliveries_due(before) == [] and deliveries_recover(before) == 0, "nobody else takes what may still be under way"
        assert deliveries_recover(later) == 2
        hook, slack = (Delivery.objects.get(kind=kind) for kind in ("webhook", "slack"))
        assert (hook.state, slack.state) == (choices.WAITING, choices.UNKNOWN)
        assert Notification.objects.get().next_at == later, "whether anybody was reached is looked at anew"

        again = deliveries_due(later)
        assert again == [hook.pk] and delivery_send(hook.pk, now=later) == choices.SENT
        assert [path for path, _, _ in server.got].count("/slack") == 1, "a receiver that cannot tell is not told twice"
        first, second = ((headers, json.loads(body)) for path, headers, body in server.got if path == "/webhook")
        assert first[0]["webhook-id"] == second[0]["webhook-id"] == first[1]["id"] == second[1]["id"] == str(hook.pk)
        assert first[1] == second[1], "the same message, word for word"
        hook.refresh_from_db()
        assert (hook.state, hook.tries) == (choices.SENT, 2)
        assert deliveries_recover(later + CLAIM) == 0 and hook.pk not in deliveries_due(later + CLAIM)
