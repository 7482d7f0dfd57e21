"""Whether a model may be loaded: it is there, it is what it claims to be, and loading it runs nobody's code.

Pickled weights are programs, and a model with code of its own is one, too: both are refused unless the deployment allows them. What comes
from a hub (``apps.agent.hub``) is judged as what lies on the disk.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterable
from pathlib import Path

from apps.agent import onnx_files
from apps.contracts.fleet import Artifact
from apps.contracts.fleet_facts import Reason

PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?\Z")
REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,99}\Z")
MAX_HEADER = 100 * 1024 * 1024
"""Of a safetensors file, as its own library has it."""


class Unfit(Exception):
    """An order that cannot be carried out as it is; becomes the replica's reason and message."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message


def checked(artifact: Artifact, roots: Iterable[Path]) -> str:
    """What the engine is told to load: an absolute path, or "" where it needs nothing; of a hub the id, whose files are ``judged`` once
    they are there. roots: below which paths may lie. Blocks. Raises Unfit."""
    if artifact.source == "none":
        return ""
    if artifact.source == "hub":
        return _hub(artifact)
    return judged(artifact, _inside(artifact.location, list(roots)))


def judged(artifact: Artifact, path: Path) -> str:
    """The path, once every file's head was read, and all of every file where a digest is wanted. Blocks. Raises Unfit."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise Unfit("artifact_malformed", f"{path} holds no file. Name the directory that has the model's config.json and weights.")
    needs_no_code(artifact, path)
    _weights(artifact, path, files)
    if artifact.digest:
        found = digest_of(path)
        if found != artifact.digest:
            raise Unfit("artifact_mismatch", f"{path} has the digest {found}, and {artifact.digest} was ordered. Copy the model anew.")
    return str(path)


def digest_of(path: Path) -> str:
    """``sha256:`` of a file, or of a directory's files: of each relative name and each content's SHA-256, in the order of names."""
    if path.is_file():
        return f"sha256:{_file_digest(path)}"
    whole = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        whole.update(f"{_file_digest(file)}  {file.relative_to(path).as_posix()}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hub(artifact: Artifact) -> str:
    if not HUB_ID.match(artifact.location):
        raise Unfit("artifact_malformed", f"{artifact.location!r} is no id of a hub: it looks like organisation/model.")
    if artifact.revision and (not REVISION.match(artifact.revision) or ".." in artifact.revision.split("/")):
        raise Unfit("artifact_malformed", f"{artifact.revision!r} is no revision: name a branch, a tag or a commit.")
    if artifact.format == "pickle" and not artifact.allow_pickle:
        raise Unfit("artifact_unsafe", pickle_advice(artifact.location))
    return artifact.location


def _inside(location: str, roots: list[Path]) -> Path:
    path = Path(location)
    if not path.is_absolute():
        raise Unfit("artifact_missing", f"{location!r} is not an absolute path.")
    real = path.resolve()
    if not any(real.is_relative_to(root.resolve()) for root in roots):
        allowed = ", ".join(str(root) for root in roots) or "none"
        raise Unfit(
            "artifact_outside",
            f"{location} lies outside the directories for models ({allowed}). BULKHEAD_AGENT_MODELS on the worker names them.",
        )
    if not real.exists():
        raise Unfit("artifact_missing", f"{location} does not exist on this worker. Copy the model there, or correct the path.")
    return real


def needs_no_code(artifact: Artifact, path: Path) -> None:
    if path.is_file():
        return
    for name in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        file = path / name
        if not file.is_file():
            continue
        try:
            config = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise Unfit("artifact_malformed", f"{file} is not JSON: {error}") from None
        if not isinstance(config, dict):
            raise Unfit("artifact_malformed", f"{file} is not a JSON object.")
        if config.get("auto_map") and not artifact.allow_remote_code:
            raise Unfit(
                "remote_code",
                f"{file} names code that comes with the model (auto_map), and loading it would run that code here. Take a model "
                "that the engine knows by itself, or allow its code in the deployment after reading it.",
            )


def _weights(artifact: Artifact, path: Path, files: list[Path]) -> None:
    kinds = {suffix: [file for file in files if file.suffix.lower() == suffix] for suffix in (".safetensors", ".gguf", ".onnx")}
    wanted = artifact.format or "safetensors"
    if wanted == "pickle":
        if not artifact.allow_pickle:
            raise Unfit("artifact_unsafe", pickle_advice(path))
        return
    found = kinds[f".{wanted}"]
    if not found:
        pickled = [file.name for file in files if file.suffix.lower() in PICKLED and file.name != "training_args.bin"]
        if pickled and wanted == "safetensors":
            if artifact.allow_pickle:
                return
            raise Unfit("artifact_unsafe", pickle_advice(path, pickled[0]))
        raise Unfit("artifact_malformed", f"{path} holds no .{wanted} file. It holds: {', '.join(file.name for file in files[:8])}.")
    if wanted == "onnx":
        _onnx(path, files, found)
        return
    for file in found:
        problem = _safetensors_problem(file) if wanted == "safetensors" else _gguf_problem(file)
        if problem:
            raise Unfit("artifact_malformed", f"{file} is not {wanted}: {problem}. Copy it anew.")


def _onnx(path: Path, files: list[Path], models: list[Path]) -> None:
    if path.is_file():
        raise Unfit("artifact_malformed", f"{path} is a file. Name the directory that has the model, its tokenizer.json and config.json.")
    problem = onnx_files.libraries_problem(path, files)
    for file in models:
        problem = problem or onnx_files.problem_of(file, path)
    if problem is not None:
        raise Unfit(problem.reason, problem.message)


def _safetensors_problem(file: Path) -> str:
    """What is wrong with a file's head; "" where nothing is. The format: 8 bytes of length, a JSON header, the tensors."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        if len(head) < 8:
            return f"it has {len(head)} bytes"
        (length,) = struct.unpack("<Q", head)
        if length > min(MAX_HEADER, size - 8):
            return "its header would be longer than the file is" if length > size - 8 else "its header is longer than 100 MB"
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError):
            return "its header is not JSON"
    if not isinstance(header, dict):
        return "its header is not an object"
    end = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
        if not (isinstance(offsets, list) and len(offsets) == 2 and all(isinstance(at, int) for at in offsets)):
            return f"the tensor {name!r} says not where it lies"
        end = max(end, offsets[1])
    return "" if 8 + length + end <= size else f"it is cut off: {size:,} bytes of {8 + length + end:,}"


def _gguf_problem(file: Path) -> str:
    with file.open("rb") as stream:
        return "" if stream.read(4) == b"GGUF" else "it does not begin with GGUF"


def pickle_advice(path: Path | str, name: str = "") -> str:
    what = f"{path} holds pickled weights ({name})" if name else f"{path} is pickled"
    return f"{what}: loading them can run any program. Convert them to safetensors, or allow pickle if you trust where they come from."
