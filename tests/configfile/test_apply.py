"""Documents applied: in one transaction, twice, dry, with every kind of mistake."""

from __future__ import annotations

import stat
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Organisation
from apps.accounts.services import organisation_ensure
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent, Event
from apps.budgets.selectors import budgets_of
from apps.keys.models import VirtualKey
from apps.keys.selectors import key_by_digest, keys_of
from apps.keys.services import key_digest
from apps.providers.models import Credential, Provider
from apps.providers.services import credential_set, credential_value
from apps.publishing.models import FragmentRow, TouchedFragment, Version
from apps.routes.models import Route
from controlplane.configfile import apply as applying

SECRET = "sk-live-1618033988"

DOCUMENT = """
organisation: main
teams:
  - name: platform
    title: Platform team
    contact: platform@example.org
    services:
      - name: chat
credentials:
  - name: openai
    secret: env:TEST_OPENAI_API_KEY
providers:
  - name: openai
    endpoints:
      - base_url: https://api.openai.com/v1
        credential: openai
  - name: local
    allow_private_addresses: true
    endpoints:
      - base_url: http://127.0.0.1:8000/v1
    prices:
      - {model: llama, input: "0.05", output: 0.10, tiers: [{from_input_tokens: 1000, input: 1}]}
routes:
  - name: chat-default
    aliases: [gpt-4o-mini]
    targets:
      - {provider: openai, model: gpt-4o-mini}
    fallback:
      - {provider: local, model: llama, endpoint: default}
    deadlines: {connect: 500ms, total: 1.5m}
keys:
  - name: app
    secret: file:app.key
    service: platform/chat
    tags: [blue, green]
    routes: [chat-default]
    expires_at: 2030-01-31T00:00:00+01:00
budgets:
  - {name: app-day, scope: key, key: app, window: day, limit: "25.00", timezone: Europe/Berlin}
  - {name: all, scope: organisation, window: month, limit: 100}
flags:
  - {name: chat-fallback, kind: fallback, route: chat-default, on: off, owner: platform, purpose: provider outages}
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_OPENAI_API_KEY", SECRET)


class Shell:
    """``manage.py`` with a folder for documents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def apply(self, text: str | bytes, *arguments: str, name: str = "bulkhead.yaml") -> str:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        out = StringIO()
        call_command("apply", "-f", str(path), *arguments, stdout=out)
        return out.getvalue()

    def refused(self, text: str | bytes, *arguments: str) -> str:
        before = state()
        with pytest.raises(CommandError) as caught:
            self.apply(text, *arguments)
        assert caught.value.returncode == 1
        assert state() == before
        assert "othing was changed" in str(caught.value)
        return str(caught.value)

    def export(self) -> str:
        out = StringIO()
        call_command("export", stdout=out)
        return out.getvalue()


def state() -> tuple[Any, ...]:
    """Everything that a refused document must leave alone."""
    return (
        Version.objects.count(),
        AuditEvent.objects.count(),
        TouchedFragment.objects.count(),
        sorted(Provider.objects.values_list("name", "enabled")),
        sorted(Route.objects.values_list("name", "total_ms")),
        sorted(VirtualKey.objects.values_list("name", "state")),
        sorted(Credential.objects.values_list("name", "digest")),
    )


@pytest.fixture
def shell(organisation: Organisation, tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_whole_document_then_nothing_changes(shell: Shell, organisation: Organisation) -> None:
    out = shell.apply(DOCUMENT)
    for line in (
        "+ team platform",
        "+ credential openai",
        "+ provider local",
        "+ route chat-default",
        "+ key app",
        "+ budget app-day",
        "published v1",
    ):
        assert line in out, out
    token = (shell.folder / "app.key").read_text().strip()
    assert stat.S_IMODE((shell.folder / "app.key").stat().st_mode) == 0o600
    key = key_by_digest(key_digest(token))
    assert key is not None and key.name == "app" and key.service.slug == "chat"
    assert token not in out and SECRET not in out
    assert credential_value(Credential.objects.get()) == SECRET
    route = Route.objects.get()
    assert (route.connect_ms, route.total_ms, route.first_byte_ms) == (500, 90_000, 6_000)
    assert {budget.name: budget.limit_nano for budget in budgets_of(organisation=organisation)} == {
        "app-day": 25_000_000_000,
        "all": 100_000_000_000,
    }
    before = state()
    assert shell.apply(DOCUMENT) == "nothing changes\n"
    assert state() == before


def test_no_secret_in_anything_that_is_kept_or_shown(shell: Shell) -> None:
    out = shell.apply(DOCUMENT) + shell.export() + shell.apply(DOCUMENT.replace("1.5m", "60s"))
    token = (shell.folder / "app.key").read_text().strip()
    kept = repr(list(AuditEvent.objects.values())) + repr(list(Event.objects.values())) + repr(list(Version.objects.values()))
    kept += repr([bytes(body or b"") for body in FragmentRow.objects.values_list("body", flat=True)])
    for secret in (SECRET, token, token.split("-", 2)[2]):
        assert secret not in out and secret not in kept


def test_export_applied_again_changes_nothing(shell: Shell) -> None:
    shell.apply(DOCUMENT)
    exported = shell.export()
    assert "secret: env:TEST_OPENAI_API_KEY" in exported and "secret: file:app.key" in exported
    assert shell.apply(exported) == "nothing changes\n"
    assert shell.export() == exported


def test_a_credential_without_a_reference_is_kept(shell: Shell, organisation: Organisation, actor: Actor) -> None:
    credential_set(actor=actor, organisation=organisation, name="typed", value="sk-typed-by-hand")
    exported = shell.export()
    assert "secret: kept" in exported
    shell.apply(exported)  # publishes the credential; the document itself changes nothing
    assert credential_value(Credential.objects.get()) == "sk-typed-by-hand"
    assert "no value to keep" in shell.refused("credentials: [{name: other, secret: kept}]")


def test_the_diff_names_fields_with_old_and_new(shell: Shell) -> None:
    shell.apply(DOCUMENT)
    out = shell.apply(DOCUMENT.replace("1.5m", "60s").replace("[blue, green]", "[blue]").replace('"25.00"', '"30.5"'))
    assert "~ route chat-default\n    ~ deadlines.total: 90s -> 60s" in out
    assert "~ key app\n    ~ tags: blue, green -> blue" in out
    assert "~ budget app-day\n    ~ limit: 25 -> 30.5" in out
    assert "published v2" in out


def test_a_dry_run_shows_the_same_and_changes_nothing(shell: Shell) -> None:
    before = state()
    dry = shell.apply(DOCUMENT, "--dry-run")
    assert "+ route chat-default" in dry and "dry run: nothing was changed" in dry and "published" not in dry
    assert state() == before and not (shell.folder / "app.key").exists()
    real = shell.apply(DOCUMENT)
    assert dry.splitlines()[:-1] == real.splitlines()[: len(dry.splitlines()) - 1]


def test_generated_keys_are_shown_once(shell: Shell) -> None:
    document = "keys: [{name: shown}]"
    out = shell.apply(document)
    token = next(line.split()[2] for line in out.splitlines() if line.startswith("key shown:"))
    assert key_by_digest(key_digest(token)).name == "shown"
    assert shell.apply(document) == "nothing changes\n"


def test_a_changed_secret_behind_the_same_reference(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.apply(DOCUMENT)
    monkeypatch.setenv("TEST_OPENAI_API_KEY", SECRET + "-new")
    (shell.folder / "app.key").write_text("my-own-key-0123456789\n")
    out = shell.apply(DOCUMENT)
    assert "~ credential openai\n    ~ secret: has a new value" in out
    assert "~ key app\n    ~ secret: has a new value" in out
    assert credential_value(Credential.objects.get()) == SECRET + "-new"
    assert key_by_digest(key_digest("my-own-key-0123456789")).name == "app"
    assert "my-own" not in out and shell.apply(DOCUMENT) == "nothing changes\n"


def test_a_lost_key_file_never_rotates_the_key(shell: Shell) -> None:
    shell.apply(DOCUMENT)
    (shell.folder / "app.key").unlink()
    assert "the key exists and its file does not" in shell.refused(DOCUMENT)


def test_absent_removes_dependents_first(shell: Shell, organisation: Organisation) -> None:
    shell.apply(DOCUMENT)
    gone = """
credentials: [{name: openai, absent: true}]
providers: [{name: openai, absent: true}, {name: local, absent: true}]
routes: [{name: chat-default, absent: true}]
keys: [{name: app, absent: true}]
budgets: [{name: app-day, absent: true}, {name: all, absent: true}]
flags: [{name: chat-fallback, absent: true}]
"""
    out = shell.apply(gone)
    for line in ("- credential openai", "- provider openai", "- route chat-default", "- key app", "- budget all", "- flag chat-fallback"):
        assert line in out
    assert not keys_of(organisation).exists() and VirtualKey.objects.get().state == "revoked"
    assert shell.apply(gone) == "nothing changes\n"


def test_absent_price_hands_the_model_back_to_the_book(shell: Shell) -> None:
    shell.apply(DOCUMENT)
    out = shell.apply(
        "providers: [{name: local, allow_private_addresses: true, endpoints: [{base_url: 'http://127.0.0.1:8000/v1'}],"
        " prices: [{model: llama, absent: true}]}]"
    )
    assert "- prices[llama].input: 0.05" in out


def test_something_in_use_cannot_be_removed(shell: Shell) -> None:
    shell.apply(DOCUMENT)
    message = shell.refused("providers: [{name: openai, absent: true}]")
    assert "is a target of chat-default" in message


def test_every_problem_is_listed_with_its_line(shell: Shell) -> None:
    message = shell.refused(
        """organisation: main
providers:
  - name: openai
    kind: soap
    endpoints: [{base_url: https://api.openai.com/v1}]
  - name: bad
    endpoints:
      - base_url: https://me:pw@host/v1
routes:
  - name: one
    targets: [{provider: nowhere, model: m}]
  - name: two
    targets: []
    colour: blue
  - name: three
    targets: [{provider: openai, model: m}]
    deadlines: {connect: 9s, total: 2}
budgets:
  - {name: b, scope: organisation, window: week, limit: -1}
"""
    )
    for expected in (
        ":4: providers[0].kind: 'soap' is not a kind",
        ":8: providers[1].endpoints[0].base_url: the address carries a user or password",
        ":11: routes[0].targets[0].provider: there is no provider 'nowhere'",
        ":14: routes[1].colour: unknown",
        ":17: routes[2].deadlines.total: '2': write a duration",
        ":19: budgets[0].limit: '-1': write dollars",
    ):
        assert expected in message, message
    assert "pw" not in message.replace("bulkhead", "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("- a\n- b\n", "the document is a mapping"),
        ("organisation: nowhere\n", "there is no organisation 'nowhere'"),
        ("routes: 5\n", "takes a list"),
        ("rutes: []\n", ":1: rutes: unknown"),
        ("a: [1, 2\nb: 3\n", "not YAML"),
        ("keys: &k []\nroutes: *k\n", "anchor &k"),
        ("keys: !!python/object/apply:os.system ['true']\n", "tag"),
        ("keys: []\n---\nkeys: []\n", "second document"),
        ("keys: []\nkeys: []\n", ":2: keys: written twice; first in line 1"),
        ("keys:\n  - name: a\n    name: b\n", ":3: keys[0].name: written twice"),
        ("keys:\n  - name: a\n  - name: a\n", "'a' is listed twice"),
        ("keys:\n  - {name: a, tags: [x, x]}\n", "a tag is listed twice"),
        ("keys:\n  - {name: a, routes: 7}\n", "takes a list"),
        ("keys:\n  - {name: 7}\n", "put it in quotes"),
        ("keys:\n  - {name: no}\n", "put it in quotes"),
        ("keys:\n  - {name: a, environment: prod}\n", "use one of production, staging, development"),
        ("keys:\n  - {name: a, expires_at: tomorrow}\n", "write a moment"),
        ("keys:\n  - {name: a, expires_at: 2030-01-01}\n", "write a moment"),
        ("keys:\n  - {name: a, service: platform/none}\n", "there is no service"),
        ("keys:\n  - {name: a, secret: sk-oops-typed-here}\n", "takes a reference"),
        ("keys:\n  - {name: a, secret: 'env:HOME'}\n", "BULKHEAD_REFERENCE_ENV"),
        ("keys:\n  - {name: a, secret: 'env:BULKHEAD_MASTER_KEY'}\n", "never read by reference"),
        ("keys:\n  - {name: a, secret: 'env:UNSET_API_KEY'}\n", "is not set"),
        ("keys:\n  - {name: a, secret: 'file:/etc/hostname'}\n", "BULKHEAD_REFERENCE_DIR"),
        ("keys:\n  - {name: a, secret: 'file:../x'}\n", "BULKHEAD_REFERENCE_DIR"),
        ("keys:\n  - {name: a, secret: 'file:no/such/folder'}\n", "create it first"),
        ("keys:\n  - {name: a, secret: 'file:same'}\n  - {name: b, secret: 'file:same'}\n", "give each its own"),
        ("budgets:\n  - {name: b, scope: organisation, window: day, limit: .nan}\n", "plain digits"),
        ("budgets:\n  - {name: b, scope: organisation, window: day, limit: .inf}\n", "plain digits"),
        ("budgets:\n  - {name: b, scope: organisation, window: day, limit: 1e3}\n", "plain digits"),
        ("budgets:\n  - {name: b, scope: organisation, window: day, limit: 0x10}\n", "plain digits"),
        ("budgets:\n  - {name: b, scope: organisation, window: day, limit: 99999999999}\n", "more than can be counted"),
        ("budgets:\n  - {name: b, scope: organisation, window: day, limit: 1, timezone: Mars/Base}\n", "not a time zone"),
        ("budgets:\n  - {name: b, scope: key, window: day, limit: 1}\n", "name the key"),
        ("budgets:\n  - {name: b, scope: key, key: nobody, window: day, limit: 1}\n", "no active key 'nobody'"),
        ("flags:\n  - {name: f, kind: kill, route: r, provider: p}\n", "exactly one"),
        ("flags:\n  - {name: f, kind: fallback, route: r}\n", "there is no route 'r'"),
        ("flags:\n  - {name: f, kind: kill}\n", "exactly one"),
        ("providers:\n  - {name: p, endpoints: []}\n", "at least one endpoint"),
        ("providers:\n  - {name: p, endpoints: [{base_url: 'http://h', max_connections: 1_0}]}\n", "whole number"),
        ("providers:\n  - {name: p, endpoints: [{base_url: 'http://h', credential: c}]}\n", "there is no credential 'c'"),
        (
            "providers:\n  - {name: p, endpoints: [{base_url: 'http://h'}], prices: [{model: m, input: 1}, {model: m, input: 2}]}\n",
            "same time",
        ),
        (b"keys:\n  - name: \xff\xfe\n", ":2: byte"),
        (b"keys: \x00\n", "not YAML"),
        ("a: " + "[" * 50 + "]" * 50 + "\n", "nested deeper"),
        ("\n".join(["a0: &a0 [x,x]", *(f"a{n}: &a{n} [*a{n - 1},*a{n - 1}]" for n in range(1, 40))]), "anchor"),
    ],
)
def test_wrong_input(shell: Shell, text: str | bytes, says: str) -> None:
    assert says in shell.refused(text)
    assert [path.name for path in shell.folder.iterdir()] == ["bulkhead.yaml"]


def test_a_link_out_of_the_folder_is_refused(
    shell: Shell, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_text("from-outside-0123456789")
    (shell.folder / "link").symlink_to(outside / "secret")
    document = "keys: [{name: a, secret: 'file:link'}]"
    assert "from-outside" not in (message := shell.refused(document)) and "BULKHEAD_REFERENCE_DIR" in message
    monkeypatch.setenv("BULKHEAD_REFERENCE_DIR", str(outside))
    assert "+ key a" in shell.apply(document)


def test_the_installations_own_secrets_are_never_read(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (shell.folder / "secrets").mkdir()
    (shell.folder / "secrets" / "master_key").write_text("something-long-enough")
    monkeypatch.setenv("BULKHEAD_DATA_DIR", str(shell.folder))
    assert "own secrets" in shell.refused("keys: [{name: a, secret: 'file:secrets/master_key'}]")


def test_a_publish_that_fails_undoes_everything(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from apps.providers.models import Endpoint
    from apps.publishing import services as publishing

    def broken(**arguments: Any) -> None:
        # What a row that slipped past the services does: the proxies' own compiler refuses it.
        Endpoint.objects.filter(name="default").update(base_url="gopher://host")
        return publishing.publish(**arguments)

    monkeypatch.setattr(applying, "publish", broken)
    message = shell.refused(DOCUMENT)
    assert "base_url" in message and "providers[" in message
    assert not (shell.folder / "app.key").exists()


def test_a_key_file_that_cannot_be_written_undoes_everything(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def full(path: Path, value: str) -> None:
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        path.write_text(value)

    monkeypatch.setattr(applying, "write_secret_file", full)
    message = shell.refused("keys: [{name: a, secret: 'file:a.key'}, {name: b, secret: 'file:b.key'}]")
    assert "No space left on device" in message and "keys[1].secret" in message
    assert written and not written[0].exists()


def test_organisations_do_not_see_each_other(shell: Shell, actor: Actor) -> None:
    other = organisation_ensure(actor=actor, slug="other", name="Other")
    shell.apply(DOCUMENT)
    shell.apply(DOCUMENT.replace("organisation: main\n", "").replace("app.key", "other.key"), "--organisation", "other")
    assert Provider.objects.filter(organisation=other).count() == 2
    assert "the document is for 'main'" in shell.refused(DOCUMENT, "--organisation", "other")


def test_a_missing_file(organisation: Organisation) -> None:
    with pytest.raises(CommandError, match="No such file"):
        call_command("apply", "-f", "/nonexistent/bulkhead.yaml")
