"""Wire formats: pure translation, no sockets, one file each. They do not know each other.

``DIALECTS`` is the register of what providers speak: a provider's ``kind`` names its dialect here and nowhere else. ``FRONTS`` is that
of what apps may speak beside OpenAI's chat completions, ``NATIVES`` of what passes through where both speak the same, ``BACKS`` of
formats by name, ``EMBEDDERS`` and ``RERANKERS`` of those that have embeddings and rerank.
"""

from apps.proxy.dialects.anthropic import AnthropicBack, AnthropicFront, AnthropicNative
from apps.proxy.dialects.anthropic_vertex import AnthropicVertexBack
from apps.proxy.dialects.base import Dialect, StreamWatch
from apps.proxy.dialects.bedrock import BedrockBack
from apps.proxy.dialects.bedrock_embeddings import BedrockEmbeddings
from apps.proxy.dialects.cohere import CohereBack
from apps.proxy.dialects.cohere_embeddings import CohereEmbeddings
from apps.proxy.dialects.cohere_rerank import CohereRerank
from apps.proxy.dialects.completions import CompletionsFront, CompletionsNative
from apps.proxy.dialects.gemini import GeminiArrayFront, GeminiBack, GeminiFront, GeminiNative, VertexBack
from apps.proxy.dialects.gemini_embeddings import GeminiEmbeddings
from apps.proxy.dialects.natives import Native
from apps.proxy.dialects.ollama import OllamaBack
from apps.proxy.dialects.ollama_embeddings import OllamaEmbeddings
from apps.proxy.dialects.openai import OpenAIDialect
from apps.proxy.dialects.responses import ResponsesBack, ResponsesFront
from apps.proxy.dialects.responses_watch import ResponsesNative
from apps.proxy.dialects.translated import TranslatedDialect
from apps.proxy.dialects.translation import Back, Embedder, Front
from apps.proxy.dialects.vertex_embeddings import VertexEmbeddings

FRONTS: dict[str, Front] = {
    "anthropic": AnthropicFront(),
    "completions": CompletionsFront(),
    "gemini": GeminiFront(),
    "gemini-array": GeminiArrayFront(),
    "responses": ResponsesFront(),
}
NATIVES: dict[str, Native] = {
    "anthropic": AnthropicNative(),
    "completions": CompletionsNative(),
    "gemini": GeminiNative(),
    "responses": ResponsesNative(),
}
BACKS: dict[str, Back] = {
    "anthropic": AnthropicBack(),
    "bedrock": BedrockBack(),
    "cohere": CohereBack(),
    "gemini": GeminiBack(),
    "ollama": OllamaBack(),
    "responses": ResponsesBack(),
    "vertex": VertexBack(),
    "vertex-anthropic": AnthropicVertexBack(),
}
EMBEDDERS: dict[str, Embedder] = {
    "bedrock": BedrockEmbeddings(),
    "cohere": CohereEmbeddings(),
    "gemini": GeminiEmbeddings(),
    "ollama": OllamaEmbeddings(),
    "vertex": VertexEmbeddings(),
}
RERANKERS: dict[str, Embedder] = {"cohere": CohereRerank()}
DIALECTS: dict[str, Dialect] = {
    "openai": OpenAIDialect(),
    "azure": OpenAIDialect(secret_header=b"api-key: %b", forms=("key", "entra")),
    "azure-deployments": OpenAIDialect(secret_header=b"api-key: %b", forms=("key", "entra"), deployments=True),
    "anthropic": TranslatedDialect(
        BACKS["anthropic"], secret_header=b"x-api-key: %b", headers={b"anthropic-version": b"2023-06-01"}, probe="/models"
    ),
    "gemini": TranslatedDialect(BACKS["gemini"], secret_header=b"x-goog-api-key: %b", probe="/models"),
    "responses": TranslatedDialect(BACKS["responses"], secret_header=b"authorization: Bearer %b", probe="/models"),
    "bedrock": TranslatedDialect(BACKS["bedrock"], secret_header=b"authorization: Bearer %b", forms=("key", "aws", "aws-default")),
    "cohere": TranslatedDialect(BACKS["cohere"], secret_header=b"authorization: Bearer %b", probe="/v1/models"),
    "ollama": TranslatedDialect(BACKS["ollama"], secret_header=b"authorization: Bearer %b", probe="/api/version"),
    "vertex": TranslatedDialect(BACKS["vertex"], secret_header=b"x-goog-api-key: %b", forms=("key", "google")),
    "vertex-anthropic": TranslatedDialect(BACKS["vertex-anthropic"], secret_header=b"x-goog-api-key: %b", forms=("key", "google")),
}

__all__ = [
    "BACKS",
    "DIALECTS",
    "EMBEDDERS",
    "FRONTS",
    "NATIVES",
    "RERANKERS",
    "Back",
    "Dialect",
    "Front",
    "Native",
    "StreamWatch",
    "TranslatedDialect",
]
