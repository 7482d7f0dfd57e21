"""A deployment of the engine onnx: what it must say, what is filled in, what its workers are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apps.audit.errors import ServiceError
from apps.fleet.memory import estimate_encoder
from apps.fleet.models import Deployment
from apps.fleet.orders import desired_of
from apps.fleet.reconciling import fleet_reconcile
from tests.fleet.test_memory import BERT

MODEL = {"source": "path", "location": "/models/e5"}


@pytest.mark.django_db
def test_its_orders_say_the_task_and_the_format(agent: Callable[..., Any], deploy: Callable[..., Deployment]) -> None:
    one = agent("w1")
    one.beat()
    row = deploy("e5", engine="onnx", artifact=MODEL, tasks=["embeddings"], arguments={"max-num-seqs": "8"})
    assert row.artifact["format"] == "onnx" and row.tasks == ["embeddings"]
    fleet_reconcile()
    (spec,) = desired_of(one.id).replicas
    assert (spec.engine, list(spec.tasks), spec.artifact.format, spec.arguments) == ("onnx", ["embeddings"], "onnx", {"max-num-seqs": "8"})


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tasks": ["chat"]}, "tasks"),
        ({"tasks": ["embeddings", "rerank"]}, "tasks"),
        ({"artifact": {**MODEL, "format": "safetensors"}}, "artifact"),
        ({"artifact": {}}, "artifact"),
        ({"memory": None, "config": BERT, "arguments": {"max-num-batched-tokens": "many"}}, "arguments"),
    ],
)
def test_what_it_cannot_do_is_refused(deploy: Callable[..., Deployment], changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ServiceError) as refused:
        deploy("e5", **{"engine": "onnx", "artifact": MODEL, "tasks": ["rerank"], **changes})
    assert refused.value.field == field


@pytest.mark.django_db
def test_its_memory_has_no_kv_cache(deploy: Callable[..., Deployment]) -> None:
    facts = {"engine": "onnx", "tasks": ["classify"], "config": BERT, "memory": None, "artifact": {**MODEL, "quantisation": "int8"}}
    row = deploy("e5", **facts, arguments={"max-num-batched-tokens": "1024"})
    assert row.memory == estimate_encoder(BERT, context=8192, batch_tokens=1_024, quantisation="int8").total
