"""Any other server that speaks OpenAI's API, by a command of the worker's operator: an order names a recipe, never a command.

SGLang and llama-server come along. Further recipes stand in the TOML file that ``BULKHEAD_AGENT_RECIPES`` names::

    [mine]
    command = ["mine-server", "--model", "{model_path}", "--name", "{model}", "--port", "{port}", "{arguments}"]
    metrics = "vllm"                     # whose metric names it uses: vllm, sglang, llama-server; left out: none
    arguments = ["--context"]            # what an order may add
    bearer_variable = "MINE_API_KEY"     # by which it takes the token that it shall demand
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apps.agent.artifacts import Unfit
from apps.agent.engines.metrics import NAMES
from apps.agent.engines.protocol import EngineSettings, Launch, Place, Recipe, arguments_checked
from apps.contracts.env import SettingError
from apps.contracts.fleet import ReplicaSpec
from apps.contracts.fleet_facts import EngineKind, EngineOffer

SGLANG = (
    "import os, runpy, sys; key = os.environ.pop('SGLANG_BEARER', ''); sys.argv += ['--api-key', key] if key else []; "
    "runpy.run_module('sglang.launch_server', run_name='__main__', alter_sys=True)"
)
"""SGLang takes its token by argument only: it is added within the process, where no list of processes shows it."""
RECIPES: Mapping[str, Recipe] = {
    "sglang": Recipe(
        (
            "python3", "-c", SGLANG, "--model-path", "{model_path}", "--served-model-name", "{model}", "--host", "{host}",
            "--port", "{port}", "--enable-metrics", "{arguments}",
        ),
        vocabulary="sglang",
        bearer_variable="SGLANG_BEARER",
        arguments=frozenset(
            {
                "--attention-backend", "--chunked-prefill-size", "--context-length", "--disable-radix-cache", "--dp-size", "--dtype",
                "--kv-cache-dtype", "--max-running-requests", "--max-total-tokens", "--mem-fraction-static", "--quantization",
                "--random-seed", "--reasoning-parser", "--schedule-policy", "--tool-call-parser", "--tp-size",
            }
        ),
    ),
    "llama-server": Recipe(
        (
            "llama-server", "--model", "{model_path}", "--alias", "{model}", "--host", "{host}", "--port", "{port}", "--metrics",
            "{arguments}",
        ),
        vocabulary="llama-server",
        bearer_variable="LLAMA_API_KEY",
        arguments=frozenset(
            {
                "--batch-size", "--cont-batching", "--ctx-size", "--embeddings", "--flash-attn", "--gpu-layers", "--jinja", "--parallel",
                "--pooling", "--reranking", "--seed", "--threads", "--ubatch-size",
            }
        ),
    ),
}  # fmt: skip
_FIELDS = re.compile(r"\{(\w+)\}")
_KNOWN = frozenset({"model_path", "model", "host", "port", "bearer", "arguments"})
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_KEYS = frozenset({"command", "metrics", "health", "metrics_path", "bearer_variable", "arguments", "environment"})


class CommandEngine:
    """Runs the recipe that the order names."""

    kind: EngineKind = "command"

    def offers(self, settings: EngineSettings) -> list[EngineOffer]:
        found = []
        for name, recipe in sorted(settings.recipes.items()):
            missing = "" if shutil.which(recipe.argv[0]) else f"{recipe.argv[0]} is not installed here."
            if not missing or name not in RECIPES:
                found.append(EngineOffer(engine="command", recipe=name, problem=missing, bearer=demands(recipe)))
        return found

    def launch(self, spec: ReplicaSpec, place: Place, settings: EngineSettings) -> Launch:
        recipe = settings.recipes.get(spec.recipe)
        if recipe is None:
            known = ", ".join(sorted(settings.recipes)) or "none"
            raise Unfit("recipe_unknown", f"This worker has no recipe {spec.recipe!r}. It has: {known}. Its operator adds recipes.")
        program = shutil.which(recipe.argv[0])
        if program is None:
            raise Unfit("engine_missing", f"{recipe.argv[0]} is not installed on this worker.")
        if "{model_path}" in " ".join(recipe.argv) and not place.model_path:
            raise Unfit("artifact_missing", f"The recipe {spec.recipe!r} needs a model: a path on the worker, or an id of the hub.")
        if spec.bearer and not demands(recipe):
            raise Unfit("argument_refused", f"The recipe {spec.recipe!r} cannot demand a token: give it a bearer_variable.")
        words = arguments_checked(spec.arguments, recipe.arguments, f"The recipe {spec.recipe!r}")
        model = spec.model or spec.deployment
        filled = {
            "model_path": place.model_path, "model": model, "host": place.host, "port": str(place.port), "bearer": spec.bearer,
        }  # fmt: skip
        argv = [program]
        for word in recipe.argv[1:]:
            if word == "{arguments}":
                argv += words
            else:
                argv.append(_FIELDS.sub(lambda field: filled.get(field[1], field[0]), word))
        environment = dict(recipe.environment)
        if spec.bearer and recipe.bearer_variable:
            environment[recipe.bearer_variable] = spec.bearer
        return Launch(tuple(argv), model, environment, recipe.vocabulary, recipe.health, recipe.metrics)


def demands(recipe: Recipe) -> bool:
    """Whether its server can be told to demand a token."""
    return bool(recipe.bearer_variable) or any("{bearer}" in word for word in recipe.argv)


def recipes_read(path: Path | None) -> dict[str, Recipe]:
    """The recipes that come along, and the operator's. Raises SettingError with the file, the recipe and what it should be."""
    recipes = dict(RECIPES)
    if path is None:
        return recipes
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise SettingError(f"BULKHEAD_AGENT_RECIPES={str(path)!r} cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path}: {error}") from None
    for name, found in document.items():
        try:
            recipes[name] = _recipe(name, found)
        except (TypeError, ValueError) as error:
            raise SettingError(f"{path}: [{name}]: {error}") from None
    return recipes


def _recipe(name: str, found: Any) -> Recipe:
    if not _NAME.match(name):
        raise ValueError("a recipe's name is of lower case letters, digits, '.', '_' and '-'")
    if not isinstance(found, dict):
        raise ValueError("a recipe is a table with a command")
    if strange := found.keys() - _KEYS:
        raise ValueError(f"unknown: {', '.join(sorted(strange))}; use {', '.join(sorted(_KEYS))}")
    argv = found.get("command")
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) and word for word in argv):
        raise ValueError('command must be a list of words: ["server", "--port", "{port}"]')
    for word in argv:
        if odd := set(_FIELDS.findall(word)) - _KNOWN:
            raise ValueError(f"{word!r}: {{{odd.pop()}}} is not known; use {', '.join(sorted(_KNOWN))}")
    if "{port}" not in " ".join(argv):
        raise ValueError("command must tell the server its port: {port}")
    vocabulary = found.get("metrics", "")
    if vocabulary and vocabulary not in NAMES:
        raise ValueError(f"metrics = {vocabulary!r} is none of {', '.join(NAMES)}")
    return Recipe(
        tuple(argv),
        vocabulary,
        str(found.get("health", "/health")),
        str(found.get("metrics_path", "/metrics")),
        str(found.get("bearer_variable", "")),
        frozenset(map(str, found.get("arguments", []))),
        {str(key): str(value) for key, value in dict(found.get("environment", {})).items()},
    )
