"""Models by id: a whole download, one that is cut and goes on, and each refusal before the weights are asked for."""

from __future__ import annotations

import json
import shutil
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.agent.artifacts import Unfit
from apps.agent.engines.protocol import Recipe
from apps.agent.hub import Left, fetched
from apps.agent.settings import settings_read
from apps.contracts.env import Reader
from apps.contracts.fleet import Artifact
from tests.agent.hub_server import COMMIT, Hub, hub_server
from tests.agent.worker import spec, worker

NAME = "tests/tiny"


def safetensors(size: int) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(range(256)) * (size // 256)


FILES = {
    "README.md": b"# tiny",
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model-1.safetensors": safetensors(2560),
    "model-2.safetensors": safetensors(512),
    "pytorch_model.bin": b"\x80\x04.",
    "modeling_tiny.py": b"raise SystemExit",
    "original/consolidated.safetensors": safetensors(256),
}
TAKEN = ["config.json", "tokenizer.json", "model-1.safetensors", "model-2.safetensors"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as found:
        found.repositories[NAME] = dict(FILES)
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield found


class Fetch:
    """One try, and what it told of its progress."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[tuple[int, int]] = []
        self.left = threading.Event()

    def __call__(self, location: str = NAME, **facts: Any) -> Path:
        artifact = Artifact(source="hub", location=location, **facts)
        return fetched(artifact, self.folder, progress=lambda *now: self.told.append(now), left=self.left, pause=0.01)


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    return Fetch(tmp_path / "hub")


def test_a_whole_model_comes_once_with_its_progress(hub: Hub, fetch: Fetch) -> None:
    place = fetch()
    assert place.name == COMMIT
    assert {file.name: file.read_bytes() for file in place.iterdir()} == {name: FILES[name] for name in TAKEN}
    total = sum(len(FILES[name]) for name in TAKEN)
    assert fetch.told[0] == (0, total) and fetch.told[-1] == (total, total) and fetch.told == sorted(fetch.told)
    calls = len(hub.asked)
    assert fetch() == place and len(hub.asked) == calls + 1, "the branch is asked where it stands, and nothing is fetched again"
    assert fetch(revision=COMMIT) == place and len(hub.asked) == calls + 1, "of a commit that is there nobody is asked"
    (place / "model-2.safetensors").unlink()
    fetch(revision=COMMIT)
    assert (place / "model-2.safetensors").read_bytes() == FILES["model-2.safetensors"], "what went missing comes again"


def test_the_hub_away_what_is_there_serves(hub: Hub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    place = fetch()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert fetch() == place and fetch(revision=COMMIT) == place
    with pytest.raises(Unfit, match="copy the model to the worker") as unfit:
        fetch("tests/other")
    assert unfit.value.reason == "download_failed" and "http://127.0.0.1:1" in unfit.value.message


def test_a_download_that_is_cut_goes_on_where_it_was(hub: Hub, fetch: Fetch) -> None:
    hub.cut["model-1.safetensors"] = 1_000
    place = fetch()
    assert (place / "model-1.safetensors").read_bytes() == FILES["model-1.safetensors"]
    assert [range_ for path, range_, _ in hub.said("/stored/")] == ["", "bytes=1000-", ""]


def test_a_restarted_agent_goes_on_too(hub: Hub, fetch: Fetch) -> None:
    first = Fetch(fetch.folder)

    def told(there: int, total: int) -> None:
        if there > len(FILES["config.json"]) + len(FILES["tokenizer.json"]):
            first.left.set()

    with pytest.raises(Left):
        fetched(Artifact(source="hub", location=NAME), fetch.folder, progress=told, left=first.left, pause=0.01)
    before = len(hub.asked)
    fetch()
    assert fetch.told[0][0] > 0 and not [path for path, _, _ in hub.asked[before:] if "config.json" in path]


def test_what_comes_with_another_content_is_fetched_anew(hub: Hub, fetch: Fetch) -> None:
    hub.wrong.add("model-2.safetensors")
    with pytest.raises(Unfit, match="another content"):
        fetch()
    assert (fetch() / "model-2.safetensors").read_bytes() == FILES["model-2.safetensors"]


def test_a_hub_that_stumbles_is_asked_again(hub: Hub, fetch: Fetch) -> None:
    hub.fails = 3
    assert fetch().is_dir()
    hub.fails = 99
    with pytest.raises(Unfit, match="it answered 503"):
        fetch("tests/other")


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: Hub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated.add(NAME)
    with pytest.raises(Unfit, match=r"gated. Accept its terms on .*tests/tiny, and give the agent the HF_TOKEN") as unfit:
        fetch()
    assert unfit.value.reason == "download_failed" and not hub.said("/resolve/")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    fetch()
    assert {key for _, _, key in hub.said("/resolve/")} == {"Bearer hf_right"}
    assert {key for _, _, key in hub.said("/stored/")} == {""}


@pytest.mark.parametrize(
    ("location", "facts", "reason", "words"),
    [
        ("tests/none", {}, "artifact_missing", "knows no model 'tests/none', or it is private and the agent has no HF_TOKEN"),
        (NAME, {"revision": "v9"}, "artifact_missing", "no revision 'v9'"),
        ("tests/pickled", {}, "artifact_unsafe", "pytorch_model.bin"),
        ("tests/code", {}, "remote_code", "auto_map"),
        ("tests/empty", {}, "artifact_malformed", "no .safetensors file on the hub"),
        (NAME, {"format": "gguf"}, "artifact_malformed", "no .gguf file"),
        ("tests/climbs", {}, "download_failed", "is not what a hub says"),
    ],
)
def test_each_refusal_comes_before_the_weights(
    hub: Hub, fetch: Fetch, location: str, facts: dict[str, Any], reason: str, words: str
) -> None:
    hub.repositories |= {
        "tests/pickled": {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04.", "training_args.bin": b"\x80\x04."},
        "tests/code": {**FILES, "config.json": b'{"auto_map": {"AutoModel": "modeling_tiny.Tiny"}}'},
        "tests/empty": {"README.md": b"#"},
        "tests/climbs": {"../../etc/passwd.safetensors": b"x"},
    }
    with pytest.raises(Unfit) as unfit:
        fetch(location, **facts)
    assert (unfit.value.reason, words in unfit.value.message) == (reason, True), unfit.value
    assert not hub.said("/stored/")


def test_what_was_allowed_comes(hub: Hub, fetch: Fetch) -> None:
    hub.repositories["tests/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04."}
    assert (fetch("tests/pickled", allow_pickle=True) / "pytorch_model.bin").is_file()
    hub.repositories["tests/code"] = {**FILES, "config.json": b'{"auto_map": {"AutoModel": "modeling_tiny.Tiny"}}'}
    assert (fetch("tests/code", allow_remote_code=True) / "modeling_tiny.py").is_file()


def test_a_disk_without_room_is_seen_first(hub: Hub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000))
    with pytest.raises(Unfit, match="BULKHEAD_AGENT_HUB_DIR") as unfit:
        fetch()
    assert unfit.value.reason == "no_space" and not hub.said("/resolve/")


def test_where_models_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    base = {"BULKHEAD_CONTROL_URL": "http://127.0.0.1", "BULKHEAD_AGENT_ADDRESS": "127.0.0.1"}
    monkeypatch.delenv("HF_HOME", raising=False)
    assert settings_read(Reader(base)).engines.hub_dir is None
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert settings_read(Reader(base)).engines.hub_dir == tmp_path / "hub"
    assert settings_read(Reader({**base, "BULKHEAD_AGENT_HUB_DIR": "/big"})).engines.hub_dir == Path("/big")


async def test_a_replica_downloads_tells_how_far_and_starts(hub: Hub, tmp_path: Path) -> None:
    script = "import os, sys, time; print(os.environ['HF_HUB_OFFLINE'], sorted(os.listdir(sys.argv[2])), flush=True); time.sleep(600)"
    recipe = Recipe((sys.executable, "-c", script, "{port}", "{model_path}"))
    fine = spec(engine="command", recipe="any", artifact=Artifact(source="hub", location=NAME, revision=COMMIT))
    unknown = spec(engine="command", recipe="any", artifact=Artifact(source="hub", location="tests/none"))
    missing = spec(engine="vllm", artifact=Artifact(source="hub", location="tests/other"))
    async with worker(tmp_path, recipes={"any": recipe}) as w:
        await w.order(fine, unknown, missing)
        assert (await w.failed(unknown.replica)).reason == "artifact_missing"
        assert (await w.failed(missing.replica)).reason == "engine_missing", "said before anything is fetched"
        assert not hub.said("tests/other")
        started = await w.reported(fine.replica, "starting")
        assert started.phases.downloading is not None and started.downloaded is None
        total = sum(len(FILES[name]) for name in TAKEN)
        assert w.agent.replicas[fine.replica].download == (total, total)
        process = await w.until(lambda: w.agent.replicas[fine.replica].process, "it runs")
        await w.until(lambda: process.lines(5) == [f"1 {sorted(TAKEN)}"], "the engine sees its files")
