"""Models by id of a hub, fetched by the agent itself before an engine is started: with progress, resumable, checked, only what is wanted.

The layout is that of the hub's own cache (``models--<organisation>--<name>/snapshots/<commit>/``), so that what other programs keep there
is not fetched twice and the other way round. All files are of one commit, whatever the branch does meanwhile. Small files come first: a
model that needs code of its own, or has pickled weights only, is refused before its weights are asked for.

``HF_ENDPOINT`` names another hub, ``HF_TOKEN`` opens models that are gated; the token is sent to the hub and never to where it redirects.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx

from apps.agent.artifacts import PICKLED, Unfit, needs_no_code, pickle_advice
from apps.contracts.fleet import Artifact

ENDPOINT = "https://huggingface.co"
TRIES = 5
PAUSE_SECONDS = 1.0
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
SPARE = 256 * 1024 * 1024
"""Bytes of the disk that a download leaves free."""
COMMIT = re.compile(r"[0-9a-f]{40}\Z")
SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".tokens")
WEIGHTS = {"safetensors": (".safetensors",), "gguf": (".gguf",), "onnx": (".onnx", ".onnx_data"), "pickle": PICKLED}
MAX_FILES = 2_000


class Left(Exception):
    """The replica was told to leave while its model came."""


class Wanted(NamedTuple):
    """One file of a commit. sha256: of its content, "" where the hub does not say."""

    name: str
    size: int
    sha256: str


Progress = Callable[[int, int], None]
"""(bytes that are there, bytes in all), as they come."""


def fetched(artifact: Artifact, folder: Path, *, progress: Progress, left: threading.Event, pause: float = PAUSE_SECONDS) -> Path:
    """The directory of the model's commit, whole. Blocks; what was there of an earlier try is gone on with. Raises Unfit, Left."""
    place = folder / f"models--{artifact.location.replace('/', '--')}"
    revision = artifact.revision or "main"
    whole = _whole(place, revision)
    if whole is not None and COMMIT.match(revision):
        return whole  # pinned, and complete: the hub is not even asked
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place, left), httpx.Client(timeout=TIMEOUT, follow_redirects=False) as client:
        hub = _Hub(client, left, pause)
        try:
            commit, files = hub.files(artifact.location, revision)
        except Unreachable as error:
            if whole is not None:
                return whole  # a branch, as it was when the hub was heard last
            raise error.unfit() from None
        if _marked(place, commit) is None:
            try:
                _fetch(artifact, place, commit, files, hub, progress, left)
            except Unreachable as error:
                raise error.unfit() from None
        _write(place / "refs" / revision, commit)
    return place / "snapshots" / commit


def chosen(artifact: Artifact, files: list[Wanted]) -> list[Wanted]:
    """What of a commit is fetched, small files first. Raises Unfit where it has no weights of the wanted format."""
    where, wanted = artifact.location, artifact.format or "safetensors"
    small = [file for file in files if file.name.endswith(SMALL) and "/" not in file.name]
    if artifact.allow_remote_code:
        small += [file for file in files if file.name.endswith(".py")]
    weights = [file for file in files if file.name.lower().endswith(WEIGHTS[wanted])]
    weights = [file for file in weights if "/" not in file.name] or weights
    if not weights:
        pickled = [
            file.name for file in files if file.name.lower().endswith(PICKLED) and PurePosixPath(file.name).name != "training_args.bin"
        ]
        if pickled and wanted == "safetensors" and artifact.allow_pickle:
            weights = [file for file in files if file.name in pickled]
        elif pickled and wanted == "safetensors":
            raise Unfit("artifact_unsafe", pickle_advice(where, pickled[0]))
        else:
            names = ", ".join(file.name for file in files[:8]) or "no file"
            raise Unfit("artifact_malformed", f"{where} has no .{wanted} file on the hub. It has: {names}.")
    return [*small, *weights]


class Unreachable(Exception):
    """The hub did not answer, or not as one does; worth trying again."""

    def __init__(self, endpoint: str, problem: str) -> None:
        super().__init__(problem)
        self.endpoint = endpoint

    def unfit(self) -> Unfit:
        return Unfit(
            "download_failed",
            f"{self.endpoint} cannot be read: {self}. What has come is kept. Let the worker reach it, name another one in HF_ENDPOINT, or "
            "copy the model to the worker and name its path.",
        )


class _Hub:
    def __init__(self, client: httpx.Client, left: threading.Event, pause: float) -> None:
        self.endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
        self._client = client
        self._left = left
        self._pause = pause
        token = os.environ.get("HF_TOKEN", "").strip()
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def files(self, name: str, revision: str) -> tuple[str, list[Wanted]]:
        """(commit, its files). Raises Unfit, Unreachable, Left."""
        url = f"{self.endpoint}/api/models/{quote(name)}/revision/{quote(revision, safe='')}"

        def ask() -> Any:
            answer = self._client.get(url, params={"blobs": "true"}, headers=self._headers)
            self._judge(answer, name, revision)
            return answer.json()

        found = self._tried(ask)
        try:
            commit, rows = found["sha"], found["siblings"][:MAX_FILES]
            files = [
                Wanted(_inside(row["rfilename"]), int(row.get("size") or 0), str((row.get("lfs") or {}).get("sha256") or ""))
                for row in rows
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable(self.endpoint, f"what it says of {name} is not what a hub says ({error})") from None
        if not isinstance(commit, str) or not COMMIT.match(commit):
            raise Unreachable(self.endpoint, f"it names no commit of {name}")
        return commit, files

    def get(self, name: str, commit: str, file: Wanted, into: Path, came: Callable[[int], None]) -> None:
        """Append what is missing of a file. Raises Unfit, Unreachable, Left."""
        url = f"{self.endpoint}/{quote(name)}/resolve/{commit}/{quote(file.name)}"

        def read() -> None:
            there = into.stat().st_size if into.is_file() else 0
            if file.size and there >= file.size:
                return
            headers = {"range": f"bytes={there}-"} if there else {}
            with self._opened(url, headers) as answer:
                if answer.status_code == 416:  # more is here than there: begin anew
                    into.unlink()
                    raise Unreachable(self.endpoint, f"{file.name} is another one than was begun")
                self._judge(answer, name, commit)
                if there and answer.status_code != 206:
                    came(-there)
                    there = 0
                with into.open("ab" if there else "wb") as stream:
                    for chunk in answer.iter_raw():
                        stream.write(chunk)
                        came(len(chunk))
                        if self._left.is_set():
                            raise Left
            if file.size and into.stat().st_size < file.size:
                raise Unreachable(self.endpoint, f"{file.name} was cut off")

        self._tried(read)

    @contextmanager
    def _opened(self, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """The answer, redirects followed; the token goes to the hub alone."""
        own = urlsplit(self.endpoint)
        for _ in range(6):
            to = urlsplit(url)
            known = self._headers if (to.scheme, to.netloc) == (own.scheme, own.netloc) else {}
            # as it lies there: lengths and ranges are of the file
            with self._client.stream("GET", url, headers={**headers, **known, "accept-encoding": "identity"}) as answer:
                if answer.next_request is None:
                    yield answer
                    return
                url = str(answer.next_request.url)
        raise Unreachable(self.endpoint, "it redirects again and again")

    def _judge(self, answer: httpx.Response, name: str, revision: str) -> None:
        """Raises Unfit for what no other try mends, Unreachable for what one may."""
        status, code = answer.status_code, answer.headers.get("x-error-code", "")
        if status in (200, 206):
            return
        if code == "GatedRepo" or (status == 403 and not code):
            raise Unfit(
                "download_failed",
                f"{name} is gated. Accept its terms on {self.endpoint}/{name}, and give the agent the HF_TOKEN of that account.",
            )
        if code == "RevisionNotFound":
            raise Unfit(
                "artifact_missing", f"{name} has no revision {revision!r} on {self.endpoint}. Name a branch, a tag or a commit of it."
            )
        if status in (401, 404):
            why = "or HF_TOKEN does not open it" if self._headers else "or it is private and the agent has no HF_TOKEN"
            raise Unfit("artifact_missing", f"{self.endpoint} knows no model {name!r}, {why}. Correct the id.")
        raise Unreachable(self.endpoint, f"it answered {status}")

    def _tried(self, call: Callable[[], Any]) -> Any:
        pause = self._pause
        for number in range(TRIES):
            try:
                return call()
            except (httpx.HTTPError, ValueError) as error:
                problem = Unreachable(self.endpoint, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
                last = isinstance(error, httpx.ConnectError) and number >= 1  # nobody is there: whoever tries again is the replica
            except Unreachable as error:
                problem, last = error, False
            if last or number == TRIES - 1:
                raise problem
            if self._left.wait(pause):
                raise Left
            pause *= 2
        raise AssertionError


def _fetch(artifact: Artifact, place: Path, commit: str, files: list[Wanted], hub: _Hub, progress: Progress, left: threading.Event) -> None:
    wanted = chosen(artifact, files)
    snapshot, part = place / "snapshots" / commit, place / "incomplete" / commit
    total = sum(file.size for file in wanted)
    there = sum(_there(snapshot / file.name, part / file.name, file) for file in wanted)
    free = shutil.disk_usage(place).free
    if total - there + SPARE > free:
        raise Unfit(
            "no_space",
            f"{artifact.location} needs {(total - there) / 1e9:.2f} GB more, and {free / 1e9:.2f} GB are free in {place.parent}. Remove "
            "models that nobody uses, or name another directory in BULKHEAD_AGENT_HUB_DIR.",
        )
    progress(there, total)

    def came(more: int) -> None:
        nonlocal there
        there += more
        progress(there, total)

    looked = False
    for file in wanted:
        if left.is_set():
            raise Left
        if not looked and not file.name.endswith((*SMALL, ".py")):
            needs_no_code(artifact, snapshot)  # before hours are spent on its weights
            looked = True
        final, begun = snapshot / file.name, part / file.name
        if final.is_file() and (not file.size or final.stat().st_size == file.size):
            continue
        for where in (final, begun):
            where.parent.mkdir(parents=True, exist_ok=True)
        hub.get(artifact.location, commit, file, begun, came)
        if file.sha256 and _sha256(begun) != file.sha256:
            begun.unlink()
            raise Unreachable(hub.endpoint, f"{file.name} came with another content than the hub says; it is fetched anew")
        begun.replace(final)
    shutil.rmtree(part, ignore_errors=True)
    _write(place / "complete" / f"{commit}.json", json.dumps({file.name: (snapshot / file.name).stat().st_size for file in wanted}))


def _there(final: Path, begun: Path, file: Wanted) -> int:
    found = next((where.stat().st_size for where in (final, begun) if where.is_file()), 0)
    return min(found, file.size)


def _whole(place: Path, revision: str) -> Path | None:
    """The directory of a revision that was fetched whole, as far as is known here."""
    commit = revision
    if not COMMIT.match(revision):
        try:
            commit = (place / "refs" / revision).read_text().strip()
        except OSError:
            return None
    return _marked(place, commit)


def _marked(place: Path, commit: str) -> Path | None:
    snapshot = place / "snapshots" / commit
    try:
        sizes = json.loads((place / "complete" / f"{commit}.json").read_bytes())
        whole = all((snapshot / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return None
    return snapshot if whole else None


def _inside(name: Any) -> str:
    """A file's name that stays below its directory. Raises ValueError."""
    path = PurePosixPath(str(name))
    if path.is_absolute() or ".." in path.parts or "\\" in str(name) or not path.parts:
        raise ValueError(f"the name {str(name)[:100]!r}")
    return str(path)


@contextmanager
def _alone(place: Path, left: threading.Event) -> Iterator[None]:
    """One download of a model at a time; the next finds it there."""
    number = os.open(place / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if left.wait(0.2):
                    raise Left from None
        yield
    finally:
        os.close(number)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{time.monotonic_ns()}.new")
    fresh.write_text(text)
    fresh.replace(path)
