"""Well-known providers: address, wire format, and how each is known to differ from the format that it speaks. Pure.

What is said here is what the provider's own documentation says; ``note`` names what a person should know before the first request.
"""

from __future__ import annotations

from typing import NamedTuple

from apps.providers.choices import KINDS


class Preset(NamedTuple):
    """A well-known address. private: it is a server of one's own, on this host. kind: its wire format. note: what differs; empty: nothing
    that matters. api_version: of kinds that need one."""

    label: str
    name: str
    base_url: str
    private: bool = False
    kind: str = "openai"
    note: str = ""
    api_version: str = ""


def _of(kind: str, label: str, note: str = "", api_version: str = "", *, private: bool = False) -> Preset:
    return Preset(label, kind, KINDS[kind].base_url, private, kind, note, api_version)


PRESETS: dict[str, Preset] = {
    "openai": Preset("OpenAI", "openai", "https://api.openai.com/v1"),
    "anthropic": _of("anthropic", "Anthropic"),
    "gemini": _of("gemini", "Google Gemini"),
    "vertex": _of(
        "vertex", "Vertex AI (Gemini)", "Put location and project into the address; the credential is a service account's key file."
    ),
    "vertex-anthropic": _of(
        "vertex-anthropic",
        "Vertex AI (Anthropic)",
        "Put location and project into the address; models are named as claude-sonnet-4-5@20250929.",
    ),
    "bedrock": _of(
        "bedrock",
        "Amazon Bedrock",
        "The region stands in the address. The credential is an AWS access key as JSON, or a Bedrock API key. Listing models takes the "
        "permission bedrock:ListFoundationModels; models served by profiles are written with their region, as eu.anthropic.claude-….",
    ),
    "azure": _of("azure", "Azure OpenAI (v1 API)", "Models are the names of your deployments."),
    "azure-deployments": _of(
        "azure-deployments",
        "Azure OpenAI (by deployment)",
        "Models are the names of your deployments; its list names those that could be.",
        "2024-10-21",
    ),
    "mistral": Preset(
        "Mistral",
        "mistral",
        "https://api.mistral.ai/v1",
        note="Refuses fields that it does not know. stream_options is not sent to it; max_completion_tokens and seed are, by its names.",
    ),
    "cohere": _of("cohere", "Cohere"),
    "groq": Preset(
        "Groq",
        "groq",
        "https://api.groq.com/openai/v1",
        note="Refuses logprobs, logit_bias, messages[].name and more than one choice.",
    ),
    "deepseek": Preset(
        "DeepSeek", "deepseek", "https://api.deepseek.com/v1", note="Takes no images; tells its thinking as reasoning_content."
    ),
    "xai": Preset("xAI", "xai", "https://api.x.ai/v1", note="Reasoning models refuse stop and penalties."),
    "together": Preset("Together AI", "together", "https://api.together.xyz/v1", note="Models are named as maker/model."),
    "fireworks": Preset(
        "Fireworks", "fireworks", "https://api.fireworks.ai/inference/v1", note="Models are named as accounts/fireworks/models/NAME."
    ),
    "openrouter": Preset("OpenRouter", "openrouter", "https://openrouter.ai/api/v1", note="Models are named as maker/model."),
    "perplexity": Preset(
        "Perplexity",
        "perplexity",
        "https://api.perplexity.ai",
        note="Searches the web for every answer, and bills requests beside tokens. Write its models' names, such as sonar, by hand.",
    ),
    "ollama": Preset("Ollama on this host", "ollama", "http://127.0.0.1:11434/v1", private=True),
    "ollama-native": _of("ollama", "Ollama on this host, its own API", "Tells thinking as Ollama words it.", private=True)._replace(
        name="ollama"
    ),
    "vllm": Preset("vLLM on this host", "vllm", "http://127.0.0.1:8000/v1", private=True),
    "sglang": Preset("SGLang on this host", "sglang", "http://127.0.0.1:30000/v1", private=True),
    "llama-cpp": Preset(
        "llama.cpp on this host", "llama-cpp", "http://127.0.0.1:8080/v1", private=True, note="One server serves one model."
    ),
    "tgi": Preset("TGI on this host", "tgi", "http://127.0.0.1:8080/v1", private=True, note="One server serves one model."),
    "lm-studio": Preset("LM Studio on this host", "lm-studio", "http://127.0.0.1:1234/v1", private=True),
    "custom": Preset("Another address", "", ""),
}
