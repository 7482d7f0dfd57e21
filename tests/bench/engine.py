"""``python -m tests.bench.engine``: what the built-in engine's HTTP costs, as a share of the tokens a second that its model makes without.

In one process and one run, many short rounds in pairs: the library's batching called directly, all answers at their end, and the same
requests as so many concurrent streams over HTTP, read by a client in a process of its own; whichever came first in one pair comes second in
the next. What is told is the median of the pairs' ratios with its 95% interval (bootstrap): whoever else uses the machine slows both of a
pair about alike. Beside the clock stands the processor's time, which they hardly move: of the process, and of the thread that serves HTTP.

On CUDA where there is a device, else on a processor, where engine and client get a core each. Weights are random. Needs ``var/engine``
(deploy/engine.py).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import queue
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SIZES = {
    "tiny": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    "base": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4},
    "small": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12, "num_attention_heads": 16, "num_key_value_heads": 4},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
}
ASKED = 5.0
"""Percent."""
PROMPT = [5 + at % 300 for at in range(15)]


LEAST_PAIRS = 6
RESAMPLES = 4_000


class Work(NamedTuple):
    """streams at once, tokens of each."""

    streams: int
    tokens: int


class Turn(NamedTuple):
    """What one round took a token, in seconds: by the clock, of the process's processor time, and of the thread's that serves HTTP. steps:
    how often the model was called."""

    clock: float
    process: float
    thread: float
    steps: int


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engine")
    parser.add_argument("--size", choices=tuple(SIZES), help="8b on CUDA, base on a processor")
    parser.add_argument("--streams", type=int, help="at once (64 on CUDA, 16 on a processor)")
    parser.add_argument("--tokens", type=int, help="of each answer (128 on CUDA, 16 on a processor)")
    parser.add_argument("--seconds", type=float, default=150.0, help=f"for all pairs, of which there are {LEAST_PAIRS} at least")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    given = arguments()
    if given.client:
        return client(given.client, Work(given.streams, given.tokens))
    if given.inside:
        return inside(given)
    from controlplane.launcher import engine

    python = engine.interpreter()
    if python is None:
        print("The engine's packages are not installed: python deploy/engine.py")
        return 1
    return subprocess.call([str(python), "-m", "tests.bench.engine", "--inside", *sys.argv[1:]])


# The engine's side


def inside(given: argparse.Namespace) -> int:
    import torch

    from apps.engine.built_in.generation import Writing, manager_of
    from apps.engine.built_in.loading import Options, kv_budget, quieted
    from apps.engine.built_in.sampling import processors
    from apps.engine.http.app import EngineApp

    cuda = torch.cuda.is_available()
    size = given.size or ("8b" if cuda else "base")
    work = Work(given.streams or (64 if cuda else 16), given.tokens or (128 if cuda else 16))
    cores = sorted(os.sched_getaffinity(0))
    if not cuda and len(cores) > 1:
        os.sched_setaffinity(0, cores[:1])
        torch.set_num_threads(1)
    quieted()
    found = random_model(size, cuda)
    called: list[None] = []
    found.model.register_forward_pre_hook(lambda *_: called.append(None))
    options = Options("", max_running=work.streams, context=2_048, kv_tokens=work.streams * 512)
    tokens, batch = kv_budget(found, options)
    writing = Writing(found, options)
    facts = writing.start()
    raw = manager_of(found, kv_tokens=tokens, batch_tokens=batch, max_running=work.streams)
    raw.logit_processor = processors(found.device)  # as the engine's own has: what is drawn by request is no work of HTTP
    raw.start()
    backend: Any = writing
    app = EngineApp(backend, "bench")
    app.opened(facts)
    url, loop_thread = served(app)
    weights = sum(part.numel() for part in found.model.parameters())
    where = torch.cuda.get_device_name() if cuda else f"a processor, {torch.get_num_threads()} thread"
    print(f"Llama, {weights / 1e9:.2f} billion random weights ({found.model.dtype}), on {where}; {facts.version}")
    print(f"{work.streams} answers at once, {work.tokens} tokens each, prompts of {len(PROMPT) + 1}; pairs for {given.seconds:g} s")
    flags = ["--streams", str(work.streams), "--tokens", str(work.tokens)]
    argv = [sys.executable, "-m", "tests.bench.engine", "--client", url, *flags]
    preset = (lambda: os.sched_setaffinity(0, cores[1:])) if not cuda and len(cores) > 1 else None
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=preset) as process:
        assert process.stdin is not None and process.stdout is not None

        def over_http() -> float:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        direct(raw, work, called)  # what is done once: kernels chosen, memory taken
        over_http()
        each = work.streams * work.tokens

        def turn(work_of: Callable[[], float]) -> Turn:
            process, thread, steps = time.process_time(), cpu_of(loop_thread), len(called)
            clock = work_of()
            process, thread = time.process_time() - process, cpu_of(loop_thread) - thread
            return Turn(clock / each, process / each, thread / each, len(called) - steps)

        pairs: list[tuple[Turn, Turn]] = []
        until = time.monotonic() + given.seconds
        while len(pairs) < LEAST_PAIRS or len(pairs) % 2 or time.monotonic() < until:
            if len(pairs) % 2 == 0:
                raw_turn = turn(lambda: direct(raw, work, called))
                pairs.append((raw_turn, turn(over_http)))
            else:
                http_turn = turn(over_http)
                pairs.append((turn(lambda: direct(raw, work, called)), http_turn))
        process.stdin.close()
    for at, said in enumerate(("batching called directly", "streamed over HTTP")):
        rates = sorted(1 / pair[at].clock for pair in pairs)
        print(f"  {said:<26} {statistics.median(rates):>9,.1f} tokens/s   ({rates[0]:,.0f} to {rates[-1]:,.0f} in {len(pairs)} rounds)")
    print(f"  HTTP costs, asked {ASKED:g}% at most:")
    for said, shares in (
        ("of the tokens a second, by the clock", [1 - bare.clock / http.clock for bare, http in pairs]),
        ("of the process's processor time a token", [1 - bare.process / http.process for bare, http in pairs]),
        ("of it in the thread that serves HTTP", [http.thread / http.process for _, http in pairs]),
    ):
        low, high = interval(shares)
        print(f"    {statistics.median(shares) * 100:5.1f}%  (95%: {low * 100:.1f} to {high * 100:.1f})  {said}")
    thread, model = statistics.median(http.thread for _, http in pairs), statistics.median(bare.process for bare, _ in pairs)
    print(f"  that thread: {thread * 1e6:,.0f} us a token; all without HTTP: {model * 1e6:,.0f} us")
    bare_steps, http_steps = (statistics.median(pair[at].steps for pair in pairs) for at in (0, 1))
    print(f"  steps of a round: {bare_steps:g} without HTTP, {http_steps:g} with it")
    raw.stop(block=True, timeout=5, hard_stop=True)
    writing.close()
    sys.stdout.flush()
    os._exit(0)


def interval(values: list[float]) -> tuple[float, float]:
    """The 95% interval of the median, by resampling."""
    chance = random.Random(0)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[RESAMPLES * 25 // 1000], medians[RESAMPLES * 975 // 1000]


def random_model(size: str, cuda: bool) -> Any:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from apps.engine.built_in.loading import Loaded
    from apps.engine.built_in.tiny import made

    device = torch.device("cuda", 0) if cuda else torch.device("cpu")
    vocabulary = 512 if size == "tiny" else 32_000 if size in ("base", "small") else 128_256
    config = LlamaConfig(vocab_size=vocabulary, max_position_embeddings=8_192, **SIZES[size])
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if cuda else torch.float32)
    with device:
        model = LlamaForCausalLM._from_config(config, attn_implementation="sdpa").eval()
    torch.set_default_dtype(before)
    with tempfile.TemporaryDirectory() as directory:
        tokenizer = AutoTokenizer.from_pretrained(made(Path(directory) / "tiny"))
    return Loaded(model, tokenizer, device, None, True, 2_048, frozenset())


def direct(manager: Any, work: Work, called: Sequence[None]) -> float:
    """Seconds for all answers, each told once, at its end. The first is begun alone, as the first of requests that come one after another
    over HTTP is: else the model would be called once less. called: grows with each of its steps."""
    began, before = time.perf_counter(), len(called)
    for at in range(work.streams):
        manager.add_request([at % 300 + 5, *PROMPT], max_new_tokens=work.tokens, eos_token_id=-1)
        while len(called) == before:
            time.sleep(0.0002)
    left = work.streams
    while left:
        output = manager.get_result(timeout=300)
        assert output is not None and output.error is None and len(output.generated_tokens) == work.tokens, output
        left -= 1
    return time.perf_counter() - began


def cpu_of(thread: threading.Thread) -> float:
    """Seconds of processor time that it has used."""
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def served(app: Any) -> tuple[str, threading.Thread]:
    """The application on its own loop in a thread, as a process of its own has it: its address, and the thread."""
    import uvicorn
    import uvloop

    from apps.engine.http.server import _bound

    sock = _bound("127.0.0.1", 0)
    config = uvicorn.Config(app, loop="none", http="httptools", ws="none", lifespan="off", access_log=False, log_level="warning")
    server = uvicorn.Server(config)
    listening: queue.Queue[bool] = queue.Queue()

    async def run() -> None:
        listening.put(True)
        await server.serve(sockets=[sock])

    thread = threading.Thread(target=lambda: uvloop.run(run()), daemon=True)
    thread.start()
    listening.get()
    return f"http://127.0.0.1:{sock.getsockname()[1]}", thread


# The client's side


def client(url: str, work: Work) -> int:
    import uvloop

    async def run() -> None:
        for line in sys.stdin:
            if line.strip() != "go":
                return
            began = time.perf_counter()
            counts = await asyncio.gather(*(stream(url, at, work.tokens) for at in range(work.streams)))
            assert all(count == work.tokens for count in counts), counts
            print(time.perf_counter() - began, flush=True)

    uvloop.run(run())
    return 0


async def stream(url: str, at: int, tokens: int) -> int:
    """Tokens that its usage tells. As lean as a client can be: it shares the machine with what is measured."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    prompt = [at % 300 + 5, *PROMPT]
    body = (
        f'{{"model":"bench","prompt":{prompt},"max_tokens":{tokens},"temperature":0,"ignore_eos":true,"stream":true,'
        '"stream_options":{"include_usage":true}}'
    ).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
    tail = b""
    while piece := await reader.read(65_536):
        tail = (tail + piece)[-1_000:]
    writer.close()
    assert b"data: [DONE]" in tail, tail
    return int(tail.rpartition(b'"completion_tokens":')[2].partition(b",")[0])


if __name__ == "__main__":
    sys.exit(main())
