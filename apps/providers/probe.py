"""One real call to an upstream that somebody is connecting: what it answered, or what to do about it.

Nothing is stored and nothing here raises for what an upstream does. Answers are bounded in bytes and time, the credential goes to the
typed address only, and no message repeats it.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from apps.providers import outbound
from apps.providers.authorised import NotAuthorised, credential_headers
from apps.providers.choices import KINDS
from apps.providers.rules import MODEL
from apps.providers.spoken import asked_url, models_url, spoken

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
CHAT_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
DEADLINE_SECONDS = 45.0
"""For a whole answer, so that one byte every few seconds holds nobody up."""
MOST_BYTES = 4 * 1024 * 1024
MOST_MODELS = 10_000
QUOTE = 300
"""Characters of a provider's own words that are shown."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where and how to call. ``secret`` is empty where the upstream asks for none."""

    base_url: str
    secret: str = ""
    kind: str = "openai"
    allow_private: bool = False
    verify_tls: bool = True
    ca_file: str = ""
    api_version: str = ""


class Problem(NamedTuple):
    """Why it did not work. code: a stable word. title: what happened. advice: what to do. said: the provider's own words, if any."""

    code: str
    title: str
    advice: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """The models an upstream lists, sorted. latency_us: until the answer's headers; None without an answer."""

    models: tuple[str, ...] = ()
    latency_us: int | None = None
    status: int | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """A tiny chat completion. text: the beginning of the answer. tokens: (input, output) as the upstream counts them."""

    model: str
    text: str = ""
    tokens: tuple[int, int] | None = None
    latency_us: int | None = None
    status: int | None = None
    problem: Problem | None = None


class _Answer(NamedTuple):
    status: int
    headers: httpx.Headers
    body: bytes
    latency_us: int


class _TooLarge(Exception):
    pass


class _TooSlow(Exception):
    pass


def models_list(address: Address, *, resolve: outbound.Resolve = outbound.resolve) -> Listed:
    """``GET <base_url>/models``."""
    answer = _call(address, "GET", models_url(address.kind, address.base_url, address.api_version), None, TIMEOUT, resolve)
    if isinstance(answer, Problem):
        return Listed(problem=answer)
    found = Listed(latency_us=answer.latency_us, status=answer.status)
    problem = _status_problem(address, answer) if answer.status != 200 else None
    if problem is None:
        names = _names(address, answer)
        if isinstance(names, Problem):
            problem = names
        else:
            return replace(found, models=names)
    return replace(found, problem=problem)


def listing_page(address: Address, *, more: str = "", resolve: outbound.Resolve = outbound.resolve) -> Any:
    """One page of an upstream's list of models, as JSON that says what it says, or the ``Problem``. more: what the page before says of the
    next one, as it goes into the query."""
    url = models_url(address.kind, address.base_url, address.api_version)
    if more:
        url += ("&" if "?" in url else "?") + more
    answer = _call(address, "GET", url, None, TIMEOUT, resolve)
    if isinstance(answer, Problem):
        return answer
    return _json(answer) if answer.status == 200 else _status_problem(address, answer)


def chat_try(address: Address, model: str, *, resolve: outbound.Resolve = outbound.resolve) -> Tried:
    """One chat completion of a few tokens. It costs what a few tokens cost."""
    form = spoken(address.kind)
    path, body = form.chat(model)
    url = asked_url(address.kind, address.base_url, path, address.api_version)
    answer = _call(address, "POST", url, body, CHAT_TIMEOUT, resolve)
    if not isinstance(answer, Problem) and answer.status == 400 and b"max_completion_tokens" in answer.body and "max_tokens" in body:
        # Reasoning models of OpenAI refuse the older name of the same bound.
        del body["max_tokens"]
        answer = _call(address, "POST", url, {**body, "max_completion_tokens": 256}, CHAT_TIMEOUT, resolve)
    if isinstance(answer, Problem):
        return Tried(model, problem=answer)
    tried = Tried(model, latency_us=answer.latency_us, status=answer.status)
    if answer.status != 200:
        return replace(tried, problem=_status_problem(address, answer, model=model))
    document = _json(answer)
    if isinstance(document, Problem):
        return replace(tried, problem=document)
    try:
        text, tokens = form.read(document)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return replace(tried, problem=_other_format(address)._replace(said=_quote(address, answer.body)))
    return replace(tried, text=text[:QUOTE], tokens=tokens)


# --- the call --------------------------------------------------------------------------------------------------------------


def _call(
    address: Address, method: str, url: str, body: Mapping[str, Any] | None, timeout: httpx.Timeout, resolve: outbound.Resolve
) -> _Answer | Problem:
    content = b"" if body is None else json.dumps(body).encode()
    headers = {"user-agent": "bulkhead-check", "accept": "application/json"} | ({"content-type": "application/json"} if body else {})
    try:
        headers |= credential_headers(
            address.kind,
            address.secret,
            method=method,
            url=url,
            body=content,
            allow_private=address.allow_private,
            resolve=resolve,
        )
    except NotAuthorised as error:
        return Problem("unauthorised", "There is no access with this credential", str(error))
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        problem = _transport_problem(address, error)
        return problem._replace(title="The credential's token could not be fetched", said=f"{problem.title}. {problem.said}".strip())
    started = time.perf_counter_ns()
    try:
        tls = outbound.tls_settings(verify=address.verify_tls, ca_file=address.ca_file)
        with (
            outbound.client(allow_private=address.allow_private, tls=tls, timeout=timeout, asked=resolve) as client,
            client.stream(method, url, headers=headers, content=content or None) as answer,
        ):
            latency_us = (time.perf_counter_ns() - started) // 1000
            return _Answer(answer.status_code, answer.headers, _read(answer, started), latency_us)
    except _TooLarge:
        return Problem("too_large", "The answer does not end", f"More than {MOST_BYTES >> 20} MiB came. Check the address.")
    except _TooSlow:
        return Problem(
            "timeout", "The answer trickles", f"It was not whole after {DEADLINE_SECONDS:.0f} s. Check the address, or try again."
        )
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return _transport_problem(address, error)


def _read(answer: httpx.Response, started: int) -> bytes:
    chunks, size = [], 0
    for chunk in answer.iter_bytes():
        size += len(chunk)
        if size > MOST_BYTES:
            raise _TooLarge
        if time.perf_counter_ns() - started > DEADLINE_SECONDS * 1e9:
            raise _TooSlow
        chunks.append(chunk)
    return b"".join(chunks)


# --- what to say about it --------------------------------------------------------------------------------------------------

_NOT_OPENAI = Problem(
    "not_openai",
    "The answer is not in OpenAI's format",
    "It is JSON, but without the fields that OpenAI's API has. Check that the address is the API's OpenAI-compatible base; "
    "many providers serve it under a path of its own.",
)


def _other_format(address: Address) -> Problem:
    """It is JSON, but not of the kind that was chosen."""
    if address.kind == "openai":
        return _NOT_OPENAI
    kind = KINDS[address.kind]
    advice = f"It is JSON, but without the fields of this format. Its base URL is usually {kind.base_url}; check that, or the wire format."
    return Problem("other_format", f"The answer is not in the format “{kind.label}”", advice)


_LOOPBACK_HINT = "If it is on this machine, check that it runs and listens on this port."


def _transport_problem(address: Address, error: Exception) -> Problem:
    """An answer that never came. The messages of the system are kept, the credential never is."""
    parts = urlsplit(address.base_url)
    where = parts.netloc
    said = _clean(address, str(error))
    if refused := outbound.cause_of(error, outbound.AddressRefused):
        return _refused(address, str(refused))
    if outbound.cause_of(error, outbound.NameUnknown):
        return Problem(
            "dns", f"The name {parts.hostname} does not resolve", "Check the spelling, and that this host can reach a name server.", said
        )
    tls = outbound.cause_of(error, ssl.SSLError)
    if tls is not None:
        return _tls_problem(address, tls)
    if isinstance(error, httpx.ConnectTimeout):
        return Problem(
            "timeout", f"No connection to {where} within 5 s", "A firewall may drop the packets. Check host, port and network.", ""
        )
    if isinstance(error, httpx.TimeoutException):
        return Problem(
            "timeout",
            f"{where} accepted the call and did not answer in time",
            "Try again; if it stays so, the server is overloaded or stuck.",
        )
    if outbound.cause_of(error, ConnectionRefusedError):
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return Problem("refused", f"Nobody listens on {parts.hostname}:{port}", f"Check the port. {_LOOPBACK_HINT}")
    if isinstance(error, httpx.ConnectError):
        return Problem(
            "unreachable", f"{where} cannot be reached", "Check host and network: there may be no way to that address from here.", said
        )
    if isinstance(error, (httpx.RemoteProtocolError, httpx.DecodingError)):
        hint = " If it serves TLS there, write https://." if parts.scheme == "http" else ""
        return Problem("protocol", f"{where} does not answer in valid HTTP", f"Something else listens there. Check the port.{hint}", said)
    if isinstance(error, OSError) and address.ca_file:
        return Problem("tls", "The CA file cannot be read", f"Check that {address.ca_file} exists and holds PEM certificates.", said)
    if isinstance(error, (httpx.InvalidURL, ValueError)):
        return Problem("address", "That is no address that can be called", "Write it as https://host/v1.", said)
    return Problem("broken", f"The connection to {where} broke", "Try again; if it stays so, a proxy or firewall may stand between.", said)


def _refused(address: Address, why: str) -> Problem:
    if address.allow_private:
        advice = "No model is served there, so no switch allows it. Write the provider's own address."
    else:
        advice = "Tick “Allow private addresses” if the provider really is there, such as a server of your own."
    return Problem("address_refused", "The outbound guard refused this address", advice, why)


def _tls_problem(address: Address, error: BaseException) -> Problem:
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    if "WRONG_VERSION_NUMBER" in str(error) or "RECORD_LAYER" in str(error):
        return Problem(
            "tls", "The server does not speak TLS on this port", "Write http:// instead of https://, or use its TLS port.", reason
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "Check the host name. For a server with your own authority, name its CA file once the provider is connected."
        if "self" in reason:
            advice = (
                "It is signed by itself or by an authority that is not trusted here: give the endpoint a CA file that it verifies against."
            )
        elif "expired" in reason:
            advice = "Its certificate has expired: whoever runs it has to renew it."
        return Problem("tls", "The certificate is not trusted", advice, reason)
    return Problem("tls", "TLS failed", "Check that this is the server's TLS port and that it speaks TLS 1.2 or newer.", reason)


def _status_problem(address: Address, answer: _Answer, *, model: str = "") -> Problem:
    said, status = _quote(address, answer.body), answer.status
    if region := _region_problem(address, status, said):
        return region
    if status == 402 or (status == 429 and (b"insufficient_quota" in answer.body or any(word in said.lower() for word in _NO_CREDIT))):
        advice = "The key works. Add credit or raise the limit on the provider's billing page, then test again."
        return Problem("no_quota", f"The account has no credit or quota left ({status})", advice, said)
    if status in (401, 403):
        title = "The key was refused" if address.secret else "The server asks for a key"
        advice = "Check that the key is whole, still active, and of this provider (and this account, project or region)."
        return Problem("unauthorised", f"{title} ({status})", advice if address.secret else "Fill in the key and test again.", said)
    if status in (404, 405):
        return _not_found(address, status, said, model)
    if status == 429:
        advice = "The key works, but its rate limit or its quota is used up. Wait a minute, or look at the provider's limits."
        return Problem("rate_limited", "Too many requests (429)", advice, said)
    if 300 <= status < 400:
        where = _clean(address, answer.headers.get("location", ""))[:QUOTE]
        advice = "Redirects are not followed, so that a key goes nowhere else. If you trust where it leads, write that address."
        return Problem("redirect", f"The server redirects ({status})", advice, where)
    if status >= 500:
        return Problem(
            "server_error", f"The server has a problem of its own ({status})", "Try again; if it stays so, see its status page.", said
        )
    advice = f"It refused the model {model!r}; read what it says." if model else "Read what it says, and check the address."
    return Problem("refused_request", f"The server refused the call ({status})", advice, said)


_NO_CREDIT = ("current quota", "billing", "credit", "payment")
_OTHER_REGION = ("scoped to a valid region", "correct regional api endpoint")


def _region_problem(address: Address, status: int, said: str) -> Problem | None:
    """Refused for where it was asked, as far as the provider says so: its key may be good elsewhere."""
    words = said.lower()
    if address.kind == "bedrock" and status == 403 and _OTHER_REGION[0] in words:
        advice = "The region in the address (or in the credential) is another than the endpoint's: write the same one in both."
        return Problem("wrong_region", "The request was signed for another region (403)", advice, said)
    if address.kind.startswith("vertex") and status == 404 and "publisher model" in words:
        advice = "Check location and project in the base URL: a model is served in some locations only, to projects that enabled it."
        return Problem("wrong_region", "This location or project has no such model (404)", advice, said)
    if address.kind.startswith("azure") and status == 401 and _OTHER_REGION[1] in words:
        advice = "A key of Azure belongs to one resource: check that the address is that resource's, and that the key is whole."
        return Problem("unauthorised", "The key was refused at this address (401)", advice, said)
    return None


def _not_found(address: Address, status: int, said: str, model: str) -> Problem:
    if model:
        advice = f"Either this key may not use {model!r}, or there are no chat completions at this address."
        return Problem("not_found", f"No such model or address ({status})", advice, said)
    path = urlsplit(address.base_url).path.rstrip("/")
    if KINDS[address.kind].base_url and address.kind not in ("openai", "responses", "anthropic"):
        advice = f"The base URL of this format is usually {KINDS[address.kind].base_url}"
    elif not path.endswith(("/v1", "/openai", "/api/v3", "/compatible-mode")) and "/v1" not in path:
        advice = f"The base URL usually ends in /v1. Try {address.base_url}/v1"
    else:
        advice = "Check the path. Some servers list no models: if this is one, write the models' names below and try a chat completion."
    return Problem("not_found", f"There is no list of models at this address ({status})", advice, said)


def _json(answer: _Answer) -> Any:
    """The document, or the problem that it is none."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        kind = answer.headers.get("content-type", "").partition(";")[0].strip()[:80]
        if "html" in kind or answer.body.lstrip()[:1] == b"<":
            advice = "It looks like a web page: this may be the provider's site, not its API. The base URL usually ends in /v1."
            return Problem("not_json", "The answer is a web page, not JSON", advice, kind)
        return Problem("not_json", "The answer is not JSON", "Check that the address is an OpenAI-compatible API.", kind)


def _names(address: Address, answer: _Answer) -> tuple[str, ...] | Problem:
    document = _json(answer)
    if isinstance(document, Problem):
        return document
    names = spoken(address.kind).names(document)
    if names is None:
        return _other_format(address)
    return tuple(sorted({name for name in names[:MOST_MODELS] if MODEL.fullmatch(name)}, key=str.casefold))


def _quote(address: Address, body: bytes) -> str:
    """The provider's own message, without its JSON and never with the credential."""
    text = body[:20_000].decode("utf-8", "replace")
    try:
        document = json.loads(body[:20_000])
        error = document.get("error", document) if isinstance(document, dict) else document
        text = str(error.get("message") or error.get("detail") or text) if isinstance(error, dict) else str(error)
    except (ValueError, RecursionError):
        if text.lstrip().startswith("<"):
            return ""
    return _clean(address, text)[:QUOTE]


def _clean(address: Address, text: str) -> str:
    if address.secret.startswith("{"):
        # An account is never sent whole: what it holds may be told back in parts.
        for part in re.findall(r'"((?:[^"\\]|\\.){12,})"', address.secret):
            text = text.replace(part, "[your credential]")
    elif address.secret:
        text = text.replace(address.secret, "[your key]")
    return "".join(character if character.isprintable() else " " for character in text).strip()
