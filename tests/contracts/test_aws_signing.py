"""AWS's signatures: its published examples, and the process step by step on a request to Bedrock."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

import botocore.auth
import pytest

from apps.contracts.aws_signing import sign_bedrock

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
MOMENT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)


@pytest.fixture(autouse=True)
def moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: MOMENT)


@pytest.mark.parametrize(
    ("method", "path", "signature"),
    [
        ("GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ],
)
def test_published_examples(method: str, path: str, signature: str) -> None:
    headers = sign_bedrock(method, f"https://example.amazonaws.com{path}", b"", KEY, SECRET, None, "us-east-1", "service")
    assert headers == {
        "x-amz-date": "20150830T123600Z",
        "authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={signature}",
    }


def test_a_request_to_bedrock_step_by_step() -> None:
    host, body = "bedrock-runtime.eu-west-1.amazonaws.com", b'{"messages":[]}'
    headers = sign_bedrock("POST", f"https://{host}/model/a.b-v1%3A0/converse", body, KEY, SECRET, "token", "eu-west-1")
    canonical = "\n".join(
        (
            "POST",
            "/model/a.b-v1%253A0/converse",  # encoded once more, as all services but one want it
            "",
            f"host:{host}",
            "x-amz-date:20150830T123600Z",
            "x-amz-security-token:token",
            "",
            "host;x-amz-date;x-amz-security-token",
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = "20150830/eu-west-1/bedrock/aws4_request"
    told = f"AWS4-HMAC-SHA256\n20150830T123600Z\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{SECRET}".encode()
    for step in (*scope.split("/"), told):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    assert headers["x-amz-security-token"] == "token"
    assert headers["authorization"].endswith(f"SignedHeaders=host;x-amz-date;x-amz-security-token, Signature={key.hex()}")


def test_a_changed_body_has_another_signature() -> None:
    one, other = (
        sign_bedrock("POST", "https://h/model/m/converse", body, KEY, SECRET, None, "us-east-1")["authorization"] for body in (b"a", b"b")
    )
    assert one != other
