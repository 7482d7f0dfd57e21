"""OpenAI, set up at any start where ``OPENAI_API_KEY`` is there: credential, provider, routes, and a key of its own
behind a hard budget of five dollars a day.

Idempotent: what people changed since stays (routes, endpoints, the budget's limit); only a new value of the variable is
taken over. The key's token is kept in ``DATA_DIR/secrets``, so that a later start can print it again.
"""

from __future__ import annotations

from django.db import transaction

from apps.accounts.models import MAIN_ORGANISATION, Organisation
from apps.accounts.services import organisation_ensure
from apps.audit.actors import Actor
from apps.budgets.selectors import budgets_of
from apps.budgets.services import budget_set
from apps.contracts.money import from_dollars
from apps.keys.selectors import keys_of
from apps.keys.services import key_create, key_digest
from apps.providers.models import Provider
from apps.providers.rules import EndpointSpec
from apps.providers.services import credential_set, provider_ensure
from apps.publishing.services import publish
from apps.routes.models import Route, RouteAlias
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from controlplane import env
from controlplane.configfile.references import write_secret_file

BASE_URL = "https://api.openai.com/v1"
MODELS = ("gpt-4o-mini", "gpt-4.1-nano", "gpt-4.1-mini", "gpt-5-nano", "gpt-5-mini", "text-embedding-3-small")
"""Cheap models, the first of which the curl line uses; each is a route of its own name."""

KEY_NAME = "openai-first"
DAILY_DOLLARS = "5"
TOKEN_FILE = "openai_virtual_key"
REASON = "OPENAI_API_KEY is set"


def ensure_openai(*, actor: Actor, api_key: str) -> dict[str, str]:
    """Set OpenAI up in organisation ``main`` and publish. Returns ``{"key": the virtual key's token, "model": a route}``.

    Raises ServiceError where the value cannot be a credential; then nothing was changed.
    """
    path = env.data_dir() / "secrets" / TOKEN_FILE
    with transaction.atomic():
        organisation = organisation_ensure(actor=actor, slug=MAIN_ORGANISATION, name=_name_of_main())
        # Two starts at the same moment must not both make a key.
        Organisation.objects.select_for_update().get(pk=organisation.pk)
        _provider(actor, organisation, api_key.strip())
        _routes(actor, organisation)
        token = _stored_token()
        if not _opens_a_key(organisation, token):
            token = _key_with_budget(actor, organisation)
        publish(actor=actor, reason=REASON)
        if _stored_token() != token:
            # Last, inside the transaction: without its file a key would be of no use to anybody.
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            write_secret_file(path, token)
    return {"key": token, "model": MODELS[0]}


def _name_of_main() -> str:
    existing = Organisation.objects.filter(slug=MAIN_ORGANISATION).first()
    return existing.name if existing else "Main"


def _provider(actor: Actor, organisation: Organisation, api_key: str) -> None:
    credential_set(actor=actor, organisation=organisation, name="openai", value=api_key, source="env:OPENAI_API_KEY", reason=REASON)
    if not Provider.objects.filter(organisation=organisation, name="openai").exists():
        provider_ensure(
            actor=actor,
            organisation=organisation,
            name="openai",
            kind="openai",
            endpoints=[EndpointSpec("default", BASE_URL, credential="openai")],
            reason=REASON,
        )


def _routes(actor: Actor, organisation: Organisation) -> None:
    for model in MODELS:
        taken = Route.objects.filter(organisation=organisation, name=model).exists()
        if not taken and not RouteAlias.objects.filter(organisation=organisation, name=model).exists():
            route_ensure(actor=actor, organisation=organisation, name=model, targets=[TargetSpec("openai", model)], reason=REASON)


def _opens_a_key(organisation: Organisation, token: str) -> bool:
    return bool(token) and keys_of(organisation).filter(digest_rows__digest=key_digest(token)).exists()


def _key_with_budget(actor: Actor, organisation: Organisation) -> str:
    """A new key under the next free name, behind a budget of its own; its token. A key made earlier, whose token is not
    here any more, keeps its budget: somebody may still hold the token."""
    taken = set(keys_of(organisation).values_list("name", flat=True)) | set(budgets_of(organisation).values_list("name", flat=True))
    name = KEY_NAME
    number = 1
    while name in taken or f"{name}-day" in taken:
        number += 1
        name = f"{KEY_NAME}-{number}"
    key, token = key_create(
        actor=actor, organisation=organisation, name=name, feature="first-steps", environment="development", reason=REASON
    )
    budget_set(
        actor=actor,
        organisation=organisation,
        name=f"{name}-day",
        scope="key",
        scope_id=str(key.pk),
        window="day",
        timezone="UTC",
        limit_nano=from_dollars(DAILY_DOLLARS),
        reason=REASON,
    )
    return token


def _stored_token() -> str:
    path = env.data_dir() / "secrets" / TOKEN_FILE
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""
