"""What the makers whose models Bedrock serves take in a request, read from a model's id. Source: AWS's user guide, "Converse", and the
makers' pages in "Model parameters".

An id is ``maker.model-version``, behind a region's prefix (``us.``) or inside the ARN of a profile; an ARN of an application's own profile
or of provisioned throughput names no maker, and is told only what Converse itself has words for.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from apps.proxy.dialects.anthropic_models import Generation, generation

_MAKER = re.compile(
    r"(?:^|[./])(ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot|moonshotai|nvidia|openai|qwen|writer|zai)\."
)
_STRUCTURED = frozenset({"deepseek", "google", "minimax", "mistral", "moonshot", "moonshotai", "nvidia", "openai", "qwen", "zai"})


class Model(NamedTuple):
    """name: in lower case. maker: empty where the id names none. claude: None for models of all other makers."""

    name: str
    maker: str
    claude: Generation | None

    @property
    def is_nova(self) -> bool:
        return self.maker == "amazon" and "nova" in self.name

    @property
    def takes_schema(self) -> bool:
        """``outputConfig.textFormat`` and tools that are ``strict``."""
        return self.claude.takes_schema if self.claude is not None else self.maker in _STRUCTURED or not self.maker

    @property
    def signs(self) -> bool:
        """Its thinking comes with a signature, and is wanted back with it: Claude's, or perhaps."""
        return self.claude is not None or not self.maker


def model_of(model: str) -> Model:
    name = model.lower()
    found = _MAKER.search(name)
    maker = found.group(1) if found is not None else "anthropic" if "claude" in name else ""
    return Model(name, maker, generation(name) if maker == "anthropic" else None)
