"""What the documents and lists of the repository promise about it: commands, links, decisions, pinned packages, no traces of a machine."""

from __future__ import annotations

import importlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GUIDES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/architecture.md",
    "docs/config.md",
    "docs/resilience.md",
    "docs/metrics.md",
    "docs/feedback.md",
)
REGISTRIES = ("pypi." + "org", "pythonhosted" + ".org", "npmjs" + ".org", "anaconda" + ".org", "jsdelivr" + ".net", "unpkg" + ".com")
MACHINE = re.compile(r"(?<![\w./$}-])/(?:work|root|home/\w+|Users/\w+|opt/\w+)/[\w.-]")
"""Absolute paths that one machine or person has."""


@pytest.fixture(scope="module")
def tracked() -> dict[str, str]:
    """Text of every file that is ours: what others wrote (``vendor``) is as they wrote it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.split("\0") if name and "/vendor/" not in name and (ROOT / name).is_file()]
    return {name: (ROOT / name).read_text(errors="ignore") for name in names}


def test_no_file_names_a_package_registry(tracked: dict[str, str]) -> None:
    assert [name for name, text in tracked.items() if any(host in text for host in REGISTRIES)] == []


def test_no_file_holds_a_path_of_one_machine(tracked: dict[str, str]) -> None:
    assert [f"{name}: {found[0]}" for name, text in tracked.items() if (found := MACHINE.search(text))] == []


@pytest.mark.parametrize("name", ["requirements.lock", "deploy/uv.lock.txt", "deploy/clients.lock", "deploy/engine.lock"])
def test_a_lock_pins_everything_by_hash_and_names_no_place(name: str) -> None:
    text = "\n".join(line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#"))
    requirements = [block for block in re.split(r"\n(?=\S)", text) if block.strip()]
    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", requirement), requirement[:80]
        assert "--hash=sha256:" in requirement, requirement[:80]
    assert "://" not in text and "index-url" not in text and "find-links" not in text


def test_the_engines_environment_holds_what_their_extras_promise() -> None:
    """The lock is made of the group, and people install the extras."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    group = set(document["dependency-groups"]["engine"])
    for extra in ("engine", "onnx"):
        assert set(document["project"]["optional-dependencies"][extra]) <= group, extra


@pytest.mark.parametrize("name", GUIDES)
def test_commands_that_a_guide_names_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = {path.stem for pattern in ("*/management", "*/*/management") for path in ROOT.glob(f"{pattern}/commands/*.py")}
    code = re.findall(r"`([^`\n]+)`", text)
    code += [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    for line in code:
        for target in re.findall(r"\bmake ([a-z-]+)", line):
            assert target in targets, f"{name} says `make {target}`"
        for named in re.findall(r"\bmanage\.py ([a-z_|]+)", line):
            assert set(named.split("|")) <= commands | {"migrate"}, f"{name} says `manage.py {named}`"


def _is_there(dotted: str) -> bool:
    """Whether ``apps.room.module.name`` can be imported, or read off what can be."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            if not hasattr(found, name) and name not in getattr(found, "__annotations__", {}):
                return False
            found = getattr(found, name, None)
        return True
    return False


def test_names_that_the_documents_use_exist(tracked: dict[str, str]) -> None:
    """Modules and what is in them, files, settings, headers and metrics."""
    documents = {name: text for name, text in tracked.items() if name in GUIDES or name.startswith("docs/adr/")}
    source = "\n".join(
        text
        for name, text in tracked.items()
        if name.startswith(("apps/", "controlplane/", "deploy/", "Makefile", "Procfile", "tests/conformance/"))
    )
    wrong = []
    for document, text in documents.items():
        for dotted in set(re.findall(r"\b(?:apps|controlplane|tests)(?:\.[A-Za-z_]\w*)+", text)):
            if not dotted.endswith(".py") and not _is_there(dotted):
                wrong.append(f"{document}: {dotted}")
        for path in set(re.findall(r"\b(?:apps|controlplane|tests|templates|static|docs|deploy)/[\w/.-]*\w(?![\w<])", text)):
            if not (ROOT / path).exists():
                wrong.append(f"{document}: {path}")
        for name in set(re.findall(r"\b(?:BULKHEAD_[A-Z_]*[A-Z]|x-bulkhead-[a-z-]*[a-z]|bulkhead_[a-z_]*[a-z])\b", text)):
            forms = (name, name.removesuffix("_FILE"), name.removesuffix("_total"))  # the last is added where counters are told
            if not any(form in source for form in forms):
                wrong.append(f"{document}: {name}")
    assert wrong == []


def test_links_between_documents_lead_somewhere(tracked: dict[str, str]) -> None:
    for name, text in tracked.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", text) if name.endswith(".md") else ():
            if "://" not in link and not link.startswith("#"):
                assert ((ROOT / name).parent / link.partition("#")[0]).exists(), f"{name} links to {link}"


def test_every_target_of_make_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"\.PHONY: (.*)", makefile)[0].split())
    explained = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    assert explained == phony == set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_decisions_are_numbered_once_and_complete(tracked: dict[str, str]) -> None:
    records = {name: text for name, text in tracked.items() if name.startswith("docs/adr/")}
    numbers = [Path(name).name[:4] for name in records]
    assert len(numbers) == len(set(numbers)), "two decisions share a number"
    for name, text in records.items():
        assert re.fullmatch(r"docs/adr/\d{4}-[a-z0-9-]+\.md", name)
        assert text.startswith(f"# {Path(name).name[:4]}: "), name
        parts = re.findall(r"^(?:## |\*\*)(Context|Decision|Consequences)\b", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences"], name
        assert len(text.splitlines()) <= 60, f"{name} is longer than a page"


def test_decisions_that_the_text_cites_exist(tracked: dict[str, str]) -> None:
    numbers = {Path(name).name[:4] for name in tracked if name.startswith("docs/adr/")}
    for name, text in tracked.items():
        assert set(re.findall(r"\bADR (\d{4})\b", text)) <= numbers, name
