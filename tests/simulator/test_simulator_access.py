"""Who is let in by a signature, a token, a region: AWS's own library signs, and reads what it is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from apps.proxy.dialects.eventstream import Framer
from apps.simulator.harness import SimulatorServer

KEYS = ["AKIDEXAMPLE:the-secret", "a-bearer"]
BODY = b'{"messages":[{"role":"user","content":[{"text":"hello"}]}],"inferenceConfig":{"maxTokens":3}}'
MODEL = "eu.anthropic.claude-sonnet-4-5-v1:0"
PATH = f"/model/{MODEL.replace(':', '%3A')}/converse"


@pytest.fixture
def guarded(sim: SimulatorServer) -> SimulatorServer:
    sim.control(api_keys=KEYS, region="eu-west-1")
    return sim


def signed(url: str, *, access: str = "AKIDEXAMPLE", secret: str = "the-secret", region: str = "eu-west-1", **more: Any) -> dict[str, str]:
    request = AWSRequest(method=more.get("method", "POST"), url=url, data=more.get("data", BODY))
    SigV4Auth(Credentials(access, secret, more.get("token")), more.get("service", "bedrock"), region).add_auth(request)
    return dict(request.headers.items())


def post(url: str, headers: dict[str, str], data: bytes = BODY) -> httpx.Response:
    return httpx.post(url, content=data, headers=headers)


def told(answer: httpx.Response) -> tuple[int, str]:
    """(status, the exception's name)."""
    return answer.status_code, answer.headers.get("x-amzn-errortype", "").partition(":")[0]


def test_a_good_signature(guarded: SimulatorServer) -> None:
    url = guarded.url + PATH
    answer = post(url, signed(url))
    assert answer.status_code == 200 and answer.json()["usage"]["outputTokens"] == 3
    assert post(url, signed(url, token="of temporary credentials")).status_code == 200
    assert post(url, {"authorization": "Bearer a-bearer"}).status_code == 200
    listed = f"{guarded.url}/foundation-models?byOutputModality=TEXT"
    assert httpx.get(listed, headers=signed(listed, method="GET", data=b"")).status_code == 200


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ({"secret": "another"}, "InvalidSignatureException"),
        ({"access": "AKIDNOBODY"}, "UnrecognizedClientException"),
        ({"region": "us-east-1"}, "InvalidSignatureException"),
        ({"service": "s3"}, "InvalidSignatureException"),
        ({"data": b"{}"}, "InvalidSignatureException"),
    ],
)
def test_a_bad_signature(guarded: SimulatorServer, how: dict[str, Any], name: str) -> None:
    url = guarded.url + PATH
    assert told(post(url, signed(url, **how))) == (403, name)


def test_what_is_no_signature(guarded: SimulatorServer) -> None:
    url = guarded.url + PATH
    assert told(post(url, {})) == (403, "MissingAuthenticationTokenException")
    assert told(post(url, {"authorization": "Bearer x"})) == (403, "AccessDeniedException")
    assert told(post(url, {"authorization": "AWS4-HMAC-SHA256 nothing"})) == (403, "IncompleteSignatureException")
    headers = signed(url)
    del headers["X-Amz-Date"]
    assert told(post(url, headers)) == (403, "InvalidSignatureException")
    headers = signed(url)
    long_ago = (datetime.now(UTC) - timedelta(minutes=20)).strftime("%Y%m%dT%H%M%SZ")
    headers["Authorization"] = headers["Authorization"].replace(headers["X-Amz-Date"][:8], long_ago[:8])
    headers["X-Amz-Date"] = long_ago
    answer = post(url, headers)
    assert told(answer) == (403, "InvalidSignatureException") and "expired" in answer.json()["message"]


def test_streams_are_framed_as_aws_frames_them(guarded: SimulatorServer) -> None:
    """Read by AWS's own parser of event streams, and by the proxy's."""
    from botocore.eventstream import EventStreamBuffer

    url = guarded.url + PATH + "-stream"
    data = post(url, signed(url)).content
    theirs = EventStreamBuffer()
    theirs.add_data(data)
    events = [(event.headers[":event-type"], event.payload) for event in theirs]
    assert [name for name, _ in events] == ["messageStart", *["contentBlockDelta"] * 3, "contentBlockStop", "messageStop", "metadata"]
    assert [(message.text(":event-type"), message.payload) for message in Framer().feed(data)] == events


def test_google_clouds_tokens_and_locations(sim: SimulatorServer) -> None:
    sim.control(api_keys=["ya29.token"], region="europe-west4")
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}

    def status(location: str, **headers: str) -> int:
        path = f"/v1/projects/p/locations/{location}/publishers/google/models/gemini-2.5-flash:generateContent"
        return httpx.post(sim.url + path, json=body, headers=headers).status_code

    assert status("europe-west4", Authorization="Bearer ya29.token") == 200
    assert status("us-central1", Authorization="Bearer ya29.token") == 404
    assert status("europe-west4", Authorization="Bearer old") == 401 == status("europe-west4")
