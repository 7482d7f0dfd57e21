"""Responses, their streams and legacy completions against OpenAI's own description of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from apps.proxy.dialects.completions import CompletionsFront
from tests.conformance.recordings import needs_recordings, recordings
from tests.dialects.completions_recordings import as_chat
from tests.dialects.responses_recordings import BACK, FRONT, events_of, usable
from tests.scale import FULL

OPENAPI = Path(__file__).resolve().parents[3] / "shared" / "material" / "openapi" / "openai" / "openapi.yaml"
pytestmark = [
    needs_recordings,
    pytest.mark.skipif(not FULL, reason="reading OpenAI's description takes five seconds; `make accept` does"),
    pytest.mark.skipif(not OPENAPI.is_file(), reason=f"LOUD SKIP: no {OPENAPI.name} in the material"),
]
EVERY = 4
"""One in so many recordings."""


@pytest.fixture(scope="module")
def schemas() -> Registry[Any]:
    described = yaml.load(OPENAPI.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return Registry().with_resource("urn:openai", Resource.from_contents(described, default_specification=DRAFT202012))


def faults(schemas: Registry[Any], name: str, said: dict[str, Any]) -> Iterator[str]:
    validator = jsonschema.Draft202012Validator({"$ref": f"urn:openai#/components/schemas/{name}"}, registry=schemas)
    for error in validator.iter_errors(said):
        yield f"{said.get('type', name)} {list(error.absolute_path)}: {error.message[:300]}"


def test_what_apps_are_told_is_as_openai_describes_it(schemas: Registry[Any]) -> None:
    found: list[str] = []
    for recording in list(usable())[::EVERY]:
        if recording.status != 200 or recording.asked.get("background"):
            continue
        if recording.streamed:
            back, front = BACK.stream({}), FRONT.stream(recording.asked)
            told = b"".join([front.feed(chunk) for chunk in [*back.feed(recording.answer), *back.close()]]) + front.close()
            for event in events_of(told):
                found += faults(schemas, "ResponseStreamEvent", event)
        else:
            found += faults(schemas, "Response", FRONT.answer(BACK.answer(recording.answer, {}), recording.asked))
    assert found == []


def test_completions_are_as_openai_describes_them(schemas: Registry[Any]) -> None:
    front = CompletionsFront()
    for recording in list(recordings(host="api.openai.com", path="/v1/completions"))[::EVERY]:
        if not recording.streamed:
            told = front.answer(as_chat(json.loads(recording.answer)), recording.asked)
            assert list(faults(schemas, "CreateCompletionResponse", told)) == []
