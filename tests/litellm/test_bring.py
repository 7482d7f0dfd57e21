"""A LiteLLM proxy brought over: models, fallbacks, costs, keys, teams, budgets; what has no equal is named; twice is once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.budgets.models import Budget, Limit
from apps.keys.models import VirtualKey
from apps.providers.models import Credential, Provider
from apps.providers.vault import decrypt
from apps.publishing.models import Version
from apps.publishing.services import publish
from apps.routes.models import Route
from controlplane.configfile.problems import DocumentError
from controlplane.launcher.cli import command_named
from controlplane.litellm.bring import Brought, bring
from controlplane.litellm.notes import Notes
from controlplane.litellm.people import people
from controlplane.litellm.providers import Providers, split
from controlplane.litellm.reading import Config

CONFIG = """
model_list:
  - model_name: chat
    litellm_params: {model: azure/chat-eu, api_base: "https://eu.openai.azure.com/", api_key: os.environ/AZURE_API_KEY, rpm: 600, tpm: 1000}
    model_info: {mode: chat, input_cost_per_token: 0.0000025, output_cost_per_token: 1.0e-05, max_input_tokens: 128000}
  - model_name: chat
    litellm_params: {model: gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 300, timeout: 30, order: 1}
  - model_name: backup
    litellm_params: {model: anthropic/claude-sonnet-4, api_key: "sk-ant-in-the-file-itself", temperature: 0.1}
  - model_name: long
    litellm_params: {model: hosted_vllm/qwen, api_base: "http://10.0.0.5:8000/v1", input_cost_per_token: 0, output_cost_per_token: 0}
    model_info: {max_input_tokens: 1000000, supports_vision: false, supports_function_calling: true, supports_response_schema: true}
  - model_name: own
    litellm_params: {model: sagemaker/own, aws_region_name: eu-west-1}
  - model_name: draw
    litellm_params: {model: openai/dall-e-3, api_key: os.environ/OPENAI_API_KEY}
    model_info: {mode: image_generation}
  - model_name: "openai/*"
    litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY}
router_settings:
  routing_strategy: latency-based-routing
  num_retries: 2
  timeout: 60
  allowed_fails: 3
  cooldown_time: 30
  fallbacks: [{chat: [backup, gone]}]
  context_window_fallbacks: [{chat: [long]}]
  model_group_alias: {gpt-4: chat, lost: nowhere}
  retry_policy: {TimeoutErrorRetries: 3}
litellm_settings: {success_callback: [langfuse], request_timeout: 600}
general_settings: {master_key: sk-1234, database_url: "postgresql://x"}
"""

TOKEN = "sk-an-app-has-this"
KEYS = {
    "LiteLLM_TeamTable": [
        {"team_id": "t-1", "team_alias": "Search & Co", "models": ["chat"], "max_budget": 100.5, "budget_duration": "30d", "rpm_limit": 50},
    ],
    "LiteLLM_BudgetTable": [{"budget_id": "b-1", "max_budget": 7, "budget_duration": "7d", "tpm_limit": 900}],
    "LiteLLM_VerificationToken": [
        {
            "token": sha256(TOKEN.encode()).hexdigest(), "key_alias": "Search API", "team_id": "t-1", "models": [], "spend": 3.5,
            "max_budget": 20, "budget_duration": "1d", "rpm_limit": 5, "expires": "2031-01-01 00:00:00", "metadata": {"tags": ["prod"]},
            "permissions": {"a": True},
        },
        {"token": sha256(b"sk-two").hexdigest(), "key_alias": "two", "models": ["gpt-4"], "budget_id": "b-1", "blocked": True},
        {"token": sha256(b"sk-three").hexdigest(), "models": ["all-proxy-models"], "max_budget": 10, "spend": 4},
        {"token": sha256(b"sk-four").hexdigest(), "key_alias": "four", "models": ["own"]},
        {"token": "not-a-hash", "key_alias": "five"},
    ],
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("AZURE_API_KEY", "azure-secret-0001")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-secret-0001")
    monkeypatch.delenv("HOSTED_VLLM_API_KEY", raising=False)
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", "vllm-secret-0001")
    config, keys = tmp_path / "config.yaml", tmp_path / "keys.json"
    config.write_text(CONFIG)
    keys.write_text(json.dumps(KEYS))
    return config, keys


def brought(actor: Actor, files: tuple[Path, Path], **options: bool) -> Brought:
    return bring(actor=actor, config_file=files[0], keys_file=files[1], organisation="main", **options)


def test_everything_that_has_an_equal_comes_over(organisation: Organisation, actor: Actor, files: tuple[Path, Path]) -> None:
    found = brought(actor, files)
    assert found.outcome.version is not None and found.keys is not None and found.keys.summary == "3 new"
    addresses = {row.name: row.endpoints.get().base_url for row in Provider.objects.all()}
    assert addresses == {
        "azure": "https://eu.openai.azure.com/openai/v1",
        "openai": "https://api.openai.com/v1",
        "anthropic": "https://api.anthropic.com/v1",
        "hosted-vllm": "http://10.0.0.5:8000/v1",
    }
    assert (
        Provider.objects.get(name="hosted-vllm").allow_private_addresses and not Provider.objects.get(name="openai").allow_private_addresses
    )
    document = found.document
    routes = {route.name: route for route in document.routes}
    assert set(routes) == {"chat", "backup", "long"} == set(Route.objects.values_list("name", flat=True))
    chat = routes["chat"]
    assert [(target.provider, target.model, target.priority) for target in chat.targets] == [
        ("azure", "chat-eu", 0), ("openai", "gpt-4o", 1), ("anthropic", "claude-sonnet-4", 100), ("hosted-vllm", "qwen", 110),
    ]  # fmt: skip
    assert [target.model for target in chat.fallback] == ["claude-sonnet-4", "qwen"] and chat.aliases == ["gpt-4"]
    assert (chat.resilience.strategy, chat.max_attempts, chat.deadlines.total, chat.targets[1].total) == (
        "least_latency",
        5,
        60_000,
        30_000,
    )
    assert (chat.resilience.breaker.consecutive, chat.resilience.breaker.open, chat.targets[0].window) == (4, 30_000, 128_000)
    assert routes["long"].targets[0].capabilities == ["tools", "json_schema"]
    (price,) = next(provider for provider in document.providers if provider.name == "azure").prices
    assert (price.input, price.output) == (2_500_000_000, 10_000_000_000)
    assert {(limit.model, limit.kind): limit.amount for limit in document.limits if limit.model} == {
        ("chat-eu", "requests_per_minute"): 600, ("chat-eu", "tokens_per_minute"): 1000, ("gpt-4o", "requests_per_minute"): 300,
    }  # fmt: skip
    assert decrypt(Credential.objects.get(name="anthropic").encrypted) == "sk-ant-in-the-file-itself"


def test_keys_keep_their_secrets_owners_and_bounds(organisation: Organisation, actor: Actor, files: tuple[Path, Path]) -> None:
    brought(actor, files)
    keys = {key.name: key for key in VirtualKey.objects.all()}
    third = f"litellm-{sha256(b'sk-three').hexdigest()[:10]}"
    assert set(keys) == {"search-api", "two", third}
    first = keys["search-api"]
    assert first.digest_rows.get().digest == sha256(TOKEN.encode()).hexdigest() and first.digest_rows.get().kind == "sha256"
    assert (first.team.slug, first.routes, first.tags) == ("search-co", ["chat"], ["prod"])  # type: ignore[union-attr]
    assert first.expires_at == datetime(2031, 1, 1, tzinfo=UTC) and not keys["two"].enabled and keys["two"].routes == ["gpt-4"]
    walls = {(row.key or row).name: (row.limit_nano, row.window) for row in Budget.objects.select_related("key")}
    assert walls == {
        "search-api": (20 * 10**9, "day"), "two": (7 * 10**9, "week"), third: (6 * 10**9, "quarter"),
        "team search-co": (100_500_000_000, "month"),
    }  # fmt: skip
    limits = {(row.scope, row.kind): row.amount for row in Limit.objects.exclude(scope="model")}
    assert limits == {("key", "requests_per_minute"): 5, ("key", "tokens_per_minute"): 900, ("team", "requests_per_minute"): 50}


def test_what_could_not_come_over_is_named(organisation: Organisation, actor: Actor, files: tuple[Path, Path]) -> None:
    notes = brought(actor, files, dry_run=True).notes
    assert not Provider.objects.exists() and not VirtualKey.objects.exists() and not Version.objects.exists()
    left = " | ".join(f"{', '.join(names)}: {words}" for words, names in notes.left.items())
    for name in (
        "own (sagemaker/", "draw (openai/dall-e-3)", "openai/*", "temperature of backup", "fallback of chat to gone", "alias lost",
        "router_settings.retry_policy", "litellm_settings.success_callback", "general_settings.master_key", "permissions of key Search API",
        "model own of key four", "key four", "key five",
    ):  # fmt: skip
        assert name in left, name
    changed = " | ".join(f"{', '.join(names)}: {words}" for words, names in notes.changed.items())
    for name in (
        "chat (azure/chat-eu)",
        "credential anthropic",
        "provider hosted-vllm",
        "Search API",
    ):
        assert name in changed, name
    everything = left + changed
    assert "sk-ant-in-the-file" not in everything and "sk-1234" not in everything and TOKEN not in everything


def test_twice_is_once(organisation: Organisation, actor: Actor, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    brought(actor, files)
    version = Version.objects.count()
    events = AuditEvent.objects.filter(seq=None).count()
    monkeypatch.delenv("OPENAI_API_KEY")  # a credential that is here need not be given again
    again = brought(actor, files)
    assert again.outcome.lines == [] and again.outcome.version is None
    assert again.keys is not None and again.keys.summary == "3 there already" and Version.objects.count() == version
    assert AuditEvent.objects.filter(seq=None).count() == events
    assert publish(actor=actor) is None


def test_a_missing_secret_is_refused_before_anything_is_made(
    organisation: Organisation, actor: Actor, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(DocumentError, match="OPENAI_API_KEY is not set"):
        brought(actor, files)
    assert not Provider.objects.exists() and not VirtualKey.objects.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a LiteLLM config"),
        ("providers: []", "not a LiteLLM config"),
        ("model_list: {}\n", "has no"),
        ("model_list: 3", "is a list"),
        ("model_list: [{model_name: a}]", "litellm_params"),
        ("model_list: [", "not YAML"),
        ("model_list: []\nrouter_settings: []\nlitellm_settings: 3", "litellm_settings"),
    ],
)
def test_what_is_no_config_is_refused(tmp_path: Path, organisation: Organisation, text: str, says: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    if says == "has no":
        out = StringIO()
        call_command("import_litellm", str(file), stdout=out)
        assert "nothing changes" in out.getvalue()
        return
    with pytest.raises(CommandError, match=says):
        call_command("import_litellm", str(file))


def test_the_command_tells_all_of_it(organisation: Organisation, files: tuple[Path, Path]) -> None:
    out = StringIO()
    call_command("import_litellm", str(files[0]), keys=files[1], dry_run=True, stdout=out)
    text = out.getvalue()
    assert "+ route chat" in text and "keys: 3 new" in text and "Not brought over:" in text and "dry run: nothing was changed" in text


@pytest.mark.parametrize(
    ("row", "wall"),
    [
        ({"max_budget": 5, "budget_duration": "24h"}, (5_000_000_000, "day")),
        ({"max_budget": 5, "budget_duration": "1mo"}, (5_000_000_000, "month")),
        ({"max_budget": 5, "budget_duration": "2d"}, (5_000_000_000, "week")),  # stricter, never wider
        ({"max_budget": 365, "budget_duration": "365d"}, (92_000_000_000, "quarter")),
        ({"max_budget": 5, "spend": 2}, (3_000_000_000, "quarter")),
        ({"max_budget": 5, "spend": 6}, (0, "quarter")),
    ],
)
def test_a_budget_becomes_none_that_is_wider(row: dict, wall: tuple[int, str]) -> None:
    token = {"token": "0" * 64, "key_alias": "k", **row}
    (key,) = people({"LiteLLM_VerificationToken": [token]}, Notes(), routes=frozenset()).rows
    assert (key.budget_nano, key.budget_window) == wall and (key.facts.get("enabled") is False) is (wall[0] == 0)


@pytest.mark.parametrize(
    ("model", "custom", "placed"),
    [
        ("gpt-4o", "", ("openai", "gpt-4o")),
        ("openai/gpt-4o", "", ("openai", "gpt-4o")),
        ("groq/llama-3", "", ("groq", "llama-3")),
        ("openrouter/openai/gpt-4o", "", ("openrouter", "openai/gpt-4o")),
        ("some-model", "", ("", "some-model")),
        ("some-model", "hosted_vllm", ("hosted_vllm", "some-model")),
        ("hosted_vllm/m", "hosted_vllm", ("hosted_vllm", "m")),
    ],
)
def test_a_prefix_says_who_serves_it(model: str, custom: str, placed: tuple[str, str]) -> None:
    assert split(model, custom) == placed


def test_deployments_of_one_address_and_credential_are_one_provider() -> None:
    config = Config("config.yaml", {"model_list": []})
    providers = Providers(config, Notes())
    for at, (key, base) in enumerate([("A", ""), ("A", ""), ("B", ""), ("A", "https://eu.example.test/v1")]):
        params = {"model": f"openai/m{at}", "api_key": f"os.environ/{key}_API_KEY", "api_base": base}
        providers.place("chat", {"litellm_params": params})
    assert [(row.name, row.endpoints[0].base_url, row.endpoints[0].credential) for row in providers.providers] == [
        ("openai", "https://api.openai.com/v1", "openai"),
        ("openai-api", "https://api.openai.com/v1", "openai-api"),
        ("openai-eu", "https://eu.example.test/v1", "openai-eu"),
    ]


def test_the_command_is_found_by_both_spellings() -> None:
    assert command_named(["manage.py", "import-litellm", "my-config.yaml"]) == ["manage.py", "import_litellm", "my-config.yaml"]
    assert command_named(["manage.py", "--help"]) == ["manage.py", "--help"] and command_named(["manage.py"]) == ["manage.py"]
