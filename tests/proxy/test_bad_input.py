"""Whatever a client sends, the proxy answers clearly in OpenAI's shape, loses nothing, and never with a 500."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.proxy.conftest import EXPIRED, KILLED, NARROW, OTHER_KEY, REVOKED
from tests.proxy.standalone import StandaloneProxy

MATERIAL = Path(__file__).resolve().parents[3] / "shared" / "material" / "vectors"
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
MODEL = b'"model":"chat","messages":[{"role":"user","content":"hello"}],"max_tokens":4'


def post(client: httpx.Client, body: bytes, **headers: str) -> httpx.Response:
    return client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json", **headers})


def error(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert set(body["error"]) == {"message", "type", "param", "code"}, body
    assert body["error"]["message"] and body["error"]["code"], body
    found: dict[str, Any] = body["error"]
    return found


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "empty_body"),
        (b"{", 400, "invalid_json"),
        (b'{"model":"chat"', 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"null", 400, "invalid_json"),
        (b'"text"', 400, "invalid_json"),
        (b"{'model':'chat'}", 400, "invalid_json"),
        (b'{"model":"chat",}', 400, "invalid_json"),
        (b"\xff\xfe{}", 400, "invalid_json"),
        (b'{"model":"\xff"}', 400, "invalid_json"),
        (b'{"a":NaN}', 400, "invalid_json"),
        (b"{" + MODEL + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "too_deep"),
        (b"{" + MODEL + b',"x":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}", 400, "too_deep"),
        (b"{" + MODEL + b',"model":"other"}', 400, "duplicate_key"),
        (b'{"mod\\u0065l":"other",' + MODEL + b"}", 400, "duplicate_key"),
        (b"{" + MODEL + b',"max_tokens" : 9}', 400, "duplicate_key"),
        (b"{" + MODEL + b',"metadata":{"a":"1","a":"2"}}', 400, "duplicate_key"),
        (b'{"messages":[]}', 400, "missing_field"),
        (b'{"model":7,"messages":[1]}', 400, "invalid_field"),
        (b'{"model":"","messages":[1]}', 400, "invalid_field"),
        (b'{"model":"' + b"m" * 300 + b'","messages":[1]}', 400, "invalid_field"),
        (b'{"model":"chat"}', 400, "missing_field"),
        (b'{"model":"chat","messages":[]}', 400, "invalid_field"),
        (b'{"model":"chat","messages":"hi"}', 400, "invalid_field"),
        (b"{" + MODEL + b',"stream":"yes"}', 400, "invalid_field"),
        (b"{" + MODEL + b',"stream":true,"stream_options":[]}', 400, "invalid_field"),
        (b"{" + MODEL + b',"n":0}', 400, "invalid_field"),
        (b"{" + MODEL + b',"n":1e3}', 400, "invalid_field"),
        (b"{" + MODEL + b',"max_completion_tokens":-1}', 400, "invalid_field"),
        (b"{" + MODEL + b',"max_completion_tokens":true}', 400, "invalid_field"),
        (b'{"model":"nowhere","messages":[{"role":"user","content":"x"}]}', 404, "model_not_found"),
        (b'{"model":"killed","messages":[{"role":"user","content":"x"}]}', 503, "route_killed"),
        (b'{"model":"disabled","messages":[{"role":"user","content":"x"}]}', 503, "route_disabled"),
    ],
)
def test_a_bad_body_gets_a_clear_error(client: httpx.Client, body: bytes, status: int, code: str) -> None:
    answer = post(client, body)
    assert (answer.status_code, error(answer)["code"]) == (status, code), answer.text
    seen = client.get(f"/v1/requests/{answer.headers['x-bulkhead-request-id']}").json()
    assert (seen["outcome"], seen["error_code"], seen["attempts"]) == ("refused", code, [])


def test_duplicate_text_in_content_is_no_duplicate_key(client: httpx.Client) -> None:
    text = json.dumps({**CHAT, "messages": [{"role": "user", "content": 'a "model": "x" : : {"a":1,"a":2}'}]}).encode()
    assert post(client, text).status_code == 200


def test_a_refusal_names_the_flag_that_acted(client: httpx.Client) -> None:
    answer = post(client, json.dumps({**CHAT, "model": "killed"}).encode())
    assert answer.headers["x-bulkhead-flags"] == "stop-r" and answer.json()["bulkhead"]["flags"] == ["stop-r"]


def test_an_unknown_model_lists_what_the_key_may_use(proxy: StandaloneProxy) -> None:
    answer = httpx.post(f"{proxy.url}/v1/chat/completions", json={**CHAT, "model": "embed"}, headers={"authorization": f"Bearer {NARROW}"})
    assert (answer.status_code, error(answer)["param"]) == (404, "model")
    assert answer.json()["bulkhead"]["models"] == ["chat", "chat-alias"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ({"content-type": "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"),
        ({"content-type": "application/json; charset=utf-16"}, 415, "unsupported_media_type"),
        ({"content-encoding": "gzip"}, 415, "unsupported_encoding"),
        ({"x-bulkhead-feature": "f" * 65}, 400, "invalid_field"),
        ({"x-bulkhead-tags": ",".join(f"t{i}" for i in range(17))}, 400, "invalid_field"),
    ],
)
def test_wrong_headers(client: httpx.Client, headers: dict[str, str], status: int, code: str) -> None:
    answer = post(client, json.dumps(CHAT).encode(), **headers)
    assert (answer.status_code, error(answer)["code"]) == (status, code)


@pytest.mark.parametrize("content_type", ["application/json; charset=UTF-8", "Application/JSON", "application/vnd.api+json"])
def test_spellings_of_json_are_accepted(client: httpx.Client, content_type: str) -> None:
    assert post(client, json.dumps(CHAT).encode(), **{"content-type": content_type}).status_code == 200


@pytest.mark.parametrize(
    ("authorization", "code", "status"),
    [
        (None, "missing_key", 401),
        ("", "missing_key", 401),
        ("Basic dXNlcjpwYXNz", "missing_key", 401),
        ("Bearer", "missing_key", 401),
        ("Bearer bk-abcdefghij-wrong", "invalid_api_key", 401),
        ("Bearer " + "x" * 5000, "invalid_api_key", 401),
        (f"Bearer {REVOKED}", "key_revoked", 401),
        (f"Bearer {EXPIRED}", "key_expired", 401),
        (f"Bearer {KILLED}", "key_killed", 403),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/requests/01a1fe21-9097-7958-b402-d51e211ec558"])
def test_keys(proxy: StandaloneProxy, path: str, authorization: str | None, code: str, status: int) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    if path == "/v1/chat/completions":
        answer = httpx.post(proxy.url + path, json=CHAT, headers=headers)
    else:
        answer = httpx.get(proxy.url + path, headers=headers)
    assert (answer.status_code, error(answer)["code"]) == (status, code)
    assert answer.headers["x-should-retry"] == "false"


def test_a_record_is_shown_to_its_own_key_only(proxy: StandaloneProxy, client: httpx.Client) -> None:
    id = post(client, json.dumps(CHAT).encode()).headers["x-bulkhead-request-id"]
    assert client.get(f"/v1/requests/{id}").json()["id"] == id
    other = httpx.get(f"{proxy.url}/v1/requests/{id}", headers={"authorization": f"Bearer {OTHER_KEY}"})
    assert (other.status_code, error(other)["code"]) == (404, "request_not_found")
    assert client.get("/v1/requests/nonsense").status_code == 404
    assert client.delete(f"/v1/requests/{id}").status_code == 405


def test_addresses(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert error(client.get("/nowhere"))["code"] == "not_found"
    answer = client.get("/v1/chat/completions")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    names = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert "chat" in names and "chat-alias" in names and names == sorted(names)
    assert client.get("/v1/models/chat").json()["id"] == "chat"
    assert client.get("/v1/models/nowhere").status_code == 404


def test_a_body_beyond_the_limit(client: httpx.Client) -> None:
    big = json.dumps({**CHAT, "messages": [{"role": "user", "content": "x" * 10_000_001}]}).encode()
    answer = post(client, big)
    assert (answer.status_code, error(answer)["code"]) == (413, "body_too_large")


def test_unknown_fields_pass_untouched(client: httpx.Client, east: Any) -> None:
    answer = post(
        client, b'{"bulkhead_sim":{"output_tokens":3},"future_field":{"big":123456789012345678901234567890,"f":1.10},' + MODEL + b"}"
    )
    assert answer.json()["usage"]["completion_tokens"] == 3


def test_the_json_test_suite(client: httpx.Client) -> None:
    """Every document of JSONTestSuite as a whole body and as a field: accepted or refused, never a 500, in agreement with RFC 8259."""
    folder = MATERIAL / "JSONTestSuite" / "test_parsing"
    if not folder.is_dir():
        pytest.skip(f"LOUD SKIP: JSONTestSuite is not at {folder}")
    files = sorted(folder.glob("*.json"))
    assert len(files) > 300
    for file in files:
        data = file.read_bytes()
        whole = post(client, data)
        assert whole.status_code == 400, (file.name, whole.text)
        assert error(whole)["code"] in ("invalid_json", "too_deep", "empty_body", "missing_field", "duplicate_key", "invalid_field"), (
            file.name
        )
        inside = post(client, b"{" + MODEL + b',"x":' + data + b"}")
        if file.name.startswith("y_") and "duplicated_key" not in file.name:
            assert inside.status_code == 200, (file.name, inside.text)
        elif file.name.startswith("n_") and inside.status_code == 200:
            json.loads(b"{" + MODEL + b',"x":' + data + b"}")  # e.g. a closing bracket that our frame supplies
        else:
            assert inside.status_code in (200, 400), (file.name, inside.text)


def test_the_naughty_strings(client: httpx.Client) -> None:
    path = MATERIAL / "blns" / "blns.json"
    if not path.is_file():
        pytest.skip(f"LOUD SKIP: the naughty strings are not at {path}")
    strings = json.loads(path.read_text())
    assert len(strings) > 500
    for text in strings:
        body = {**CHAT, "messages": [{"role": "user", "content": text}], "user": text, "metadata": {text[:60] or "k": text[:500]}}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, (text, answer.text)
        assert client.post("/v1/chat/completions", json={**CHAT, "model": text}).status_code in (400, 404), text
        feature = text.encode().replace(b"\r", b"").replace(b"\n", b"").replace(b"\x00", b"")
        if len(text) <= 40 and all(byte >= 32 and byte != 127 for byte in feature):
            answer = client.post("/v1/chat/completions", json=CHAT, headers=[(b"x-bulkhead-feature", feature.strip())])
            assert answer.status_code == 200, (text, answer.text)
