"""Deployments at AWS, Google Cloud and Azure: what LiteLLM says of them in many parameters, as one address and one credential."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from apps.contracts.credentials import CredentialError, canonical, credential_read
from controlplane.litellm.reading import Config, reference_of

PREFIXES = ("bedrock", "bedrock_converse", "vertex_ai", "vertex_ai_beta")
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-\d")
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(?:-preview)?")
_MOST = 65_536
_ELSEWHERE = ("aws_role_name", "aws_profile_name", "aws_web_identity_token", "aws_sts_endpoint")


class Cloud(NamedTuple):
    """secret: an account's canonical text; empty where it could not be read, because its variables are not set. words: what is
    different from before; empty: nothing."""

    kind: str
    base_url: str
    model: str
    secret: str
    words: str = ""


class NoPlace(Exception):
    """It does not come over; the message says why, and what to do."""


def cloud(prefix: str, model: str, params: Mapping[str, Any], config: Config) -> Cloud:
    """Where a deployment of one of ``PREFIXES`` is. Raises NoPlace."""
    return _bedrock(model, params, config) if prefix.startswith("bedrock") else _vertex(model, params, config)


def azure_version(params: Mapping[str, Any], config: Config) -> str:
    """The dated ``api_version`` of an Azure deployment; empty where there is none, and its v1 API is meant."""
    version = value_of(params.get("api_version") or "os.environ/AZURE_API_VERSION", config)
    return version if _VERSION.fullmatch(version) else ""


def azure_account(params: Mapping[str, Any], config: Config) -> str:
    """An Entra application's canonical text; empty where the parameters name none."""
    names = ("tenant_id", "client_id", "client_secret")
    said = {name: value_of(params.get(name), config) for name in names}
    return _account({"type": "entra", **said}) if all(said.values()) else ""


def value_of(given: Any, config: Config) -> str:
    """A parameter's value, its variable read from the file or the environment; empty where there is none."""
    variable = reference_of(given)
    if variable:
        found = config.variables.get(variable)
        return found if isinstance(found, str) and not reference_of(found) else os.environ.get(variable, "")
    return given.strip() if isinstance(given, str) else ""


def _account(said: Mapping[str, str]) -> str:
    try:
        return canonical(credential_read(json.dumps({name: value for name, value in said.items() if value})))
    except CredentialError as error:
        raise NoPlace(f"{error}; connect it by hand") from None


def _bedrock(model: str, params: Mapping[str, Any], config: Config) -> Cloud:
    words = ""
    first, slash, rest = model.partition("/")
    if first in ("converse", "converse_like", "invoke") and slash:
        words = "called through Converse instead of InvokeModel" if first == "invoke" else ""
        model = rest
        first, slash, rest = model.partition("/")
    named = value_of(params.get("aws_region_name"), config)
    if slash and _REGION.fullmatch(first):
        named, model = first, rest
    region = named or value_of("os.environ/AWS_REGION_NAME", config) or value_of("os.environ/AWS_REGION", config)
    base = value_of(params.get("aws_bedrock_runtime_endpoint") or params.get("api_base"), config).rstrip("/")
    if not region:
        raise NoPlace("it names no AWS region: set aws_region_name, or connect it by hand")
    if params.get("api_key"):
        secret = value_of(params["api_key"], config)
        return Cloud("bedrock", base or f"https://bedrock-runtime.{region}.amazonaws.com", model, secret, words)
    if used := [name for name in _ELSEWHERE if params.get(name)]:
        raise NoPlace(f"{used[0]} takes a role or profile; give proxies an access key, or their hosts the role, and connect it by hand")
    said = {
        "access_key_id": value_of(params.get("aws_access_key_id") or "os.environ/AWS_ACCESS_KEY_ID", config),
        "secret_access_key": value_of(params.get("aws_secret_access_key") or "os.environ/AWS_SECRET_ACCESS_KEY", config),
        "session_token": value_of(params.get("aws_session_token"), config),
        "region": region,
    }
    if not said["access_key_id"] and not params.get("aws_access_key_id"):
        words = "signed by AWS's default chain on the proxies' hosts, which their operator allows with BULKHEAD_AWS_DEFAULT_CHAIN=on"
        secret = _account({"type": "aws-default", "region": region})
    else:
        secret = _account({"type": "aws", **said}) if said["access_key_id"] and said["secret_access_key"] else ""
    return Cloud("bedrock", base or f"https://bedrock-runtime.{region}.amazonaws.com", model, secret, words)


def _vertex(model: str, params: Mapping[str, Any], config: Config) -> Cloud:
    project = value_of(params.get("vertex_project") or params.get("vertex_ai_project") or "os.environ/VERTEXAI_PROJECT", config)
    place = value_of(params.get("vertex_location") or params.get("vertex_ai_location") or "os.environ/VERTEXAI_LOCATION", config)
    name = model.removeprefix("gemini/")
    if "/" in name or not name.startswith(("gemini", "claude")):
        raise NoPlace("of Vertex AI, Google's Gemini and Anthropic's models are spoken to; connect others by their own APIs")
    if not project or not place:
        raise NoPlace("it names no vertex_project and vertex_location: set both, or connect it by hand")
    given = params.get("vertex_credentials") or params.get("vertex_ai_credentials") or "os.environ/GOOGLE_APPLICATION_CREDENTIALS"
    secret = _key_file(given if isinstance(given, Mapping) else value_of(given, config))
    host = "aiplatform.googleapis.com" if place == "global" else f"{place}-aiplatform.googleapis.com"
    kind = "vertex-anthropic" if name.startswith("claude") else "vertex"
    return Cloud(kind, f"https://{host}/v1/projects/{project}/locations/{place}", name, secret)


def _key_file(given: str | Mapping[str, Any]) -> str:
    """A service account, as JSON or by the path of its key file."""
    if isinstance(given, Mapping):
        text = json.dumps(dict(given))
    elif given.startswith("{") or not given:
        text = given
    else:
        try:
            with Path(given).expanduser().open("rb") as file:
                text = file.read(_MOST).decode()
        except (OSError, UnicodeDecodeError):
            raise NoPlace("its vertex_credentials name a file that cannot be read here; run where it lies, or connect it by hand") from None
    if not text:
        return ""
    try:
        return canonical(credential_read(text))
    except CredentialError as error:
        raise NoPlace(f"{error}; Google's other kinds of credentials are not known here; connect it by a service account") from None
