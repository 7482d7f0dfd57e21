"""Whether a directory is a model that this engine loads: JSON that is JSON, weights as safetensors, no code of the model's own.

The agent asks the same before it starts anything; an engine that is started by hand asks for itself.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from apps.engine.errors import UnfitModel

PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}\Z")


def checked(location: str) -> Path | None:
    """The model's directory; None for a hub's id, which is fetched with the same rules. Raises UnfitModel."""
    path = Path(location)
    if not path.is_dir():
        if not path.exists() and not path.is_absolute() and HUB_ID.match(location):
            return None
        what = "is a file" if path.exists() else "does not exist"
        raise UnfitModel(f"{location} {what}. Name the directory that has the model's config.json and weights.")
    found = {name: _json(path / name) for name in CONFIGS if (path / name).is_file()}
    if "config.json" not in found:
        raise UnfitModel(f"{path} has no config.json: it is no model as Hugging Face's libraries save it.")
    for name, document in found.items():
        if document.get("auto_map"):
            raise UnfitModel(f"{path / name} names code that comes with the model (auto_map). This engine runs no code of models.")
    if not any(path.glob("*.safetensors")):
        pickled = sorted(file.name for file in path.iterdir() if file.suffix in PICKLED)
        if pickled:
            raise UnfitModel(f"{path} holds pickled weights ({pickled[0]}), which can run any program. Convert them to safetensors.")
        raise UnfitModel(f"{path} holds no weights: no .safetensors file.")
    return path


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UnfitModel(f"{file} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UnfitModel(f"{file} is not a JSON object.")
    return found


def pooling_of(path: Path | None, *, causal: bool) -> str:
    """How a text's vectors become one: ``last``, ``mean`` or ``cls``; as sentence-transformers' file says, where there is one."""
    file = path / "1_Pooling" / "config.json" if path is not None else None
    if file is not None and file.is_file():
        said = _json(file)
        for key, name in (("pooling_mode_cls_token", "cls"), ("pooling_mode_lasttoken", "last"), ("pooling_mode_mean_tokens", "mean")):
            if said.get(key):
                return name
        raise UnfitModel(f"{file} asks for a pooling that this engine does not do. It does: the mean, the first token, the last one.")
    return "last" if causal else "mean"
