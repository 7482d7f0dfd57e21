"""Who is let in: keys in headers, as most providers take them, and AWS's signatures. No sockets."""

from __future__ import annotations

import hmac
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from urllib.parse import parse_qsl, quote

from apps.simulator.openai import Refused
from apps.simulator.wire import Knock

_KEY_HEADERS = (b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key")
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<access>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[a-z0-9;-]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_SKEW = timedelta(minutes=15)
"""AWS's own."""


def by_key(knock: Knock, keys: list[str] | None, region: str) -> None:
    """A key in whichever header its format has for it. Raises Refused."""
    sent = next((knock.headers[name] for name in _KEY_HEADERS if name in knock.headers), b"")
    if keys is not None and sent.decode("latin-1").removeprefix("Bearer ") not in keys:
        raise Refused("Incorrect API key provided (simulated).", status=401, code="invalid_api_key")


def by_token(knock: Knock, keys: list[str] | None, region: str) -> None:
    """Google Cloud's access token; the address names the region. Raises Refused."""
    sent = knock.headers.get(b"authorization", b"").decode("latin-1")
    if keys is not None and (not sent.startswith("Bearer ") or sent.removeprefix("Bearer ") not in keys):
        message = "Request had invalid authentication credentials. Expected OAuth 2 access token or other valid credential (simulated)."
        raise Refused(message, status=401)
    at = re.search(r"/locations/([^/]+)/", knock.target)
    if region and at is not None and at[1] != region:
        message = f"Publisher Model `{knock.target.lstrip('/')}` was not found or your project does not have access to it (simulated)."
        raise Refused(message, status=404)


def by_signature(knock: Knock, keys: list[str] | None, region: str) -> None:
    """AWS's Signature Version 4, or a Bedrock API key as a bearer. A key ``ACCESS:SECRET`` has its signatures checked, ``ACCESS`` their
    shape alone; region: the one that must have been signed for, empty for any. Raises Refused with AWS's own words."""
    sent = knock.headers.get(b"authorization", b"").decode("latin-1")
    if sent.startswith("Bearer "):
        if keys is not None and sent.removeprefix("Bearer ") not in keys:
            _refuse("AccessDeniedException", "Authentication failed: Please make sure your API Key is valid.")
        return
    if not sent:
        if keys is not None:
            _refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
        return
    match = _SIGNED.fullmatch(sent)
    if match is None:
        _refuse("IncompleteSignatureException", "Authorization header requires existence of Credential, SignedHeaders and Signature.")
        return
    signed = match["headers"].split(";")
    if "host" not in signed or "x-amz-date" not in signed or any(name.encode() not in knock.headers for name in signed):
        _refuse("InvalidSignatureException", "'Host' and 'X-Amz-Date' must be signed, and every signed header must be sent.")
    if match["service"] != "bedrock":
        _refuse("InvalidSignatureException", "Credential should be scoped to correct service: 'bedrock'.")
    if region and match["region"] != region:
        _refuse("InvalidSignatureException", "Credential should be scoped to a valid region.")
    _dated(knock, match["day"])
    if keys is None:
        return
    known = next((key for key in keys if key.partition(":")[0] == match["access"]), None)
    if known is None:
        _refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
    secret = (known or "").partition(":")[2]
    if secret and not hmac.compare_digest(signature_of(knock, secret, match), match["signature"]):
        _refuse(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing "
            "method. Consult the service documentation for details.",
        )


def _dated(knock: Knock, day: str) -> None:
    sent = knock.headers[b"x-amz-date"].decode("latin-1")
    try:
        signed_at = datetime.strptime(sent, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        _refuse("IncompleteSignatureException", f"Date must be in ISO-8601 'basic format'. Got '{sent}'.")
        return
    if not sent.startswith(day):
        _refuse("InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.")
    if abs(datetime.now(UTC) - signed_at) > _SKEW:
        _refuse("InvalidSignatureException", f"Signature expired: {sent} is not within 15 minutes of the server's time.")


def _refuse(code: str, message: str) -> None:
    raise Refused(f"{message} (simulated)", status=403, code=code)


def signature_of(knock: Knock, secret: str, match: re.Match[str]) -> str:
    """What this request's signature must be. Source: AWS's "Create a signed AWS API request"."""
    names = match["headers"].split(";")
    headers = "".join(f"{name}:{' '.join(knock.headers[name.encode()].decode('latin-1').split())}\n" for name in names)
    given = parse_qsl(knock.query, keep_blank_values=True)
    query = "&".join(sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in given))
    path = quote(knock.target, safe="/-_.~")
    asked = "\n".join((knock.method, path, query, headers, match["headers"], sha256(knock.body).hexdigest()))
    scope = f"{match['day']}/{match['region']}/{match['service']}/aws4_request"
    stamp = knock.headers[b"x-amz-date"].decode("latin-1")
    said = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(asked.encode()).hexdigest()}"
    key = b"AWS4" + secret.encode()
    for part in (match["day"], match["region"], match["service"], "aws4_request"):
        key = hmac.new(key, part.encode(), sha256).digest()
    return hmac.new(key, said.encode(), sha256).hexdigest()
