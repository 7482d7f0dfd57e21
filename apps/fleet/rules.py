"""Pure decisions about deployments. No ORM; every refusal is a ServiceError that says what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from apps.audit.errors import ServiceError
from apps.contracts.fleet import Artifact, HealthPolicy, WarmUp
from apps.contracts.fleet_facts import ENGINE_KINDS
from apps.fleet.scaling import PolicyError
from apps.fleet.scaling_document import policy_read

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,58}[a-z0-9])?")
TASKS = ("chat", "completions", "embeddings", "rerank", "classify")
ONNX_TASKS = ("embeddings", "rerank", "classify")
BUILT_IN_TASKS = ("chat", "completions", "embeddings")
MOST_REPLICAS = 1_000
MOST_GPUS = 16
MOST_MEMORY = 2**50
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,98}[A-Za-z0-9])?")
ARGUMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,99}")

LAUNCH = (
    "engine", "recipe", "engine_version", "model", "artifact", "arguments", "environment", "tasks", "gpus", "memory", "exclusive",
    "vendor", "max_waiting",
)  # fmt: skip
"""Fields that an engine is started with: a change of one makes a new revision."""


def check_name(name: str) -> str:
    """A deployment's name: what routes target as ``deployment:<name>``."""
    if not NAME.fullmatch(name):
        raise ServiceError(
            f"{name!r} is not a name: use 1 to 60 lower-case letters, digits, '-' or '.', starting and ending with a letter or digit",
            "name",
        )
    return name


def check_engine(engine: str, recipe: str) -> None:
    if engine not in ENGINE_KINDS:
        raise ServiceError(f"{engine!r} is not an engine: use one of {', '.join(ENGINE_KINDS)}", "engine")
    if engine == "command" and not recipe:
        raise ServiceError("name the recipe: the workers' settings hold the commands", "recipe")
    if engine != "command" and recipe:
        raise ServiceError("only the engine 'command' has recipes: leave it empty", "recipe")


def check_model(model: str) -> str:
    if not re.fullmatch(r"[^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]{0,198}[^\x00-\x20\x7f])?", model):
        raise ServiceError(f"{model!r} is not a model's name: use 1 to 200 characters without control characters", "model")
    return model


def check_artifact(engine: str, artifact: Mapping[str, Any]) -> Artifact:
    """As the contract has it. A path is absolute, a hub id ``organisation/model``; every engine but ``simulated`` needs a model."""
    try:
        found = msgspec.convert(dict(artifact), Artifact)
    except msgspec.ValidationError as error:
        raise ServiceError(f"the artifact cannot be read: {error}", "artifact") from None
    if found.source == "none":
        if engine not in ("simulated", "command"):
            raise ServiceError(f"the engine {engine} needs a model: a path on the worker, or a hub id", "artifact")
        return found
    if not found.location or any(ord(c) < 32 for c in found.location):
        raise ServiceError("say where the model is: a path on the worker, or a hub id", "artifact")
    if found.source == "path" and (not found.location.startswith("/") or ".." in found.location.split("/")):
        raise ServiceError(f"{found.location!r}: a path on the worker is absolute, without '..'", "artifact")
    if found.source == "hub" and not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", found.location):
        raise ServiceError(f"{found.location!r} is not a hub id: use organisation/model", "artifact")
    if found.digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", found.digest):
        raise ServiceError("a digest is sha256: and 64 hexadecimal digits", "artifact")
    if engine == "onnx" and found.format not in ("", "onnx"):
        raise ServiceError(f"the engine onnx reads ONNX, not {found.format}: manage.py export-onnx makes it of safetensors", "artifact")
    if engine == "onnx":
        found = msgspec.structs.replace(found, format="onnx")
    if found.format == "pickle" and not found.allow_pickle:
        raise ServiceError("pickled weights run code when they are read: convert them to safetensors, or allow them explicitly", "artifact")
    return found


def check_arguments(arguments: Mapping[str, Any]) -> dict[str, str | None]:
    """The engine's own, without leading dashes: name -> value, None for a flag. Its worker checks them against its allow-list."""
    if len(arguments) > 100:
        raise ServiceError(f"{len(arguments)} arguments: use at most 100", "arguments")
    found: dict[str, str | None] = {}
    for name, value in arguments.items():
        if not ARGUMENT.fullmatch(str(name)):
            raise ServiceError(f"{name!r} is not an argument's name: write it without leading dashes", "arguments")
        text = None if value is None or value is True else str(value)
        if text is not None and (len(text) > 1_000 or any(ord(c) < 32 for c in text)):
            raise ServiceError(f"the value of {name} is too long or holds control characters", "arguments")
        found[str(name)] = text
    return found


def check_whole(arguments: Mapping[str, str | None], name: str, default: int) -> int:
    """An argument that is a number from 1 on."""
    text = arguments.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:12]) < 10**9:
        raise ServiceError(f"{name}={text}: use a whole number from 1 on", "arguments")
    return int(text)


def check_environment(names: Sequence[str]) -> list[str]:
    for name in names:
        if not VARIABLE.fullmatch(name):
            raise ServiceError(f"{name!r} is not a variable's name: use upper-case letters, digits and '_'", "environment")
    return list(dict.fromkeys(names))


def check_tasks(tasks: Sequence[str], engine: str = "") -> list[str]:
    """The first is what its health is asked by, so an engine that cannot chat must not be asked to."""
    for task in tasks:
        if task not in TASKS:
            raise ServiceError(f"{task!r} is not a task: use some of {', '.join(TASKS)}", "tasks")
    found = list(dict.fromkeys(tasks)) or ["chat"]
    if engine == "onnx" and (len(found) > 1 or found[0] not in ONNX_TASKS):
        raise ServiceError(f"the engine onnx does one thing for each model: name {', '.join(ONNX_TASKS[:-1])} or {ONNX_TASKS[-1]}", "tasks")
    if engine == "built_in" and (strange := [task for task in found if task not in BUILT_IN_TASKS]):
        raise ServiceError(f"the built-in engine does no {strange[0]}: name some of {', '.join(BUILT_IN_TASKS)}", "tasks")
    return found


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    if len(labels) > 50:
        raise ServiceError(f"{len(labels)} labels: use at most 50", "labels")
    for name, value in labels.items():
        if not LABEL.fullmatch(str(name)) or not isinstance(value, str) or len(value) > 100 or any(ord(c) < 32 for c in value):
            raise ServiceError(f"{name!r}: a label is a name and a short text, such as zone=a", "labels")
    return dict(labels)


def check_size(*, gpus: int, memory: int, context: int, concurrency: int) -> None:
    if not 0 <= gpus <= MOST_GPUS:
        raise ServiceError(f"{gpus} GPUs: a replica takes 0 (the host's processors) to {MOST_GPUS}", "gpus")
    if not 0 <= memory <= MOST_MEMORY:
        raise ServiceError("the memory of a replica is not negative and fits a machine", "memory")
    if gpus and not memory:
        raise ServiceError("say how much memory of each GPU it needs, or give the model's config.json to have it estimated", "memory")
    if context < 1 or concurrency < 1:
        raise ServiceError("context and concurrency are at least 1", "context")


def check_replicas(*, least: int, most: int, wanted: int | None) -> int:
    """How many are wanted: what was asked for, within the bounds."""
    if not 0 <= least <= most <= MOST_REPLICAS:
        raise ServiceError(f"{least} to {most} replicas: use 0 to {MOST_REPLICAS}, the least first", "least")
    if wanted is None:
        return max(least, min(most, 1))
    if not least <= wanted <= most:
        raise ServiceError(f"{wanted} replicas: the deployment runs {least} to {most}", "wanted")
    return wanted


def check_rollout(*, strategy: str, surge: int, drain_seconds: int) -> None:
    if strategy not in ("auto", "surge", "in_place"):
        raise ServiceError(f"{strategy!r}: use auto, surge or in_place", "strategy")
    if not 0 <= surge <= 100 or (strategy == "surge" and surge < 1):
        raise ServiceError("a surge is 1 to 100 replicas beside the old ones", "surge")
    if not 0 <= drain_seconds <= 86_400:
        raise ServiceError("a replica drains within a day", "drain_seconds")


def check_policies(*, warm_up: Mapping[str, Any], health: Mapping[str, Any]) -> None:
    for name, value, kind in (("warm_up", warm_up, WarmUp), ("health", health, HealthPolicy)):
        unknown = set(value) - set(kind.__struct_fields__)
        if unknown:
            raise ServiceError(f"{name} has no {sorted(unknown)[0]!r}: use some of {', '.join(kind.__struct_fields__)}", name)
        try:
            msgspec.convert(dict(value), kind)
        except msgspec.ValidationError as error:
            raise ServiceError(f"{name} cannot be read: {error}", name) from None


def check_scaling_mode(mode: str) -> str:
    if mode not in ("off", "dry_run", "on"):
        raise ServiceError(f"{mode!r}: use off, dry_run or on", "scaling_mode")
    return mode


def check_scaling(document: Mapping[str, Any], *, least: int, most: int) -> None:
    """Raises ServiceError where the document stands for no policy (``scaling_document``)."""
    try:
        policy_read(document, least=least, most=most)
    except PolicyError as error:
        raise ServiceError(str(error), "scaling") from None
