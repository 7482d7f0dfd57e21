"""The form that connects a provider, filled in a browser, against a simulation that speaks its format and checks what it is sent.

Each kind: a wrong credential, the right one, its models with what is known of them, one completion, an account without credit, and
where it has one the wrong region. Normally one kind is walked, under ``make accept`` all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from apps.providers.choices import KINDS
from apps.simulator.harness import SimulatorServer
from tests.browser.conftest import Site, Watched
from tests.proxy.token_endpoint import TokenEndpoint
from tests.scale import FULL

pytestmark = [pytest.mark.browser, pytest.mark.slow]

KEY, TOKEN = "sk-the-right-one", "token-of-an-account"
ACCESS, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PLACE = "/v1/projects/acme/locations"


def _aws(region: str = "eu-west-1", secret: str = SECRET) -> str:
    return json.dumps({"type": "aws", "access_key_id": ACCESS, "secret_access_key": secret, "region": region})


class Form(NamedTuple):
    """base: below the simulation's address. model: one that it serves. known: the price book knows what it can do.
    right, wrong: credentials; ``google`` is an account whose tokens a token endpoint gives. elsewhere: (base, credential) of another
    region, and whether the list of models shows that already."""

    base: str
    model: str
    known: bool = False
    right: str = KEY
    wrong: str = "sk-wrong"
    version: str = ""
    elsewhere: tuple[str, str, bool] | None = None


FORMS = {
    "openai": Form("/v1", "sim-chat"),
    "anthropic": Form("/v1", "claude-sonnet-4-5", known=True),
    "gemini": Form("/v1beta", "gemini-2.5-flash", known=True),
    "azure": Form("/openai/v1", "gpt-4o-prod"),
    "azure-deployments": Form("/openai", "gpt-4o-prod", version="2024-10-21"),
    "responses": Form("/v1", "gpt-4o", known=True),
    "bedrock": Form(
        "",
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        known=True,
        right=_aws(),
        wrong=_aws(secret="another" * 5),
        elsewhere=("", _aws("us-east-1"), True),
    ),
    "vertex": Form(
        f"{PLACE}/eu-west-1",
        "gemini-2.5-flash",
        known=True,
        right="google",
        wrong='{"type": "service_account", "client_email": "a@b"}',
        elsewhere=(f"{PLACE}/us-central1", "google", False),
    ),
    "vertex-anthropic": Form(f"{PLACE}/eu-west-1", "claude-sonnet-4-5", known=True, right="google", wrong="{nothing"),
    "cohere": Form("", "command-a-03-2025", known=True),
    "ollama": Form("", "llama3.2"),
}


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    keys = [KEY, TOKEN, f"{ACCESS}:{SECRET}"]
    with SimulatorServer("sim-form", scenario={"api_keys": keys, "region": "eu-west-1"}) as running:
        yield running


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenEndpoint]:
    with TokenEndpoint(TOKEN) as endpoint:
        yield endpoint


def test_every_kind_of_provider_is_here() -> None:
    assert set(FORMS) == set(KINDS)


@pytest.mark.parametrize("kind", [kind for kind in FORMS if FULL or kind == "bedrock"])
def test_the_form(open_tab: Callable[..., Watched], site: Site, sim: SimulatorServer, tokens: TokenEndpoint, kind: str) -> None:
    form = FORMS[kind]
    sim.control(served=[form.model, f"{form.model}-second"], server={})
    watched = open_tab(width=1440)
    tab: Any = watched.tab
    tab.goto(f"{site.url}/providers/connect/?preset=custom")
    tab.locator("[name=kind]").select_option(kind)
    tab.locator("[name=name]").fill(f"form-{kind}")
    tab.locator("[name=base_url]").fill(sim.url + form.base)
    tab.locator("[name=api_version]").fill(form.version)
    tab.get_by_label("Allow private addresses").check()

    def credential(text: str) -> None:
        tab.locator("[name=secret]").fill(tokens.google if text == "google" else text)

    def pressed(button: str) -> str:
        """What the page says of the call."""
        tab.evaluate("document.querySelectorAll('main .notice, main .error').forEach(said => said.remove())")
        tab.get_by_role("button", name=button, exact=True).click()
        said = tab.locator("main .notice[data-focus], main .error").first
        said.wait_for()
        return str(said.inner_text())

    credential(form.wrong)
    said = pressed("Test")
    assert "refused" in said or "no access" in said or "credential" in said, said
    watched.shot(f"form-{kind}-wrong")
    credential(form.right)
    said = pressed("Test")
    assert "It answers in" in said and "lists 2 models" in said, said
    row = tab.locator(".choices tbody tr").filter(has=tab.locator(f"input[value='{form.model}']"))
    assert ("tokens of context" in row.inner_text()) == form.known, row.inner_text()
    row.get_by_role("checkbox").check()
    said = pressed("Try a completion")
    assert form.model in said and "answered in" in said and "tokens in and" in said, said
    watched.shot(f"form-{kind}-right")
    sim.control(server={"faults": ["429:body=quota"]})
    said = pressed("Try a completion")
    assert "no credit or quota left" in said and "The key works" in said and "It says:" in said, said
    if form.elsewhere is not None:
        base, other, listed = form.elsewhere
        tab.locator("[name=base_url]").fill(sim.url + base)
        credential(other)
        said = pressed("Test" if listed else "Try a completion")
        assert "region" in said or "location" in said, said
        watched.shot(f"form-{kind}-elsewhere")
    assert watched.violations() == []
