"""What engines tell, by version; what one does not tell is unknown, never 0."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.agent.engines.metrics import Reading, percentile, scraped, version_of

VLLM = """
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 7.0
%(kv)s{engine="0",model_name="m"} 0.25
%(kv)s{engine="1",model_name="m"} 0.75
vllm:prompt_tokens_total{model_name="m"} 1.2e+06
vllm:generation_tokens_total{model_name="m"} 34567.0
vllm:request_success_total{finished_reason="stop",model_name="m"} 10.0
vllm:request_success_total{finished_reason="length",model_name="m"} 5.0
vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="m"} 4.0
vllm:time_to_first_token_seconds_bucket{le="0.5",model_name="m"} 9.0
vllm:time_to_first_token_seconds_bucket{le="+Inf",model_name="m"} 10.0
%(itl)s_bucket{le="0.01",model_name="m"} 50.0
%(itl)s_bucket{le="+Inf",model_name="m"} 50.0
"""
NEW = {"kv": "vllm:kv_cache_usage_perc", "itl": "vllm:inter_token_latency_seconds"}
MIDDLE = {"kv": "vllm:kv_cache_usage_perc", "itl": "vllm:time_per_output_token_seconds"}
OLD = {"kv": "vllm:gpu_cache_usage_perc", "itl": "vllm:time_per_output_token_seconds"}


@pytest.mark.parametrize(
    ("version", "names", "source"),
    [("0.11.0", NEW, "vllm>=0.11"), ("0.18.1.dev3+g12", NEW, "vllm>=0.11"), ("v0.10.2", MIDDLE, "vllm>=0.9.2"),
     ("0.9.1", OLD, "vllm<0.9.2"), (None, NEW, "vllm>=0.11"), (None, OLD, "vllm<0.9.2")],
)  # fmt: skip
def test_vllm_by_version(version: str | None, names: dict[str, str], source: str) -> None:
    found = Reading("vllm").read(VLLM % names, version, at_ms=1)
    assert found is not None and found.source == source
    assert (found.running, found.waiting, found.kv_used, found.prompt_tokens, found.output_tokens) == (5, 7, 0.75, 1_200_000, 34_567)
    assert found.finished == 15 and found.preemptions is None and found.ttft_p50 == 0.5 and found.ttft_p95 is None
    assert found.itl_p95 == (0.01 if version is not None or names == NEW else found.itl_p95)


def test_a_name_of_another_version_is_unknown_and_not_zero() -> None:
    found = Reading("vllm").read(VLLM % OLD, "0.11.0", at_ms=1)
    assert found is not None and found.kv_used is None and found.itl_p50 is None and found.running == 5


def test_others() -> None:
    sglang = Reading("sglang").read(
        'sglang:num_running_reqs{m="x"} 2\nsglang:token_usage{m="x"} 0.4\nsglang:num_queue_reqs{m="x"} 0\n', None, at_ms=1
    )
    assert sglang is not None and (sglang.running, sglang.waiting, sglang.kv_used, sglang.ttft_p50) == (2, 0, 0.4, None)
    llama = Reading("llama-server").read("llamacpp:requests_processing 1\nllamacpp:requests_deferred 4\n", "b6000", at_ms=1)
    assert llama is not None and (llama.running, llama.waiting, llama.kv_used) == (1, 4, None)
    assert Reading("vllm").read("<html>welcome</html>", None, at_ms=1) is None
    assert Reading("").read(VLLM % NEW, None, at_ms=1) is None


def test_percentiles_are_of_the_last_minute_and_survive_a_restart() -> None:
    bucket = "vllm:time_to_first_token_seconds_bucket"
    text = f'vllm:num_requests_running 0\n{bucket}{{le="0.1"}} %d\n{bucket}{{le="1"}} %d\n'
    reading = Reading("vllm")
    first = reading.read(text % (100, 100), "0.11.0", at_ms=1_000)
    later = reading.read(text % (100, 110), "0.11.0", at_ms=30_000)
    anew = reading.read(text % (3, 3), "0.11.0", at_ms=40_000)
    assert first and later and anew
    assert (first.ttft_p95, later.ttft_p50, anew.ttft_p95) == (0.1, 1.0, 0.1)


@given(st.text(max_size=300))
def test_nonsense_is_read_without_harm(text: str) -> None:
    found = Reading("vllm").read(text + "\nvllm:num_requests_running NaN\n" + text, None, at_ms=1)
    assert found is None or found.running is None or found.running >= 0
    scraped(text)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.floats(0.01, 1))
def test_a_percentile_is_a_bound_that_holds(counts: list[int], share: float) -> None:
    total, buckets = 0, {}
    for edge, count in enumerate(counts, start=1):
        total += count
        buckets[float(edge)] = float(total)
    found = percentile(buckets, share)
    assert (found is None) == (total == 0)
    if found is not None:
        assert buckets[found] >= share * total and all(buckets[edge] < share * total for edge in buckets if edge < found)


def test_versions() -> None:
    assert (
        version_of("v0.9") == (0, 9, 0)
        and version_of("0.11.2rc1") == (0, 11, 2)
        and version_of("nightly") is None
        and version_of(None) is None
    )
