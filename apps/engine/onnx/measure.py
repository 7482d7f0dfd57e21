"""How an exported model does beside the one that it was made of: the same answers, its size, its speed. Needs torch.

Speed is of whole answers, padding and pooling included, through the session that serves; the rounds of the models go in turns, so that what
else the machine does hits all alike. A figure is the median of the rounds.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from apps.engine.onnx.batching import Stop
from apps.engine.onnx.folder import folder_read
from apps.engine.onnx.session import Row, Session, probabilities, scaled
from apps.engine.onnx.source import NotExportable, Source

if TYPE_CHECKING:
    from apps.engine.onnx.export import Wish

JUDGED = 64
"""Texts that INT8 is judged by where none are given."""
CALLS = 5
"""Of one round at batch 1: its median counts."""


def difference(model: Any, source: Source, folder: Path, shapes: Sequence[tuple[int, int]]) -> float:
    """The largest difference between torch's and onnxruntime's outputs, over their root mean square. What padding gives is not compared."""
    session = Session(folder_read(folder, task=source.task))
    chance = random.Random(7)
    worst = 0.0
    for count, tokens in shapes:
        lengths = [max(2, tokens - 3 * at) for at in range(count)]
        rows = [Row([chance.randrange(source.vocabulary) for _ in range(length)], [0] * length) for length in lengths]
        for row in rows:  # half of the types are the second text's
            row.types[len(row) // 2 :] = [int(source.segments)] * (len(row) - len(row) // 2)  # type: ignore[index]
        asked = _tensors(rows, source, session.folder.pad)
        with torch.inference_mode():
            expected = model(**asked)[0].numpy()
        found = session.raw(rows)
        mask = asked["attention_mask"].numpy().astype(bool)
        if source.task == "embeddings":
            expected, found = expected[mask], found[mask]
        scale = max(float(np.sqrt(np.mean(np.square(expected)))), 1e-6)
        worst = max(worst, float(np.abs(expected - found).max()) / scale) if np.isfinite(found).all() else float("nan")
    return worst


def measured(model: Any, source: Source, folder: Path, wish: Wish) -> dict[str, Any]:
    """size: bytes; p50_ms: of one text; texts_per_s: of a batch. agreement: of INT8 with FP32."""
    sessions = {"onnx_fp32": Session(folder_read(folder, task=source.task), threads=wish.threads)}
    sizes = {"torch": source.bytes, "onnx_fp32": _size(folder, "model.onnx")}
    if wish.int8:
        sessions["onnx_int8"] = Session(folder_read(folder, task=source.task, int8=True), threads=wish.threads)
        sizes["onnx_int8"] = _size(folder, "model_int8.onnx")
    fp32 = sessions["onnx_fp32"]
    tokens = min(wish.tokens, fp32.folder.most_tokens)
    chance = random.Random(11)
    rows = [_row(chance, source, tokens) for _ in range(max(wish.batch, 2))]

    def asked_torch(some: Sequence[Row]) -> object:
        with torch.inference_mode():
            found = model(**_tensors(some, source, fp32.folder.pad))[0]
            return found if source.task != "embeddings" else torch.nn.functional.normalize(found.mean(dim=1), dim=-1)

    runs: dict[str, Callable[[Sequence[Row]], object]] = {"torch": asked_torch}
    for name, session in sessions.items():
        runs[name] = lambda some, session=session: session.run(some, Stop())  # type: ignore[misc]
    latency, rate = _speeds(runs, rows, wish)
    models = {name: {"bytes": sizes[name], "p50_ms": latency[name], "texts_per_s": rate[name]} for name in runs}
    report: dict[str, Any] = {"models": models, "batch": wish.batch, "tokens": tokens, "rounds": wish.rounds, "threads": wish.threads}
    if wish.int8:
        report["agreement"] = _agreement(fp32, sessions["onnx_int8"], _judged(wish, fp32, chance, source))
    report["versions"] = {"torch": torch.__version__, "onnxruntime": fp32.version.removeprefix("onnxruntime-")}
    return report


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    names = {"torch": "torch FP32", "onnx_fp32": "onnx FP32", "onnx_int8": "onnx INT8"}
    base = report["models"]["torch"]
    head = ("", "size", "one text, p50", f"batch of {report['batch']}")
    lines = [head]
    for name, model in report["models"].items():
        faster, more, less = base["p50_ms"] / model["p50_ms"], model["texts_per_s"] / base["texts_per_s"], base["bytes"] / model["bytes"]
        lines.append(
            (
                names[name],
                f"{model['bytes'] / 1e6:.1f} MB" + (f" (1/{less:.1f})" if less >= 1.05 else ""),
                f"{model['p50_ms']:.2f} ms" + ("" if name == "torch" else f" ({faster:.1f}x)"),
                f"{model['texts_per_s']:.0f} texts/s" + ("" if name == "torch" else f" ({more:.1f}x)"),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    text = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    text += f"\n{report['tokens']} tokens a text, {report['threads']} threads, medians of {report['rounds']} rounds."
    text += f"\nONNX differs from torch by {report['difference']:.1e} of the outputs' size at most."
    if agreement := report.get("agreement"):
        text += f"\nINT8 against FP32 on {agreement['texts']} {agreement['of']}: "
        if "cosine_mean" in agreement:
            text += f"cosine {agreement['cosine_mean']:.4f} on average, {agreement['cosine_least']:.4f} at least."
        else:
            text += f"scores differ by {agreement['difference_mean']:.4f} on average, {agreement['difference_most']:.4f} at most"
            text += (
                f"; the same label for {agreement['same_label']:.0%}."
                if "same_label" in agreement
                else f"; rank correlation {agreement['rank']:.3f}."
            )
    return text + f"\n{report['out']} can be deployed with the engine onnx for the task {report['task']}."


def _row(chance: random.Random, source: Source, tokens: int) -> Row:
    return Row([chance.randrange(source.vocabulary) for _ in range(tokens)], [0] * tokens)


def _tensors(rows: Sequence[Row], source: Source, pad: int) -> dict[str, Any]:
    longest = max(map(len, rows))
    ids = torch.tensor([[*row.ids, *[pad] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    found = {"input_ids": ids, "attention_mask": mask}
    if source.segments:
        found["token_type_ids"] = torch.tensor([[*row.types, *[0] * (longest - len(row))] for row in rows])
    return found


def _speeds(
    runs: dict[str, Callable[[Sequence[Row]], object]], rows: Sequence[Row], wish: Wish
) -> tuple[dict[str, float], dict[str, float]]:
    one, many = rows[:1], rows[: wish.batch]
    for run in runs.values():  # the first call allocates
        run(one)
        run(many)
    latencies: dict[str, list[float]] = {name: [] for name in runs}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(wish.rounds):
        for name, run in runs.items():
            taken = []
            for _ in range(CALLS):
                began = time.perf_counter()
                run(one)
                taken.append(time.perf_counter() - began)
            latencies[name].append(statistics.median(taken) * 1000)
            began = time.perf_counter()
            run(many)
            rates[name].append(len(many) / (time.perf_counter() - began))
    return (
        {name: round(statistics.median(taken), 3) for name, taken in latencies.items()},
        {name: round(statistics.median(taken), 1) for name, taken in rates.items()},
    )


def _judged(wish: Wish, session: Session, chance: random.Random, source: Source) -> tuple[str, list[Row]]:
    most = session.folder.most_tokens
    if wish.texts is not None:
        try:
            texts = [line for line in wish.texts.read_text().splitlines() if line.strip()][:1_000]
        except (OSError, UnicodeDecodeError) as error:
            raise NotExportable(f"{wish.texts} cannot be read: {error}") from None
        if len(texts) < 2:
            raise NotExportable(f"{wish.texts} holds {len(texts)} texts: give at least two, one a line.")
        if source.task == "rerank":
            return "pairs of its texts", session.pairs(texts[0][:2_000], texts[1:])
        return "of its texts", session.rows(texts, most=most)
    return "texts of random tokens", [_row(chance, source, chance.randrange(4, min(most, 128))) for _ in range(JUDGED)]


def _agreement(fp32: Session, int8: Session, judged: tuple[str, list[Row]]) -> dict[str, Any]:
    of, rows = judged
    batches = [rows[at : at + 16] for at in range(0, len(rows), 16)]
    pairs = [(a, b) for batch in batches for a, b in zip(fp32.run(batch, Stop()), int8.run(batch, Stop()), strict=True)]
    found: dict[str, Any] = {"texts": len(rows), "of": of}
    if fp32.folder.task == "embeddings":
        cosines = [float(np.dot(scaled(a), scaled(b))) for a, b in pairs]
        return {**found, "cosine_mean": round(statistics.fmean(cosines), 6), "cosine_least": round(min(cosines), 6)}
    scores = [(probabilities(a, fp32.folder.activation), probabilities(b, fp32.folder.activation)) for a, b in pairs]
    apart = [float(np.abs(a - b).max()) for a, b in scores]
    found |= {"difference_mean": round(statistics.fmean(apart), 6), "difference_most": round(max(apart), 6)}
    if fp32.folder.task == "classify":
        return {**found, "same_label": round(sum(int(a.argmax() == b.argmax()) for a, b in scores) / len(scores), 4)}
    ranks = [np.argsort(np.argsort([float(pair[which][0]) for pair in scores])).astype(float) for which in (0, 1)]
    return {**found, "rank": round(float(np.corrcoef(ranks[0], ranks[1])[0, 1]), 4)}


def _size(folder: Path, name: str) -> int:
    """With its external data."""
    return sum(os.path.getsize(folder / file) for file in (name, name + ".data") if (folder / file).is_file())
