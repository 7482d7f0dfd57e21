"""Every form of credential: read as its maker gives it, written canonically, refused with what to do and without a secret."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth import jwt

from apps.contracts.credentials import (
    AwsDefault,
    AwsKeys,
    CredentialError,
    EntraApp,
    GoogleAccount,
    Key,
    canonical,
    credential_read,
    region_of,
)
from apps.contracts.tokens_issued import TokenRefused, token_read, token_request

PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
GOOGLE = {
    "type": "service_account",
    "project_id": "acme",
    "private_key_id": "0123456789abcdef",
    "private_key": PEM,
    "client_email": "bulkhead@acme.iam.gserviceaccount.com",
    "client_id": "1234",
    "auth_uri": "https://accounts.google.com/o/oauth2/auth",
    "token_uri": "https://oauth2.googleapis.com/token",
    "universe_domain": "googleapis.com",
}
AWS = {"type": "aws", "access_key_id": "AKIDEXAMPLE12345", "secret_access_key": "wJalrXUtnFEMI/K7MDENG+b", "region": "eu-central-1"}
ENTRA = {"type": "entra", "tenant_id": "acme.onmicrosoft.com", "client_id": "c-1", "client_secret": "hush-hush~1"}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (GOOGLE, GoogleAccount("bulkhead@acme.iam.gserviceaccount.com", "0123456789abcdef", PEM, project="acme")),
        (AWS, AwsKeys("AKIDEXAMPLE12345", "wJalrXUtnFEMI/K7MDENG+b", region="eu-central-1")),
        ({"AccessKeyId": "AKIDEXAMPLE12345", "SecretAccessKey": "s", "SessionToken": "t"}, AwsKeys("AKIDEXAMPLE12345", "s", "t")),
        ({"type": "aws-default"}, AwsDefault()),
        (ENTRA, EntraApp("acme.onmicrosoft.com", "c-1", "hush-hush~1")),
        ({"appId": "c-1", "displayName": "x", "password": "p", "tenant": "t-1"}, EntraApp("t-1", "c-1", "p")),
    ],
)
def test_forms_as_their_makers_give_them(said: dict[str, str], found: object) -> None:
    read = credential_read(json.dumps(said, indent=2))
    assert read == found
    stored = canonical(read)
    assert "\n" not in stored and credential_read(stored) == read and canonical(credential_read(stored)) == stored


def test_anything_else_is_a_key() -> None:
    assert credential_read("sk-1") == Key("sk-1") and canonical(Key("sk-1")) == "sk-1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "no JSON object"),
        ('{"type": "magic"}', "use one of service_account, aws, aws-default, entra"),
        ("{}", "use one of"),
        (json.dumps({**AWS, "secret_access_key": ""}), "secret_access_key"),
        (json.dumps({**AWS, "region": "Mars!"}), "region"),
        (json.dumps({**GOOGLE, "private_key": "hush"}), "private_key"),
        (json.dumps({**GOOGLE, "token_uri": "ftp://x"}), "token_uri"),
        (json.dumps({**ENTRA, "tenant_id": "../other"}), "tenant_id"),
        (json.dumps({**ENTRA, "authority": "https://me:hush@x"}), "authority"),
        (json.dumps({**AWS, "session_token": ["hush"]}), "session_token"),
        ("{" + "x" * 20_000, "longer"),
    ],
)
def test_what_is_none_is_told_without_its_secret(text: str, told: str) -> None:
    with pytest.raises(CredentialError) as caught:
        credential_read(text)
    assert told in str(caught.value) and "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("bedrock-runtime.eu-west-3.api.aws", "eu-west-3"),
        ("vpce-1-abc.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com", "eu-central-1"),
        ("127.0.0.1", "eu-central-1"),
    ],
)
def test_a_request_is_signed_for_the_region_of_its_host(host: str, region: str) -> None:
    account = credential_read(json.dumps(AWS))
    assert isinstance(account, AwsKeys) and region_of(host, account) == region


def test_a_service_account_signs_an_assertion() -> None:
    account = credential_read(json.dumps(GOOGLE))
    assert isinstance(account, GoogleAccount)
    asked = token_request(account, 1_700_000_000)
    form = parse_qs(asked.body.decode())
    assert asked.url == account.token_uri and form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    claims = jwt.decode(form["assertion"][0], verify=False)
    assert claims["iss"] == account.email and claims["aud"] == account.token_uri and claims["exp"] - claims["iat"] == 3600
    with pytest.raises(CredentialError, match="cannot sign"):
        token_request(account._replace(private_key=PEM.replace("M", "N")), 0)


def test_entra_is_asked_with_the_clients_secret() -> None:
    asked = token_request(EntraApp("t-1", "c-1", "a&b=c"), 0)
    assert asked.url == "https://login.microsoftonline.com/t-1/oauth2/v2.0/token"
    assert parse_qs(asked.body.decode())["client_secret"] == ["a&b=c"]


def test_what_a_token_endpoint_may_answer() -> None:
    assert token_read("u", 200, b'{"access_token":"t","expires_in":3599}') == ("t", 3599.0)
    assert token_read("u", 200, b'{"access_token":"t","expires_in":"3599"}').lasts_seconds == 3599
    for status, body, lasting in (
        (400, b'{"error":"invalid_grant","error_description":"Invalid JWT Signature."}', True),
        (500, b'{"error":"busy"}', False),
        (200, b"<html>", False),
        (200, b'{"access_token":"t o","expires_in":3600}', False),
        (200, b'{"access_token":"t\\r\\nx: y","expires_in":3600}', False),
        (200, b'{"access_token":"t","expires_in":1}', False),
        (200, b'{"access_token":"t","expires_in":"soon"}', False),
        (200, b"[]", False),
    ):
        with pytest.raises(TokenRefused) as caught:
            token_read("https://x/token", status, body)
        assert caught.value.lasting is lasting and "https://x/token" in str(caught.value)
