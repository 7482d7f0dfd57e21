"""An ONNX file is data only, or it is refused: foreign operators, compiled blobs, weights elsewhere, nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.agent.artifacts import Unfit, checked
from apps.agent.onnx_files import MOST_DEPTH, contents, problem_of
from apps.contracts.fleet import Artifact
from tests.agent.onnx_bytes import function, graph, model, node, part, tensor

PLAIN = model(graph([node("MatMul"), node("QAttention", "com.microsoft")], [tensor("w")]))


def judged(tmp_path: Path, data: bytes, **files: bytes) -> str:
    """What the agent says of a directory with this model; "" where it may be loaded."""
    home = tmp_path / "models" / "m"
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.json").write_text("{}")
    (home / "model.onnx").write_bytes(data)
    for name, content in files.items():
        (home / name.replace("__", ".")).write_bytes(content)
    try:
        assert checked(Artifact(source="path", location=str(home), format="onnx"), [tmp_path / "models"]) == str(home)
    except Unfit as unfit:
        return f"{unfit.reason}: {unfit.message}"
    return ""


def test_a_plain_model_passes(tmp_path: Path) -> None:
    assert judged(tmp_path, PLAIN) == ""
    found = contents(tmp_path / "models/m/model.onnx")
    assert found.nodes == 2 and found.operators == {("", "MatMul"), ("com.microsoft", "QAttention")} and not found.external


def test_functions_of_its_own_are_no_foreign_operators(tmp_path: Path) -> None:
    mine = function("pkg.mine", "Gelu", [node("Erf")])
    assert judged(tmp_path, model(graph([node("Gelu", "pkg.mine")]), [mine])) == ""
    said = judged(tmp_path, model(graph([node("Gelu", "pkg.mine")]), [function("pkg.mine", "Gelu", [node("Run", "evil")])]))
    assert said.startswith("remote_code") and "evil::Run" in said


def test_foreign_operators_are_refused_wherever_they_hide(tmp_path: Path) -> None:
    foreign = node("Tokenize", "ai.onnx.contrib")
    inside = part(1, "then_branch") + part(6, graph([foreign]))
    for data in (model(graph([foreign])), model(graph([node("If", attributes=[inside])]))):
        said = judged(tmp_path, data)
        assert said.startswith("remote_code") and "ai.onnx.contrib::Tokenize" in said and "library" in said


def test_a_compiled_blob_and_a_library_are_refused(tmp_path: Path) -> None:
    assert judged(tmp_path, model(graph([node("EPContext", "com.microsoft")]))).startswith("remote_code")
    for name in ("libops__so", "libops__so__1", "ops__DLL"):
        home = tmp_path / name
        assert judged(home, PLAIN, **{name: b"\x7fELF"}).startswith("remote_code")


@pytest.mark.parametrize(
    ("location", "reason"),
    [("model.onnx.data", ""), ("sub/../model.onnx.data", "artifact_outside"), ("../secret", "artifact_outside"),
     ("/etc/passwd", "artifact_outside"), ("link", "artifact_outside"), ("absent", "artifact_malformed"), ("", "artifact_outside"),
     ("a\0b", "artifact_outside"), ("*/_ORT_MEM_ADDR_/*", "artifact_malformed")],
)  # fmt: skip
def test_weights_lie_below_the_models_directory(tmp_path: Path, location: str, reason: str) -> None:
    home = tmp_path / "models" / "m"
    home.mkdir(parents=True)
    (tmp_path / "models" / "secret").write_bytes(b"s" * 64)
    (home / "link").symlink_to(tmp_path / "models" / "secret")
    data = model(graph([node("MatMul")], [tensor("w", {"location": location, "offset": "0", "length": "64"})]))
    said = judged(tmp_path, data, model__onnx__data=b"w" * 64)
    assert said.partition(":")[0] == reason, said


def test_weights_in_attributes_and_cut_off_ones_are_seen(tmp_path: Path) -> None:
    outside = part(1, "value") + part(5, tensor("c", {"location": "/etc/passwd"}))
    assert judged(tmp_path, model(graph([node("Constant", attributes=[outside])]))).startswith("artifact_outside")
    sparse = part(1, "sparse_value") + part(22, part(1, tensor("v", {"location": "../x"})))
    assert judged(tmp_path, model(graph([node("Constant", attributes=[sparse])]))).startswith("artifact_outside")
    for named in ({"offset": "60", "length": "5"}, {"offset": "-1"}, {"length": "x"}, {"offset": "65"}):
        data = model(graph([node("MatMul")], [tensor("w", {"location": "model.onnx.data", **named})]))
        assert judged(tmp_path, data, model__onnx__data=b"w" * 64).startswith("artifact_malformed"), named


def test_nonsense_is_refused_and_never_crashes(tmp_path: Path) -> None:
    deep = graph([node("Identity")])
    for _ in range(MOST_DEPTH + 2):
        deep = graph([node("If", attributes=[part(6, deep)])])
    for data in (b"", b"\0", b"not an onnx file", PLAIN[:-3], part(1, 10), model(graph([])), model(deep), b"\x80" * 40):
        said = judged(tmp_path, data)
        assert said.startswith("artifact_malformed"), data[:20]


def test_a_file_alone_is_not_enough(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(PLAIN)
    with pytest.raises(Unfit, match="directory"):
        checked(Artifact(source="path", location=str(tmp_path / "model.onnx"), format="onnx"), [tmp_path])


@given(st.binary(max_size=60), st.integers(0, len(PLAIN)), st.integers(0, 255))
def test_any_bytes_are_judged(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, byte: int) -> None:
    file = tmp_path_factory.mktemp("onnx", numbered=True) / "model.onnx"
    for data in (noise, PLAIN[:at] + noise + PLAIN[at:], PLAIN[:at] + bytes([byte]) + PLAIN[at + 1 :]):
        file.write_bytes(data)
        problem = problem_of(file, file.parent)
        assert problem is None or problem.message
