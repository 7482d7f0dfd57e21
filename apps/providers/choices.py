"""Provider kinds (wire formats), where a price came from, and the states of an endpoint's check."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from apps.ui.status import Status


class Kind(NamedTuple):
    """A wire format that the proxy has a dialect for.

    models_path: appended to an endpoint's base URL to list models, the cheapest authenticated call. base_url: what an endpoint's usually
    is. secret_header, secret_prefix: how a credential that is a key is sent. headers: what every call has besides. forms: of credentials
    that it takes (``apps.contracts.credentials``). versioned: its endpoints need an ``api_version``.
    """

    label: str
    models_path: str = "/models"
    base_url: str = ""
    secret_header: str = "authorization"
    secret_prefix: str = "Bearer "
    headers: Mapping[str, str] = MappingProxyType({})
    forms: tuple[str, ...] = ("key",)
    versioned: bool = False


KINDS: dict[str, Kind] = {
    "openai": Kind(label="OpenAI-compatible", base_url="https://api.openai.com/v1"),
    "anthropic": Kind(
        label="Anthropic",
        models_path="/models?limit=1000",
        base_url="https://api.anthropic.com/v1",
        secret_header="x-api-key",
        secret_prefix="",
        headers=MappingProxyType({"anthropic-version": "2023-06-01"}),
    ),
    "gemini": Kind(
        label="Google Gemini",
        models_path="/models?pageSize=1000",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        secret_header="x-goog-api-key",
        secret_prefix="",
    ),
    "azure": Kind(
        label="Azure OpenAI",
        base_url="https://NAME.openai.azure.com/openai/v1",
        secret_header="api-key",
        secret_prefix="",
        forms=("key", "entra"),
    ),
    "azure-deployments": Kind(
        label="Azure OpenAI, by deployment and api-version",
        base_url="https://NAME.openai.azure.com/openai",
        secret_header="api-key",
        secret_prefix="",
        forms=("key", "entra"),
        versioned=True,
    ),
    "responses": Kind(label="OpenAI Responses only", base_url="https://api.openai.com/v1"),
    "bedrock": Kind(
        label="Amazon Bedrock (Converse)",
        models_path="/foundation-models?byOutputModality=TEXT",
        base_url="https://bedrock-runtime.us-east-1.amazonaws.com",
        forms=("key", "aws", "aws-default"),
    ),
    "vertex": Kind(
        label="Vertex AI (Gemini)",
        models_path="/publishers/google/models?pageSize=1000",
        base_url="https://LOCATION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION",
        secret_header="x-goog-api-key",
        secret_prefix="",
        forms=("key", "google"),
    ),
    "vertex-anthropic": Kind(
        label="Vertex AI (Anthropic)",
        models_path="/publishers/anthropic/models?pageSize=1000",
        base_url="https://LOCATION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION",
        secret_header="x-goog-api-key",
        secret_prefix="",
        forms=("key", "google"),
    ),
    "cohere": Kind(label="Cohere", models_path="/v1/models?page_size=1000&endpoint=chat", base_url="https://api.cohere.com"),
    "ollama": Kind(label="Ollama (its own API)", models_path="/api/tags", base_url="http://127.0.0.1:11434"),
}
"""Every kind a provider can have; the name is the dialect's name in the proxy."""

SOURCE_MANUAL = "manual"
SOURCE_BOOK = "genai-prices"
SOURCES = [(SOURCE_MANUAL, "Manual"), (SOURCE_BOOK, "genai-prices")]


CHECK_EVENT = "provider.check"
"""Kind of the event that records a change of an endpoint's state."""

OPENED_EVENT, CLOSED_EVENT, REFUSED_EVENT = "target.opened", "target.closed", "credential.refused"
"""Kinds of the facts that proxies report of targets (``apps.providers.watch``)."""

BREAKER_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("open", "Breaker open", "bad", "block", hint="Its attempts failed: nothing is sent there until a probe succeeds."),
        Status("half_open", "Probing", "warn", "progress", hint="Its breaker is half-open: one request at a time asks whether it is well."),
        Status("forced_open", "Forced open", "warn", "block", hint="A person keeps requests away from it."),
        Status("forced_closed", "Forced closed", "warn", hint="A person sends it requests whatever its failures."),
        Status("resting", "Resting", "warn", "clock", hint="It asked to be left alone for a while (Retry-After)."),
        Status("waiting", "Queueing", "warn", "clock", hint="It runs as much as its cap allows: requests wait for a place."),
    )
}
"""What proxies say of a target in trouble (``apps.providers.live``)."""
BREAKER_CLOSED = Status("closed", "Breaker closed", "good")
BREAKER_UNKNOWN = Status("unknown", "No proxy heard", "unknown", hint="No proxy runs that could say how its breaker stands.")
"""Of a target that no proxy names, where proxies are heard and where none is."""

CREDENTIAL_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("token", "Token held", "good", hint="Proxies have an access token, and renew it before it ends."),
        Status("waiting", "Waiting for a token", "unknown", "clock", hint="A proxy has just asked for its first access token."),
        Status("resting_model", "Resting for a model", "warn", "clock", hint="The provider refused it for a model; other models use it."),
        Status("old_token", "Token not renewed", "warn", hint="The old token serves until it ends."),
        Status("resting", "Refused, resting", "bad", "keys", hint="The provider refused it. It is tried again after its rest."),
        Status("no_token", "No token", "bad", "keys", hint="There is no access token: requests cannot use it."),
    )
}
"""What proxies say of an endpoint's credential (``apps.contracts.reports.CREDENTIAL_STATES``)."""

CHECK_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("up", "Reachable", "good"),
        Status("refused", "Credential refused", "bad", "keys"),
        Status("failing", "Answers with errors", "warn"),
        Status("down", "Unreachable", "bad", "plug"),
    )
}
"""up: answered 2xx (or 404/405: alive, but lists no models). refused: 401 or 403. failing: any other answer. down: no answer."""

TARGET_EVENTS: dict[str, tuple[str, Status]] = {
    OPENED_EVENT: ("Breaker opened", BREAKER_STATES["open"]),
    CLOSED_EVENT: ("Breaker closed", CHECK_STATES["up"]),
    REFUSED_EVENT: ("Credential refused", CHECK_STATES["refused"]),
}
"""How a provider's history shows what proxies told of its targets."""

PROVIDER_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("up", "Healthy", "good", hint="Its last checks were answered."),
        Status("answering", "Answering", "good", hint="Its traffic is answered; it was not checked lately."),
        Status("degraded", "Degraded", "warn", hint="Some attempts fail: 5% or more in this range."),
        Status("failing", "Check fails", "warn", hint="It answers its check with errors."),
        Status("unchecked", "Not checked yet", "unknown", hint="Checks run every five minutes."),
        Status("stale", "Not heard lately", "unknown", hint="The last check is old: is a Celery worker running?"),
        Status("failing_traffic", "Failing", "bad", hint="Half of its attempts or more fail in this range."),
        Status("refused", "Credential refused", "bad", "keys", hint="It refuses the credential."),
        Status("down", "Unreachable", "bad", "plug", hint="It does not answer its check."),
        Status("disabled", "Disabled", "neutral", "block", hint="No route calls it until it is enabled."),
    )
}
"""What a provider's pages say of it as a whole (``apps.providers.rules.provider_state``)."""

CHECK_STALE_MINUTES = 16
"""Three checks missed: what the last one said is no news any more."""
