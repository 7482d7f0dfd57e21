"""LiteLLM's cloud deployments as addresses, kinds and accounts; what does not come over says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apps.contracts.credentials import AwsDefault, AwsKeys, EntraApp, GoogleAccount, credential_read
from controlplane.litellm.notes import Notes
from controlplane.litellm.providers import Providers
from controlplane.litellm.reading import Config
from tests.contracts.test_credentials import GOOGLE

KEYS = {"aws_access_key_id": "os.environ/MY_KEY", "aws_secret_access_key": "abc/def"}
WEST = {"aws_region_name": "eu-west-1"}
PLACE = {"vertex_project": "acme", "vertex_location": "europe-west4"}
AZURE = {"api_base": "https://eu.openai.azure.com/", "api_version": "2024-10-21"}
APP = {"tenant_id": "t-1", "client_id": "c-1", "client_secret": "os.environ/APP_SECRET"}


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_REGION_NAME", "AWS_ACCESS_KEY_ID", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MY_KEY", "AKIDEXAMPLE12345")
    monkeypatch.setenv("APP_SECRET", "hush")


def placed(model: str, **params: Any) -> tuple[Providers, Notes]:
    notes = Notes()
    found = Providers(Config("config.yaml", {}), notes)
    found.place("group", {"litellm_params": {"model": model, **params}})
    return found, notes


@pytest.mark.parametrize(
    ("model", "params", "kind", "base_url", "account"),
    [
        (
            "bedrock/a.b-v1:0",
            {**KEYS, "aws_region_name": "eu-west-1"},
            "bedrock",
            "https://bedrock-runtime.eu-west-1.amazonaws.com",
            AwsKeys,
        ),
        ("bedrock/converse/us-west-2/a.b", KEYS, "bedrock", "https://bedrock-runtime.us-west-2.amazonaws.com", AwsKeys),
        ("bedrock/a.b", WEST, "bedrock", "https://bedrock-runtime.eu-west-1.amazonaws.com", AwsDefault),
        (
            "vertex_ai/gemini-2.5-pro",
            {**PLACE, "vertex_credentials": json.dumps(GOOGLE)},
            "vertex",
            "https://europe-west4-aiplatform.googleapis.com/v1/projects/acme/locations/europe-west4",
            GoogleAccount,
        ),
        (
            "vertex_ai/claude-sonnet-4-5@20250929",
            {**PLACE, "vertex_location": "global", "vertex_credentials": json.dumps(GOOGLE)},
            "vertex-anthropic",
            "https://aiplatform.googleapis.com/v1/projects/acme/locations/global",
            GoogleAccount,
        ),
        ("azure/chat", {**AZURE, **APP}, "azure-deployments", "https://eu.openai.azure.com/openai", EntraApp),
    ],
)
def test_a_cloud_is_an_address_a_kind_and_an_account(model: str, params: dict[str, str], kind: str, base_url: str, account: type) -> None:
    found, _ = placed(model, **params)
    (provider,) = found.providers
    assert (provider.kind, provider.endpoints[0].base_url) == (kind, base_url)
    (secret,) = found.literal.values()
    assert isinstance(credential_read(secret), account) and provider.endpoints[0].credential in found.literal


@pytest.mark.parametrize(
    ("model", "kind", "base_url", "params"),
    [
        ("azure/chat", "azure-deployments", "https://eu.openai.azure.com/openai", {**AZURE, "api_key": "sk"}),
        ("azure/chat", "azure", "https://eu.openai.azure.com/openai/v1", {"api_base": AZURE["api_base"], "api_key": "sk"}),
        ("cohere/command-r", "cohere", "https://api.cohere.com", {}),
        ("cohere_chat/command-r", "cohere", "https://api.cohere.com", {"api_base": "https://api.cohere.com/v2/chat"}),
        ("ollama_chat/qwen3", "ollama", "http://10.0.0.9:11434", {"api_base": "http://10.0.0.9:11434/api/chat"}),
        ("anthropic/claude-x", "anthropic", "https://api.anthropic.com/v1", {"api_base": "https://api.anthropic.com"}),
        ("gemini/gemini-2.5-flash", "gemini", "https://generativelanguage.googleapis.com/v1beta", {}),
    ],
)
def test_every_format_has_its_kind(model: str, kind: str, base_url: str, params: dict[str, str]) -> None:
    found, _ = placed(model, **params)
    (provider,) = found.providers
    assert (provider.kind, provider.endpoints[0].base_url) == (kind, base_url)
    assert bool(provider.endpoints[0].api_version) == (kind == "azure-deployments")


@pytest.mark.parametrize(
    ("model", "params", "why"),
    [
        ("bedrock/a.b", KEYS, "no AWS region"),
        ("bedrock/a.b", {"aws_region_name": "eu-west-1", "aws_role_name": "arn:x"}, "aws_role_name"),
        ("bedrock/a.b", {**KEYS, "aws_access_key_id": "os.environ/NOT_SET", "aws_region_name": "eu-west-1"}, "not readable"),
        ("vertex_ai/gemini-x", {"vertex_project": "acme"}, "vertex_location"),
        ("vertex_ai/meta/llama", PLACE, "Gemini and Anthropic"),
        ("vertex_ai/gemini-x", PLACE, "not readable"),
        ("vertex_ai/gemini-x", {**PLACE, "vertex_credentials": "/nowhere/key.json"}, "cannot be read"),
        ("vertex_ai/gemini-x", {**PLACE, "vertex_credentials": '{"type": "authorized_user"}'}, "service account"),
        ("azure/chat", {**AZURE, "azure_ad_token": "ey"}, "azure_ad_token"),
        ("sagemaker/x", {}, "no known API"),
    ],
)
def test_what_does_not_come_over_is_named(model: str, params: dict[str, str], why: str) -> None:
    found, notes = placed(model, **params)
    assert not found.providers and not found.credentials
    ((words, names),) = notes.left.items()
    assert why in words and names == [f"group ({model})"] and "hush" not in words


def test_a_key_file_is_read_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(GOOGLE))
    found, _ = placed("vertex_ai/gemini-2.5-pro", **PLACE, vertex_credentials=str(file))
    (secret,) = found.literal.values()
    assert isinstance(credential_read(secret), GoogleAccount)
