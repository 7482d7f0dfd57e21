"""Signatures of requests to AWS, made by AWS's own library. Each hashes the whole body: it is not for an event loop.

Source: AWS's "Signature Version 4 signing process".
"""

from __future__ import annotations

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_SIGNED = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")


def sign_bedrock(
    method: str,
    url: str,
    body: bytes,
    access_key: str,
    secret_key: str,
    session_token: str | None,
    region: str,
    service: str = "bedrock",
) -> dict[str, str]:
    """The headers that a request needs beside its own, good for the minutes that AWS allows clocks to differ.

    url: as it is asked, its path percent-encoded; its host must be the ``Host`` that is sent. session_token: of temporary credentials.
    """
    request = AWSRequest(method=method, url=url, data=body)
    SigV4Auth(Credentials(access_key, secret_key, session_token), service, region).add_auth(request)
    return {name.lower(): str(request.headers[name]) for name in _SIGNED if name in request.headers}
