"""Everything beside chat, by the stock SDK through a real proxy to a simulated provider: what comes back, and what it is booked at."""

from __future__ import annotations

import base64
import io
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from apps.contracts.snapshot import (
    BudgetFragment,
    CredentialFragment,
    Endpoint,
    Fragment,
    KeyFragment,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    RouteFragment,
    Target,
    UnitPriceFragment,
)
from apps.simulator.harness import SimulatorServer
from tests.proxy.standalone import StandaloneProxy, digest_of, seal

ORG = "organisation-1"
KEY, WALLED = "bk-operations-secret-of-the-ops", "bk-walledwall-secret-of-the-wall"
TOKENS = PriceVersion(version="tokens-1", input=5_000_000_000, output=40_000_000_000)
DOLLAR = 1_000_000_000
MILLION = 1_000_000
ROUTES: dict[str, list[tuple[str, str]]] = {
    "embed": [("openai", "text-embedding-3-small")],
    "embed-cohere": [("cohere", "embed-v4.0")],
    "embed-ollama": [("ollama", "nomic-embed-text")],
    "embed-gemini": [("gemini", "gemini-embedding-001")],
    "embed-bedrock": [("bedrock", "amazon.titan-embed-text-v2:0")],
    "embed-nobody": [("anthropic", "claude-sonnet-4-5")],
    "embed-second": [("anthropic", "claude-sonnet-4-5"), ("openai", "text-embedding-3-small")],
    "rank": [("cohere", "rerank-v3.5")],
    "rank-jina": [("openai", "jina-reranker-v2")],
    "moderate": [("openai", "omni-moderation-latest")],
    "picture": [("openai", "dall-e-3")],
    "picture-tokens": [("openai", "gpt-image-1")],
    "hear": [("openai", "whisper-1")],
    "hear-tokens": [("openai", "gpt-4o-transcribe")],
    "speak": [("openai", "tts-1")],
    "speak-tokens": [("openai", "gpt-4o-mini-tts")],
}
TOKEN_PRICED = (
    "text-embedding-3-small",
    "jina-reranker-v2",
    "gpt-image-1",
    "gpt-4o-transcribe",
    "gpt-4o-mini-tts",
    "omni-moderation-latest",
)
UNIT_PRICED = (
    ("openai", "dall-e-3", "image", 40_000_000, "", ""),
    ("openai", "dall-e-3", "image", 80_000_000, "hd", "1024x1024"),
    ("openai", "whisper-1", "second", 100_000, "", ""),
    ("openai", "tts-1", "character", 15_000, "", ""),
    ("cohere", "rerank-v3.5", "search", 2_000_000, "", ""),
)
"""Provider, model, unit, nano-dollars each, quality, size."""


def _fragments(url: str) -> list[Fragment]:
    bases = {
        "openai": ("openai", f"{url}/v1"),
        "cohere": ("cohere", url),
        "ollama": ("ollama", url),
        "gemini": ("gemini", f"{url}/v1beta"),
        "bedrock": ("bedrock", url),
        "anthropic": ("anthropic", f"{url}/v1"),
    }
    found: list[Fragment] = [CredentialFragment(id="c-1", sealed=seal("sk-of-the-provider"))]
    for name, (kind, base) in bases.items():
        endpoint = Endpoint(name="main", base_url=base, credential="c-1")
        found.append(
            ProviderFragment(
                id=f"p-{name}", name=name, kind=kind, organisation=ORG, simulated=True, allow_private_addresses=True, endpoints=[endpoint]
            )
        )
    for name, targets in ROUTES.items():
        at = [Target(provider=provider, model=model) for provider, model in targets]
        found.append(RouteFragment(id=f"r-{name}", name=name, organisation=ORG, targets=at))
    for model in TOKEN_PRICED:
        found.append(PriceFragment(id=f"p-openai/{model}", provider="openai", model=model, versions=[TOKENS]))
    for number, (provider, model, unit, nano, quality, size) in enumerate(UNIT_PRICED):
        found.append(
            UnitPriceFragment(
                id=f"u-{number}",
                organisation=ORG,
                provider=f"p-{provider}",
                model=model,
                unit=unit,
                amount=nano * MILLION,
                quality=quality,
                size=size,
            )
        )
    found.append(KeyFragment(id="k-1", name="ops", public_id="operations", organisation=ORG, digests=[digest_of(KEY)]))
    found.append(KeyFragment(id="k-2", name="walled", public_id="walledwall", organisation=ORG, digests=[digest_of(WALLED)]))
    found.append(
        BudgetFragment(id="b-1", name="wall", organisation=ORG, scope="key", scope_id="k-2", window="month", limit_nano=DOLLAR, hard=True)
    )
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SimulatorServer, StandaloneProxy]]:
    folder: Path = tmp_path_factory.mktemp("operations")
    environ = {"BULKHEAD_MAX_UPLOAD_BYTES": "200000", "BULKHEAD_MAX_BODY_BYTES": "100000"}
    with SimulatorServer("ops") as simulator, StandaloneProxy(_fragments(simulator.url), folder, environ=environ) as proxy:
        yield simulator, proxy


@pytest.fixture
def client(served: tuple[SimulatorServer, StandaloneProxy]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served[1].url}/v1", api_key=KEY, max_retries=0) as found:
        yield found


@pytest.fixture
def raw(served: tuple[SimulatorServer, StandaloneProxy]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served[1].url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as found:
        yield found


def record(client: openai.OpenAI, headers: Any) -> dict[str, Any]:
    found: Any = client.get(f"/requests/{headers['x-bulkhead-request-id']}", cast_to=object)
    return dict(found)


def wav(seconds: float, rate: int = 8_000) -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(bytes(int(seconds * rate) * 2))
    return held.getvalue()


# --- embeddings ---


@pytest.mark.parametrize("model", ["embed", "embed-cohere", "embed-ollama", "embed-gemini"])
def test_the_same_vectors_as_numbers_and_as_base64(client: openai.OpenAI, model: str) -> None:
    texts = ["one", "two", "Grüße 🌕"]
    packed = client.embeddings.create(model=model, input=texts, encoding_format="base64", dimensions=16)
    plain = client.embeddings.create(model=model, input=texts, encoding_format="float", dimensions=16)
    assert [len(row.embedding) for row in plain.data] == [16, 16, 16]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert isinstance(one.embedding, str)
        assert struct.unpack("<16f", base64.b64decode(one.embedding)) == pytest.approx(other.embedding, rel=1e-6)


def test_one_text_at_a_time_at_titan(client: openai.OpenAI) -> None:
    assert len(client.embeddings.create(model="embed-bedrock", input="one").data[0].embedding) > 0
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="embed-bedrock", input=["one", "two"])
    assert caught.value.code == "unsupported_operation" and caught.value.param == "input"
    assert "2 texts" in caught.value.message and "Titan takes 1" in caught.value.message


def test_tokens_instead_of_texts(client: openai.OpenAI) -> None:
    """Of a provider that reads them; another one cannot be told them, and the field is named."""
    assert len(client.embeddings.create(model="embed", input=[[1, 2, 3], [4]]).data) == 2
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="embed-cohere", input=[[1, 2, 3]])
    assert caught.value.param == "input[0]"


def test_a_target_that_has_none_is_not_asked(client: openai.OpenAI, served: tuple[SimulatorServer, StandaloneProxy]) -> None:
    given = client.embeddings.with_raw_response.create(model="embed-second", input="one")
    assert given.headers["x-bulkhead-target"] == "openai/main/text-embedding-3-small"
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="embed-nobody", input="one")
    assert "'embed-nobody'" in caught.value.message and "anthropic/main/claude-sonnet-4-5" in caught.value.message
    assert "no embeddings" in caught.value.message


@pytest.mark.parametrize("model", ["embed-gemini", "embed", "embed-cohere"])
def test_as_googles_apps_ask_for_them(raw: httpx.Client, client: openai.OpenAI, model: str) -> None:
    """The same vectors, whoever makes them; errors in Google's words."""
    texts = ["one", "two"]
    requests = [
        {"model": f"models/{model}", "content": {"parts": [{"text": text}]}, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8}
        for text in texts
    ]
    several = raw.post(f"/v1beta/models/{model}:batchEmbedContents", json={"requests": requests})
    assert several.status_code == 200, several.text
    plain = client.embeddings.create(model=model, input=texts, dimensions=8, encoding_format="float")
    assert [row["values"] for row in several.json()["embeddings"]] == [pytest.approx(row.embedding) for row in plain.data]
    one = raw.post(f"/v1beta/models/{model}:embedContent", json=requests[0])
    assert one.json()["embedding"]["values"] == several.json()["embeddings"][0]["values"], one.text
    assert record(client, one.headers)["kind"] == "embeddings"
    wrong = raw.post(f"/v1beta/models/{model}:batchEmbedContents", json={"requests": [{"content": {"parts": [{"inlineData": {}}]}}]})
    assert (wrong.status_code, wrong.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    unequal = [requests[0], {**requests[1], "outputDimensionality": 4}]
    mixed = raw.post(f"/v1beta/models/{model}:batchEmbedContents", json={"requests": unequal})
    assert mixed.status_code == (200 if model == "embed-gemini" else 400), mixed.text


# --- rerank ---


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_rerank_by_search_units(raw: httpx.Client, client: openai.OpenAI, path: str) -> None:
    documents = ["the moon is far", {"text": "tides follow the moon"}, "a recipe"]
    body = {"model": "rank", "query": "how far is the moon", "documents": documents, "top_n": 2, "return_documents": True}
    answer = raw.post(path, json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert [result["index"] for result in said["results"]] == [0, 1] and said["results"][0]["document"] == {"text": "the moon is far"}
    assert said["meta"]["billed_units"] == {"search_units": 1}
    found = record(client, answer.headers)
    assert (found["kind"], found["cost_nano"], found["estimated"]) == ("rerank", 2_000_000, False)
    assert found["attempts"][0]["tokens"]["details"]["meters"] == {"search": 1}


def test_rerank_by_tokens_and_what_is_wrong(raw: httpx.Client, client: openai.OpenAI) -> None:
    answer = raw.post("/v1/rerank", json={"model": "rank-jina", "query": "moon", "documents": ["the moon", "the sun"]})
    assert answer.status_code == 200, answer.text
    tokens = answer.json()["usage"]["total_tokens"]
    assert record(client, answer.headers)["cost_nano"] == tokens * 5_000
    for body, param in (
        ({"model": "rank", "documents": ["x"]}, "query"),
        ({"model": "rank", "query": "x"}, "documents"),
        ({"model": "rank", "query": "x", "documents": []}, "documents"),
        ({"model": "rank", "query": "x", "documents": [["x"]]}, "documents[0]"),
        ({"model": "rank", "query": "x", "documents": ["x"], "rank_fields": ["a"]}, "rank_fields"),
    ):
        refused = raw.post("/v2/rerank", json=body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), refused.text


# --- moderations ---


def test_moderations(client: openai.OpenAI) -> None:
    said = client.moderations.create(model="moderate", input=["peace", "violence"])
    assert [result.flagged for result in said.results] == [False, True]


# --- images ---


def test_images_are_priced_by_quality_and_size(client: openai.OpenAI) -> None:
    plain = client.images.with_raw_response.generate(model="picture", prompt="the moon", n=2, size="1024x1024", quality="standard")
    assert len(plain.parse().data or ()) == 2
    found = record(client, plain.headers)
    assert (found["cost_nano"], found["kind"]) == (80_000_000, "images")
    assert found["attempts"][0]["tokens"]["details"]["meters"] == {"image:standard:1024x1024": 2}
    dear = client.images.with_raw_response.generate(model="picture", prompt="the moon", size="1024x1024", quality="hd")
    assert record(client, dear.headers)["cost_nano"] == 80_000_000
    unsaid = client.images.with_raw_response.generate(model="picture", prompt="the moon")
    assert record(client, unsaid.headers)["cost_nano"] == 80_000_000, "where nobody says which it was, it is the dearest"


def test_images_by_tokens_made_and_edited(client: openai.OpenAI) -> None:
    made = client.images.with_raw_response.generate(model="picture-tokens", prompt="the moon")
    usage = made.parse().usage
    assert usage is not None and usage.output_tokens == 1_056
    assert record(client, made.headers)["cost_nano"] == usage.input_tokens * 5_000 + 1_056 * 40_000
    png = base64.b64decode((made.parse().data or [])[0].b64_json or "")
    edited = client.images.with_raw_response.edit(model="picture-tokens", image=("moon.png", png), prompt="a larger moon")
    assert edited.parse().data and record(client, edited.headers)["requested_model"] == "picture-tokens"
    assert client.images.create_variation(model="picture", image=("moon.png", png)).data


def test_a_streamed_image(client: openai.OpenAI) -> None:
    with client.images.with_streaming_response.generate(model="picture-tokens", prompt="x", stream=True, partial_images=2) as answer:
        kinds = [event.type for event in answer.parse()]
    assert kinds == ["image_generation.partial_image", "image_generation.partial_image", "image_generation.completed"]
    assert record(client, answer.headers)["tokens"]["output"] == 1_056


# --- sound ---


@pytest.mark.parametrize("form", ["json", "verbose_json", "text", "srt", "vtt"])
def test_transcriptions_in_every_format(client: openai.OpenAI, form: Any) -> None:
    given = client.audio.transcriptions.with_raw_response.create(model="hear", file=("a.wav", wav(2.5)), response_format=form)
    found = record(client, given.headers)
    assert (found["kind"], found["cost_nano"]) == ("transcriptions", 3 * 100_000)
    assert found["estimated"] is (form in ("text", "srt", "vtt")), "they say nothing of their usage: it is the file's own length"
    assert given.headers["content-type"].startswith("application/json" if "json" in form else "text/")
    assert given.http_response.text.strip()


def test_transcriptions_by_tokens_and_streamed(client: openai.OpenAI) -> None:
    given = client.audio.transcriptions.with_raw_response.create(model="hear-tokens", file=("a.wav", wav(2)))
    tokens = record(client, given.headers)["tokens"]
    assert tokens["input"] == 20 and tokens["details"]["audio_input"] == 20
    with client.audio.transcriptions.with_streaming_response.create(model="hear-tokens", file=("a.wav", wav(1)), stream=True) as answer:
        events = list(answer.parse())
    assert events[-1].type == "transcript.text.done"
    found = record(client, answer.headers)
    assert (found["stream"], found["tokens"]["input"], found["estimated"]) == (True, 10, False)
    assert client.audio.translations.create(model="hear", file=("a.wav", wav(1))).text


def test_speech_comes_as_it_is(client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(model="speak", input="Good evening", voice="alloy") as answer:
        sound = answer.read()
    with wave.open(io.BytesIO(sound)) as read:
        assert read.getnframes() > 0
    assert answer.headers["content-type"] == "audio/wav"
    found = record(client, answer.headers)
    assert (found["cost_nano"], found["kind"], found["estimated"]) == (12 * 15_000, "speech", False)


def test_speech_by_tokens_says_so_or_is_estimated(client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="speak-tokens", input="Good evening", voice="alloy", stream_format="sse"
    ) as answer:
        said = answer.read()
    assert b"speech.audio.done" in said
    told = record(client, answer.headers)
    assert told["tokens"]["output"] > 0 and told["estimated"] is False
    with client.audio.speech.with_streaming_response.create(model="speak-tokens", input="Good evening", voice="alloy") as answer:
        answer.read()
    guessed = record(client, answer.headers)
    assert guessed["estimated"] is True and guessed["cost_nano"] >= told["cost_nano"]


def test_a_call_made_again_is_given_the_first_ones_answer(raw: httpx.Client, served: tuple[SimulatorServer, StandaloneProxy]) -> None:
    """Also a form, whose boundary an SDK makes anew each time."""
    served[0].reset()
    said = [
        raw.post("/v1/audio/speech", json={"model": "speak", "input": "Hi", "voice": "a"}, headers={"idempotency-key": "speech-1"})
        for _ in range(2)
    ]
    assert said[0].content == said[1].content and [one.headers["content-type"] for one in said] == ["audio/wav", "audio/wav"]
    heard = [
        raw.post(
            "/v1/audio/transcriptions",
            data={"model": "hear", "response_format": "text"},
            files={"file": ("a.wav", wav(1))},
            headers={"idempotency-key": "heard-1"},
        )
        for _ in range(2)
    ]
    assert heard[0].text == heard[1].text and heard[1].headers["content-type"].startswith("text/plain"), heard[1].text
    other = raw.post(
        "/v1/audio/transcriptions", data={"model": "hear"}, files={"file": ("a.wav", wav(1))}, headers={"idempotency-key": "heard-1"}
    )
    assert other.status_code in (409, 422), other.text
    assert served[0].bill()["requests"] == 2


def test_sound_that_breaks_off_is_no_whole_answer(raw: httpx.Client, served: tuple[SimulatorServer, StandaloneProxy]) -> None:
    served[0].control(models={"tts-1": {"faults": ["cutx1"]}})
    body = {"model": "speak", "input": "Good evening " * 20, "voice": "alloy"}
    with pytest.raises(httpx.RemoteProtocolError):
        raw.post("/v1/audio/speech", json=body)


# --- what is refused ---


def test_uploads_are_bounded(raw: httpx.Client) -> None:
    large = raw.post("/v1/audio/transcriptions", data={"model": "hear"}, files={"file": ("a.wav", bytes(200_001))})
    assert large.status_code == 413 and "200000 bytes" in large.json()["error"]["message"]
    within = raw.post("/v1/audio/transcriptions", data={"model": "hear"}, files={"file": ("a.wav", wav(10))})
    assert within.status_code == 200, "more than JSON may have, less than a file may"
    assert raw.post("/v1/rerank", content=b" " * 100_001, headers={"content-type": "application/json"}).status_code == 413


@pytest.mark.parametrize(
    ("content", "content_type", "code"),
    [
        (b"{}", "application/json", "unsupported_media_type"),
        (b"", "multipart/form-data; boundary=x", "empty_body"),
        (b"--x\r\n", "multipart/form-data; boundary=x", "invalid_form"),
        (b"nothing", "multipart/form-data; boundary=x", "invalid_form"),
        (b"--x--\r\n", "multipart/form-data", "invalid_form"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", "missing_field"),
        (
            b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nhear\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            "missing_field",
        ),
        (b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nhear', "multipart/form-data; boundary=x", "invalid_form"),
        (
            b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\n\xff\xfe\r\n--x--',
            "multipart/form-data; boundary=x",
            "invalid_form",
        ),
    ],
)
def test_forms_that_are_none(raw: httpx.Client, content: bytes, content_type: str, code: str) -> None:
    answer = raw.post("/v1/audio/transcriptions", content=content, headers={"content-type": content_type})
    assert answer.json()["error"]["code"] == code, answer.text


def test_under_a_hard_budget_what_has_no_bound_is_refused(served: tuple[SimulatorServer, StandaloneProxy]) -> None:
    with openai.OpenAI(base_url=f"{served[1].url}/v1", api_key=WALLED, max_retries=0) as walled:
        with pytest.raises(openai.BadRequestError) as caught:
            walled.audio.transcriptions.create(model="hear", file=("a.webm", b"\x1aE\xdf\xa3" + bytes(100)))
        assert caught.value.code == "unbounded_cost" and "wav, mp3, flac" in caught.value.message
        with pytest.raises(openai.BadRequestError) as caught:
            walled.audio.speech.create(model="speak-tokens", input="x", voice="alloy")
        assert caught.value.code == "unbounded_cost" and "per character" in caught.value.message
        with pytest.raises(openai.BadRequestError) as caught:
            walled.images.generate(model="picture-tokens", prompt="x", size="gigantic")  # type: ignore[call-overload]
        assert caught.value.code == "unbounded_cost" and "'gigantic'" in caught.value.message
        with pytest.raises(openai.APIStatusError) as other:
            walled.embeddings.create(model="embed-cohere", input="x")
        assert other.value.code == "unpriced_model"
