"""``manage.py simulate-scaling``: it says that it simulates, compares, and refuses what is no trace with a sentence."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"


def test_the_command_says_that_it_simulates_and_compares(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"timestamp": {number * 500}, "input_length": 900, "output_length": 60}}\n' for number in range(400)))
    out = StringIO()
    call_command("simulate_scaling", str(path), "--prefill", "2000", "--max", "4", "--cold", "10", "--steps", stdout=out)
    said = out.getvalue()
    assert said.startswith("SIMULATION, nothing here was measured on a GPU: 400 requests in 3 minutes")
    for name in ("policy", "fixed, ", "(the maximum)", "oracle", "GPU-hours"):
        assert name in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("absent.csv",), "cannot be read: No such file"),
        (("a.csv", "--min", "5", "--max", "2"), "0 <= minimum <= maximum"),
        (("a.csv", "--prefill", "0"), "prefill"),
        (("a.csv", "--every", "0"), "--every"),
        (("a.csv", "--rate", "0"), "rate must be 1"),
    ],
)
def test_the_command_refuses_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(AZURE)
    with pytest.raises(CommandError, match=says):
        call_command("simulate_scaling", *arguments)
