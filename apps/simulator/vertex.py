"""Vertex AI: Google's and Anthropic's formats at addresses of its own. No sockets.

A project and a location stand in the path; Claude's model stands there too, and not in the body. Source: Vertex AI's REST reference,
``projects.locations.publishers.models``.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from apps.simulator import anthropic, gemini
from apps.simulator.openai import SIMULATED, ChatCall, Refused, encode
from apps.simulator.wire import Asked

_PLACE = r"/v1(?:beta1)?/projects/[^/]+/locations/[^/]+"
PATH = re.compile(_PLACE + r"/publishers/google/models/(?P<model>[^/:]+):(?P<method>generateContent|streamGenerateContent)")
CLAUDE = re.compile(_PLACE + r"/publishers/anthropic/models/(?P<model>[^/:]+):(?P<method>rawPredict|streamRawPredict)")
LIST = re.compile(rf"(?:{_PLACE}|/v1(?:beta1)?)/publishers/(?P<publisher>google|anthropic)/models")
VERSION = "vertex-2023-10-16"


def models_body(names: list[str], publisher: str) -> bytes:
    rows = [{"name": f"publishers/{publisher}/models/{name}", "versionId": "001", "launchStage": "GA"} for name in names]
    return encode({"publisherModels": rows, SIMULATED: True})


def chat_call(asked: Asked) -> ChatCall:
    """Raises Refused."""
    return gemini.read(asked.body, unquote(asked.match["model"]), stream=asked.match["method"] == "streamGenerateContent")


def claude_call(asked: Asked) -> ChatCall:
    """Raises Refused."""
    if asked.body.get("anthropic_version") != VERSION:
        raise Refused(f"anthropic_version: Field required: {VERSION}")
    if "model" in asked.body:
        raise Refused("model: Extra inputs are not permitted")
    wants = asked.match["method"] == "streamRawPredict"
    return anthropic.read({**asked.body, "model": unquote(asked.match["model"]), "stream": wants})
