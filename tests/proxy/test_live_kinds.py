"""Every kind of provider through a real proxy, to a simulation that speaks it and checks its keys, tokens and signatures."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from apps.contracts.snapshot import (
    CredentialFragment,
    Endpoint,
    Fragment,
    KeyFragment,
    PooledCredential,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    Resilience,
    RouteFragment,
    Target,
)
from apps.simulator.harness import SimulatorServer
from tests.proxy.lab import KEY, ORG, Lab
from tests.proxy.standalone import StandaloneProxy, digest_of, seal
from tests.proxy.token_endpoint import TokenEndpoint

SK, TOKEN, ACCESS, SECRET = "sk-of-a-provider", "token-of-an-account", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PLACE = "/v1/projects/acme/locations/europe-west4"
AWS = json.dumps({"type": "aws", "access_key_id": ACCESS, "secret_access_key": SECRET, "region": "eu-central-1"})
BASES = {
    "openai": "/v1",
    "azure": "/v1",
    "anthropic": "/v1",
    "gemini": "/v1beta",
    "responses": "/v1",
    "bedrock": "",
    "cohere": "",
    "ollama": "",
    "azure-deployments": "/openai",
    "vertex": PLACE,
    "vertex-anthropic": PLACE,
}
MODELS = {"vertex": "gemini-2.5-flash", "vertex-anthropic": "claude-sonnet-4-5@20250929", "bedrock": "eu.anthropic.claude-sonnet-4-5-v1:0"}
CREDENTIALS = {"bedrock": "aws", "vertex": "google", "vertex-anthropic": "google", "azure-deployments": "entra"}
"""Of kinds that are asked with another one than the key."""
USAGE = {"stream_options": {"include_usage": True}}
RESCUED = Resilience(rescue="any")


def model_of(kind: str) -> str:
    return MODELS.get(kind, f"model-of-{kind}")


def provider(name: str, kind: str, url: str, *pool: str, **limits: int) -> ProviderFragment:
    members = [PooledCredential(id=id, name=id, **limits) for id in pool] if len(pool) > 1 or limits else []
    endpoint = Endpoint(
        name="main",
        base_url=url + BASES[kind],
        credential=pool[0],
        credentials=members,
        api_version="2024-10-21" if kind == "azure-deployments" else "",
    )
    return ProviderFragment(
        id=f"p-{name}", name=name, kind=kind, organisation=ORG, simulated=True, allow_private_addresses=True, endpoints=[endpoint]
    )


def fragments(url: str, tokens: TokenEndpoint) -> list[Fragment]:
    secrets = {
        "key": SK,
        "aws": AWS,
        "google": tokens.google,
        "entra": tokens.entra,
        "dead": "sk-dead",
        "disabled": tokens.google.replace("/google", "/disabled"),
        "wrong-aws": AWS.replace("MDENG", "WRONG"),
        "default-chain": '{"type":"aws-default","region":"eu-central-1"}',
    }
    found: list[Fragment] = [CredentialFragment(id=id, sealed=seal(secret)) for id, secret in secrets.items()]
    found.append(KeyFragment(id="k-1", name="lab", public_id="laboratory", organisation=ORG, digests=[digest_of(KEY)]))
    found += [provider(kind, kind, url, CREDENTIALS.get(kind, "key")) for kind in BASES]
    found.append(provider("pooled", "openai", url, "dead", "key"))
    found.append(provider("all-dead", "openai", url, "dead", "wrong-aws-as-key"))
    found.append(CredentialFragment(id="wrong-aws-as-key", sealed=seal("sk-dead-too")))
    found.append(provider("one-at-a-time", "openai", url, "key", requests_per_minute=1))
    found.append(provider("wrong-signature", "bedrock", url, "wrong-aws"))
    found.append(provider("disabled", "vertex", url, "disabled"))
    found.append(provider("chain", "bedrock", url, "default-chain"))
    for route in [*BASES, "pooled", "all-dead", "one-at-a-time", "wrong-signature", "chain", "disabled"]:
        target = Target(provider=route, model=model_of(route) if route in BASES else f"m-{route}")
        found.append(RouteFragment(id=f"r-{route}", name=route, organisation=ORG, targets=[target]))
        found.append(
            PriceFragment(
                id=f"p-{route}/{target.model}",
                provider=route,
                model=target.model,
                versions=[PriceVersion(version="v", input=1_000_000, output=2_000_000)],
            )
        )
    for kind in ("bedrock", "ollama"):  # a stream that breaks off there goes on at another format
        targets = [Target(provider=kind, model=f"{model_of(kind)}-broken"), Target(provider="anthropic", model="claude-rescue")]
        found.append(RouteFragment(id=f"r-{kind}-broken", name=f"{kind}-broken", organisation=ORG, targets=targets, resilience=RESCUED))
    return found


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenEndpoint]:
    with TokenEndpoint(TOKEN) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tokens: TokenEndpoint) -> Iterator[Lab]:
    keys = [SK, TOKEN, f"{ACCESS}:{SECRET}"]
    with SimulatorServer("sim-kinds", scenario={"api_keys": keys}) as sim:
        folder = tmp_path_factory.mktemp("kinds")
        with (
            StandaloneProxy(fragments(sim.url, tokens), folder) as proxy,
            httpx.Client(base_url=proxy.url, timeout=60) as client,
        ):
            yield Lab(proxy, sim, sim, client)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_an_answer_comes_whole(lab: Lab, kind: str, stream: bool) -> None:
    got = lab.ask(kind, stream=stream, **(USAGE if stream else {}))
    assert got.whole, got.body
    record = lab.record(got)
    seen = lab.seen("east", model_of(kind))[-1]
    assert got.text and record["outcome"] == "ok" and not record["estimated"]
    assert record["tokens"]["output"] == seen["output_tokens"] > 0 and record["tokens"]["input"] == seen["input_tokens"] > 0


FAILURES = {400: ("answer", 400), 404: ("next", 404), 429: ("pause", 429), 500: ("again", 500), 503: ("again", 503)}


@pytest.mark.parametrize("kind", ["bedrock", "cohere", "ollama", "vertex", "vertex-anthropic", "azure-deployments"])
@pytest.mark.parametrize("status", FAILURES)
def test_an_error_is_told_in_openais_words(lab: Lab, kind: str, status: int) -> None:
    lab.script("east", model_of(kind), f"{status}x4")
    got = lab.ask(kind)
    lab.script("east", model_of(kind))
    told = json.loads(got.body)["error"]
    assert got.status == status and told["message"] and ("type" in told or kind.startswith("azure")), got.body
    attempts = lab.record(got)["attempts"]
    assert len(attempts) == (2 if FAILURES[status][0] == "again" else 1) and attempts[0]["error_code"] == f"http_{status}"


@pytest.mark.parametrize("kind", ["bedrock", "ollama"])
def test_a_stream_that_breaks_off_goes_on_in_another_format(lab: Lab, kind: str) -> None:
    lab.script("east", f"{model_of(kind)}-broken", "cut:events=5x1")
    got = lab.ask(f"{kind}-broken", stream=True, max_tokens=40, temperature=0)
    assert got.whole, got.body
    assert [role for _, role, _ in lab.roles(got)] == ["first", "rescue"]


def test_a_signature_that_is_wrong_is_a_refused_credential(lab: Lab) -> None:
    got = lab.ask("wrong-signature")
    assert (got.status, got.code) == (502, "upstream_credentials_exhausted"), got.body


def test_the_default_chain_is_the_operators_to_allow(lab: Lab) -> None:
    got = lab.ask("chain")
    assert (got.status, got.code) == (502, "upstream_credentials_exhausted"), got.body
    assert lab.record(got)["attempts"][0]["error_code"] == "http_401"


def test_another_credential_answers_for_a_dead_one(lab: Lab) -> None:
    first = lab.ask("pooled")
    assert first.whole, first.body
    assert [outcome for _, _, outcome in lab.roles(first)] == ["error", "ok"]
    for _ in range(3):  # it rests: nobody else pays for it
        assert [outcome for _, _, outcome in lab.roles(lab.ask("pooled"))] == ["ok"]
    assert lab.breaker("pooled/main/m-pooled") == "closed"


def test_where_all_are_dead_nobody_is_asked(lab: Lab) -> None:
    for expected in (2, 0, 0):
        got = lab.ask("all-dead")
        assert (got.status, got.code) == (502, "upstream_credentials_exhausted"), got.body
        assert len(lab.record(got)["attempts"]) == expected


def test_a_credentials_own_limit(lab: Lab) -> None:
    assert lab.ask("one-at-a-time").whole
    got = lab.ask("one-at-a-time")
    assert (got.status, got.code) == (429, "rate_limit_exceeded"), got.body
    assert "x-ratelimit-limit-requests" not in got.headers


def test_a_token_is_fetched_once_for_all_its_requests(lab: Lab, tokens: TokenEndpoint) -> None:
    before = tokens.asked
    for _ in range(3):
        assert lab.ask("vertex").whole
    assert tokens.asked == before


def test_an_account_that_gets_no_token_is_a_refused_credential(lab: Lab) -> None:
    for _ in range(2):
        got = lab.ask("disabled")
        assert (got.status, got.code) == (502, "upstream_credentials_exhausted"), got.body
        assert lab.record(got)["attempts"][0]["error_code"] == "http_401"
    assert "/disabled refused a token (403 access_denied: the account was disabled)" in lab.proxy.log.read_text()


def test_no_secret_is_in_any_log(lab: Lab) -> None:
    log = lab.proxy.log.read_text()
    assert not any(secret in log for secret in (SK, TOKEN, SECRET, "PRIVATE KEY", "entra-secret"))
