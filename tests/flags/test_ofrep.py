"""Flags for apps over HTTP, exactly by the protocol's text, and with the stock OpenFeature client where it is installed.

The client is no dependency: ``pip install --target var/openfeature openfeature-sdk openfeature-provider-ofrep``, or name its folder in
``BULKHEAD_OPENFEATURE``; without it its test is skipped and says so.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import OperationalError, close_old_connections
from django.utils import timezone as clock

from apps.accounts.api.throttling import Rate
from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.flags import ofrep_views
from apps.flags.models import Flag, FlagExposure
from apps.flags.ofrep_store import exposures_add, flags_published
from apps.flags.services import flag_flip, flag_set
from apps.keys.models import KeyDigest, VirtualKey
from apps.keys.services import key_create, key_disable, key_revoke, key_update
from apps.publishing.services import publish

pytestmark = pytest.mark.django_db
CLIENT = Path(os.environ.get("BULKHEAD_OPENFEATURE") or Path(__file__).parents[2] / "var" / "openfeature")
ONE, ALL = "/ofrep/v1/evaluate/flags/new-answers", "/ofrep/v1/evaluate/flags"
VARIANTS = {"variants": [{"name": "blue", "weight": 1, "payload": {"type": "json", "value": '{"hex": "#00f"}'}}]}
HALF = {"strategies": [{"name": "flexibleRollout", "parameters": {"rollout": "50", "stickiness": "default", "groupId": "g"}}]}


class App:
    """An app with a key, its flags, and a way to ask."""

    def __init__(self, organisation: Organisation, actor: Actor) -> None:
        self.organisation, self.actor = organisation, actor
        self.key, self.token = key_create(actor=actor, organisation=organisation, name="app")
        self.http = httpx.Client(
            transport=httpx.WSGITransport(app=get_wsgi_application(), remote_addr="192.0.2.7"), base_url="http://localhost"
        )
        self.flag("new-answers", on=True)

    def flag(self, name: str, **facts: Any) -> None:
        given = {"kind": "release", "subject_kind": "organisation", "subject_id": self.organisation.pk, **facts}
        flag_set(actor=self.actor, organisation=self.organisation, name=name, **given)
        publish(actor=self.actor, reason=name)

    def flip(self, on: bool) -> None:
        flag_flip(actor=self.actor, organisation=self.organisation, name="new-answers", on=on, reason="now")
        publish(actor=self.actor, reason="now")

    def ask(self, url: str = ONE, body: Any = None, *, token: str | None = None, **headers: str) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.token if token is None else token}", **headers}
        return self.http.post(url, json={"context": {"targetingKey": "u1"}} if body is None else body, headers=sent)


@pytest.fixture
def app(organisation: Organisation, actor: Actor, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setattr(ofrep_views, "EVALUATIONS", Rate(per_minute=6_000, burst=600))
    monkeypatch.setattr(ofrep_views, "REFUSALS", Rate(per_minute=30, burst=60))
    made = App(organisation, actor)
    ends = (request_started, request_finished)  # a request of its own process ends with its connection; here it is the test's
    for signal in ends:
        signal.disconnect(close_old_connections)
    yield made
    for signal in ends:
        signal.connect(close_old_connections)
    made.http.close()


def test_one_flag_and_its_flip(app: App) -> None:
    answer = app.ask()
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    version = answer.json()["metadata"]["configVersion"]
    assert answer.json() == {
        "key": "new-answers", "reason": "STATIC", "variant": "on", "value": True,
        "metadata": {"kind": "release", "configVersion": version},
    }  # fmt: skip
    app.flip(False)
    assert app.ask(body={}).json() == {
        "key": "new-answers", "reason": "DISABLED", "variant": "off", "value": False,
        "metadata": {"kind": "release", "configVersion": version + 1},
    }  # fmt: skip
    assert app.http.post(ONE, content=b"", headers={"X-API-Key": app.token}).json()["value"] is False


def test_what_is_not_published_yet_is_not_told(app: App) -> None:
    flag_flip(actor=app.actor, organisation=app.organisation, name="new-answers", on=False, reason="soon")
    assert app.ask().json()["value"] is True


def test_errors_as_the_protocol_has_them(app: App) -> None:
    app.flag("half", on=True, rules=HALF)
    missing = app.ask("/ofrep/v1/evaluate/flags/nothing-like-it")
    assert missing.status_code == 404
    assert (missing.json()["key"], missing.json()["errorCode"]) == ("nothing-like-it", "FLAG_NOT_FOUND")
    headers = {"Authorization": f"Bearer {app.token}"}
    broken = app.http.post(ONE, content=b"{", headers=headers)
    assert (broken.status_code, broken.json()["errorCode"], broken.json()["key"]) == (400, "PARSE_ERROR", "new-answers")
    huge = app.http.post(ONE, content=b'{"context": {"a": "' + b"x" * 65_536 + b'"}}', headers=headers)
    assert (huge.status_code, huge.json()["errorCode"]) == (400, "PARSE_ERROR")
    for url in (ONE, ALL):
        wrong = app.ask(url, {"context": "x"})
        assert (wrong.status_code, wrong.json()["errorCode"]) == (400, "INVALID_CONTEXT")
    nobody = app.ask("/ofrep/v1/evaluate/flags/half", {"context": {}})
    assert (nobody.status_code, nobody.json()["errorCode"]) == (400, "TARGETING_KEY_MISSING")
    assert app.ask("/ofrep/v1/evaluate/flags/half").status_code == 200
    wrong_method = app.http.get(ONE, headers=headers)
    assert wrong_method.status_code == 405 and wrong_method.headers["allow"] == "POST"


def test_all_flags_with_a_tag(app: App) -> None:
    app.flag("blue", on=True, rules=VARIANTS)
    app.flag("half", on=True, rules=HALF)
    first = app.ask(ALL, {"context": {}})
    told = {entry["key"]: entry for entry in first.json()["flags"]}
    assert told["new-answers"]["value"] is True and told["blue"]["errorCode"] == "TARGETING_KEY_MISSING" == told["half"]["errorCode"]
    first = app.ask(ALL)
    tag = first.headers["etag"]
    blue = next(entry for entry in first.json()["flags"] if entry["key"] == "blue")
    assert (blue["value"], blue["variant"]) == ({"hex": "#00f"}, "blue")
    for known in (tag, f"W/{tag}", f'"older", {tag}'):
        again = app.ask(ALL, **{"If-None-Match": known})
        assert again.status_code == 304 and not again.content and again.headers["etag"] == tag
    assert app.ask(ALL, {"context": {"targetingKey": "u1", "city": "Bern"}}, **{"If-None-Match": tag}).status_code == 304
    app.flip(False)
    changed = app.ask(ALL, **{"If-None-Match": tag})
    assert changed.status_code == 200 and changed.headers["etag"] != tag


def test_only_living_keys_open_it(app: App, organisation: Organisation, actor: Actor) -> None:
    for wrong in ("", "bk-nothing", "x" * 300):
        refused = app.ask(token=wrong)
        assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer" and refused.json()["errorCode"] == "GENERAL"
    key_update(actor=actor, key=app.key, addresses=["198.51.100.0/24"])
    assert app.ask().status_code == 403
    key_update(actor=actor, key=app.key, addresses=["192.0.2.7"])
    assert app.ask().status_code == 200
    KeyDigest.objects.update(expires_at=clock.now() - timedelta(hours=1))
    assert app.ask().status_code == 401
    KeyDigest.objects.update(expires_at=None)
    VirtualKey.objects.update(expires_at=clock.now() - timedelta(hours=1))
    assert app.ask().status_code == 401
    VirtualKey.objects.update(expires_at=None)
    app.flag("stop", kind="kill", subject_kind="key", subject_id=app.key.pk, on=True)
    assert app.ask().status_code == 403 and "kill switch" in app.ask().json()["errorDetails"]
    Flag.objects.filter(name="stop").update(on=False)
    app.flag("stop", kind="kill", subject_kind="key", subject_id=app.key.pk, on=False, purpose="off again")
    publish(actor=actor, reason="off", full=True)
    assert app.ask().status_code == 200
    key_disable(actor=actor, key=app.key)
    assert app.ask().status_code == 403
    key_revoke(actor=actor, key=app.key)
    assert app.ask().status_code == 401
    other = Organisation.objects.create(name="Other", slug="other")
    _, token = key_create(actor=actor, organisation=other, name="theirs")
    assert app.ask(token=token).status_code == 404 and app.ask(ALL, token=token).json()["flags"] == []


def test_the_rate_of_a_key_and_of_wrong_keys_is_bounded(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(ofrep_views, "EVALUATIONS", Rate(per_minute=60, burst=2, clock=lambda: now[0]))
    monkeypatch.setattr(ofrep_views, "REFUSALS", Rate(per_minute=60, burst=2, clock=lambda: now[0]))
    assert [app.ask().status_code for _ in range(3)] == [200, 200, 429]
    assert app.ask().headers["retry-after"] == "1"
    now[0] += 1
    assert app.ask().status_code == 200
    assert [app.ask(token="bk-wrong").status_code for _ in range(3)] == [401, 401, 429]


def test_exposures_are_counted_by_flag_variant_and_minute(app: App) -> None:
    app.flag("blue", on=True, rules=VARIANTS)
    for _ in range(3):
        app.ask()
    tag = app.ask(ALL).headers["etag"]
    app.ask(ALL, **{"If-None-Match": tag})  # nothing was told anew
    app.flip(False)
    app.ask()
    counted: dict[tuple[str, str], int] = {}
    for row in FlagExposure.objects.select_related("flag"):
        counted[row.flag.name, row.value] = counted.get((row.flag.name, row.value), 0) + row.count
    assert counted == {("new-answers", "on"): 4, ("blue", "blue"): 1, ("new-answers", "off"): 1}
    minute = datetime(2031, 1, 1, 12, 30, 59, tzinfo=UTC)
    answers = [
        flags_published(str(app.organisation.pk)).evaluate(
            "blue", ofrep_views.context_read({"context": {"targetingKey": "u"}}, environment=""), simulated=False
        )
    ]
    for _ in range(2):
        exposures_add(str(app.organisation.pk), answers * 2, now=minute)
    assert FlagExposure.objects.get(minute=minute.replace(second=0)).count == 4


def test_a_database_that_is_away_is_told_as_a_general_error(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(ofrep_views, "key_opened", away)
    answer = app.ask()
    assert answer.status_code == 500 and answer.json()["errorCode"] == "GENERAL"


def test_the_stock_openfeature_client(app: App) -> None:
    if CLIENT.is_dir() and str(CLIENT) not in sys.path:
        sys.path.append(str(CLIENT))
    try:
        api = importlib.import_module("openfeature.api")
        provider_class = importlib.import_module("openfeature.contrib.provider.ofrep").OFREPProvider
        adapters = importlib.import_module("requests.adapters")
        models = importlib.import_module("requests.models")
    except ImportError as error:
        pytest.skip(
            f"the OpenFeature client is not installed ({error}): pip install --target {CLIENT} openfeature-sdk openfeature-provider-ofrep"
        )

    class InProcess(adapters.BaseAdapter):  # type: ignore[misc,name-defined]
        """What the client sends, answered by the app in this process."""

        def send(self, request: Any, **_: Any) -> Any:
            answer = app.http.request(request.method, request.path_url, content=request.body, headers=dict(request.headers))
            made = models.Response()
            made.status_code, made._content, made.url, made.request = answer.status_code, answer.content, request.url, request
            made.headers.update(answer.headers)
            return made

        def close(self) -> None:
            pass

    app.flag("blue", on=True, rules=VARIANTS)
    app.flag("half", on=True, rules=HALF)
    app.flag("slow", kind="degrade", subject_kind="organisation", subject_id=app.organisation.pk, level="cached", on=True)
    token = app.token
    provider = provider_class("http://bulkhead.test", headers_factory=lambda: {"Authorization": f"Bearer {token}"})
    provider.session.mount("http://bulkhead.test", InProcess())
    api.set_provider(provider)
    try:
        client = api.get_client()
        context = importlib.import_module("openfeature.evaluation_context").EvaluationContext("u1", {"city": "Berlin"})
        found = client.get_boolean_details("new-answers", False, context)
        assert (found.value, found.reason, found.variant, found.error_code) == (True, "STATIC", "on", None)
        assert found.flag_metadata["kind"] == "release"
        assert client.get_object_value("blue", {}, context) == {"hex": "#00f"}
        assert client.get_string_value("slow", "full", context) == "cached"
        assert client.get_boolean_details("half", False, context).reason in ("SPLIT", "DEFAULT")
        assert client.get_boolean_details("half", True).error_code == "TARGETING_KEY_MISSING"
        assert client.get_boolean_details("nothing", True, context).error_code == "FLAG_NOT_FOUND"
        assert client.get_string_details("new-answers", "x", context).error_code == "TYPE_MISMATCH"
        app.flip(False)
        assert client.get_boolean_details("new-answers", True, context).reason == "DISABLED"
        Flag.objects.filter(name="blue").update(on=False)
        publish(actor=app.actor, reason="off", full=True)
        assert client.get_object_details("blue", {"hex": "mine"}, context).value == {"hex": "mine"}, "the app's own default"
        token = "bk-wrong"
        assert client.get_boolean_details("new-answers", True, context).error_code == "GENERAL"
    finally:
        api.clear_providers()
