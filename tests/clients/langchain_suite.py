"""LangChain's own standard tests of chat models: its OpenAI and Anthropic packages as they are, through the proxy to each format."""

from __future__ import annotations

import os
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

URL, KEY = os.environ["PROXY_URL"], os.environ["PROXY_KEY"]


class OfProxy(ChatModelIntegrationTests):
    """The simulator answers with words that mean nothing: what tests is the shape of what comes."""

    route = "by-openai"

    @property
    def supports_image_inputs(self) -> bool:
        return False  # the suite fetches its picture from the web

    @property
    def supports_image_urls(self) -> bool:
        return False

    @property
    def supports_json_mode(self) -> bool:
        return False  # it asks for two fields in words, which no simulator understands


class TestOpenAI(OfProxy):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.route, "base_url": f"{URL}/v1", "api_key": KEY, "max_retries": 0, "stream_usage": True}


class TestOpenAIByAnthropic(TestOpenAI):
    route = "by-anthropic"


class TestOpenAIByGemini(TestOpenAI):
    route = "by-gemini"


class TestResponses(TestOpenAI):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "use_responses_api": True}

    @property
    def has_stop(self) -> bool:
        return False


class TestResponsesByAnthropic(TestResponses):
    route = "by-anthropic"


class TestAnthropic(OfProxy):
    route = "by-anthropic"

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.route, "base_url": URL, "api_key": KEY, "max_retries": 0, "max_tokens": 500}


class TestAnthropicByOpenAI(TestAnthropic):
    route = "by-openai"


pytestmark = pytest.mark.filterwarnings("ignore")
