"""Engines and models that cannot serve: each ends in a clear state, with the reason and the last lines, and leaves no process behind."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apps.agent import replica
from apps.contracts.fleet import Artifact
from tests.agent.worker import HEALTH, RESTART, python, spec, worker

SERVER = """
import http.server, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body, kind="application/json"):
        self.send_response(status); self.send_header("content-type", kind); self.send_header("content-length", str(len(body)))
        self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        self.answer(*GET)
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"])); self.answer(*POST)
    def log_message(self, *arguments): pass
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
GARBAGE = """
import socket, sys, os
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening")
while True:
    c, _ = s.accept(); c.recv(9999); c.sendall(os.urandom(500)); c.close()
"""
SCRIPTS: dict[str, tuple[str, str, str]] = {
    "exits": ("print('bye'); raise SystemExit(0)", "exited", "exit code 0"),
    "fails": ("print('no such flag'); raise SystemExit(2)", "crashed", "did not understand its command line"),
    "crashes": ("import os; print('going', flush=True); os.abort()", "crashed", "SIGABRT"),
    "killed": ("import os, signal; print('x', flush=True); os.kill(os.getpid(), signal.SIGKILL)", "killed", "SIGKILL"),
    "memory": ("raise SystemExit('torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB')", "out_of_memory", "memory"),
    "code": ("raise SystemExit('ValueError: Please pass the argument trust_remote_code=True')", "remote_code", "code of its own"),
    "babbles": ("import os\nwhile True: os.write(1, os.urandom(4096))", "never_ready", "does not listen"),
    "silent": ("import time; print('loading weights', flush=True); time.sleep(600)", "never_ready", "does not listen"),
    "loads": (f"GET, POST = (503, b'loading'), (503, b'')\n{SERVER}", "never_ready", "not ready"),
    "garbage": (GARBAGE, "not_an_engine", "does not speak HTTP"),
    "errors": (
        f'GET, POST = (200, b\'\'), (500, b\'{{"error": {{"message": "CUDA error"}}}}\')\n{SERVER}',
        "serves_errors",
        "answered 500: CUDA error",
    ),
    "page": (f"GET, POST = (200, b''), (200, b'<html>hello</html>', 'text/html')\n{SERVER}", "not_an_engine", "not JSON"),
    "empty": (f"GET, POST = (200, b''), (200, b'{{\"choices\": []}}')\n{SERVER}", "not_an_engine", "without a generation"),
}


def offspring(state: Path) -> list[int]:
    """Processes that carry the mark of an agent's directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if f"BULKHEAD_AGENT_STATE={state}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.mark.kill
async def test_engines_that_are_none_each_say_why(tmp_path: Path) -> None:
    once = msgspec.structs.replace(RESTART, attempts=1)
    slow = msgspec.structs.replace(HEALTH, ready_seconds=30.0)
    brief, loading = (msgspec.structs.replace(HEALTH, ready_seconds=seconds) for seconds in (1.5, 6.0))
    patience = {"babbles": brief, "silent": brief, "loads": loading}  # what loads has to come so far that it says so, beside twelve others
    specs = {name: spec(engine="command", recipe=name, restart=once, health=patience.get(name, slow)) for name in SCRIPTS}
    async with worker(tmp_path, recipes={name: python(script) for name, (script, _, _) in SCRIPTS.items()}) as w:
        await w.order(*specs.values())
        for name, one in specs.items():
            _, reason, words = SCRIPTS[name]
            failed = await w.failed(one.replica)
            assert (failed.reason, words in failed.message) == (reason, True), (name, failed)
            if name == "babbles":
                assert failed.lines and all(line.isprintable() for line in failed.lines)
            if name == "silent":
                assert failed.lines == ["loading weights"]
        await w.until(lambda: all(r.state == "failed" and r.retry_at is None for r in w.agent.replicas.values()), "given up")
        state = w.settings.state
        await w.until(lambda: not offspring(state), "nothing left")


async def test_an_engine_that_turns_bad_is_replaced(tmp_path: Path) -> None:
    script = f"""
import os
GET, POST = (200, b''), (200, b'{{"choices": [{{"message": {{"content": "a"}}}}]}}')
{SERVER.replace("self.answer(*POST)", "self.answer(*POST) if not os.path.exists(BAD) else self.answer(500, b'worn out')")}
""".replace("BAD", repr(str(tmp_path / "bad")))
    one = spec(engine="command", recipe="turns")
    async with worker(tmp_path, recipes={"turns": python(script)}) as w:
        await w.order(one)
        first = await w.reported(one.replica, "ready")
        assert first.metrics is None or first.metrics.running is None  # it tells nothing, which is not 0
        (tmp_path / "bad").touch()
        failed = await w.failed(one.replica)
        assert failed.reason == "serves_errors" and "worn out" in failed.message
        (tmp_path / "bad").unlink()
        await w.until(lambda: (r := w.control.report(one.replica)) and r.state == "ready" and r.pid != first.pid, "replaced")


def safetensors(path: Path, cut: int = 0) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(16)
    path.write_bytes(data[: len(data) - cut])


def model(root: Path, name: str, **config: Any) -> Path:
    place = root / "models" / name
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    return place


async def test_models_that_may_not_be_loaded_each_say_why(tmp_path: Path) -> None:
    good, cut, pickled, code, broken = (
        model(tmp_path, name, **({"auto_map": {"AutoModel": "x.Y"}} if name == "code" else {}))
        for name in ("good", "cut", "pickled", "code", "broken")
    )
    for place in (good, code, broken):
        safetensors(place / "model.safetensors")
    safetensors(cut / "model.safetensors", cut=4)
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (broken / "config.json").write_text("{")
    (tmp_path / "outside").mkdir()
    (tmp_path / "models" / "link").symlink_to(tmp_path / "outside")
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"location": str(tmp_path / "models" / "none")}, "artifact_missing", "does not exist"),
        ({"location": "models/good"}, "artifact_missing", "absolute"),
        ({"location": "/etc"}, "artifact_outside", "BULKHEAD_AGENT_MODELS"),
        ({"location": str(tmp_path / "models" / "link")}, "artifact_outside", "outside"),
        ({"location": str(tmp_path / "models" / ".." / "outside")}, "artifact_outside", "outside"),
        ({"location": str(cut)}, "artifact_malformed", "cut off"),
        ({"location": str(broken)}, "artifact_malformed", "not JSON"),
        ({"location": str(pickled)}, "artifact_unsafe", "pytorch_model.bin"),
        ({"location": str(good), "format": "gguf"}, "artifact_malformed", "no .gguf"),
        ({"location": str(good), "format": "pickle"}, "artifact_unsafe", "allow pickle"),
        ({"location": str(code)}, "remote_code", "auto_map"),
        ({"location": str(good), "digest": "sha256:00"}, "artifact_mismatch", "digest"),
        ({"source": "hub", "location": "../../etc"}, "artifact_malformed", "no id of a hub"),
        ({"source": "hub", "location": "a/b", "revision": "--x"}, "artifact_malformed", "no revision"),
    ]
    recipe = python("import time; time.sleep(600)")
    recipe = recipe._replace(argv=(*recipe.argv, "{model_path}"))
    specs = [
        spec(engine="command", recipe="any", artifact=msgspec.convert({"source": "path", **artifact}, Artifact)) for artifact, _, _ in cases
    ]
    async with worker(tmp_path, recipes={"any": recipe}) as w:
        await w.order(*specs)
        for one, (artifact, reason, words) in zip(specs, cases, strict=True):
            failed = await w.failed(one.replica)
            assert (failed.reason, words in failed.message) == (reason, True), (artifact, failed)
        fine = spec(engine="command", recipe="any", artifact=Artifact(source="path", location=str(good)))
        allowed = spec(engine="command", recipe="any", artifact=Artifact(source="path", location=str(pickled), allow_pickle=True))
        owned = spec(engine="command", recipe="any", artifact=Artifact(source="path", location=str(code), allow_remote_code=True))
        await w.order(fine, allowed, owned)
        for one in (fine, allowed, owned):
            await w.reported(one.replica, "starting")


async def test_orders_that_cannot_be_carried_out_each_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(replica.ENGINES, "onnx")  # an agent that is older than its control plane
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"engine": "onnx"}, "engine_unknown", "Upgrade the agent"),
        ({"engine": "vllm", "artifact": Artifact(source="hub", location="a/b")}, "engine_missing", "BULKHEAD_AGENT_VLLM"),
        ({"engine": "command", "recipe": "rm"}, "recipe_unknown", "llama-server"),
        ({"engine": "command", "recipe": "any", "arguments": {"--host": "0.0.0.0"}}, "argument_refused", "takes no argument '--host'"),
        ({"engine": "command", "recipe": "any", "bearer": "b" * 32}, "argument_refused", "bearer_variable"),
        ({"environment": ["AWS_SECRET_ACCESS_KEY"]}, "argument_refused", "BULKHEAD_AGENT_ENGINE_ENV"),
        ({"arguments": {"ttft_ms": "soon"}}, "argument_refused", "not a number"),
        ({"arguments": {"speed": "1"}}, "argument_refused", "ttft_ms"),
    ]
    specs = [spec(**changes) for changes, _, _ in cases]
    async with worker(tmp_path, recipes={"any": python("0")}) as w:
        await w.order(*specs)
        for one, (changes, reason, words) in zip(specs, cases, strict=True):
            failed = await w.failed(one.replica)
            assert (failed.reason, words in failed.message) == (reason, True), (changes, failed)
        retried = {one.replica: w.agent.replicas[one.replica].given_up for one in specs}
        assert list(retried.values()) == [reason != "engine_missing" for _, reason, _ in cases]
