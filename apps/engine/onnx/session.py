"""The model in memory: onnxruntime and the tokenizer. The only file that imports either, and numpy with them.

No library of operators is ever registered, and nothing is fetched: what is loaded is the one file that ``folder`` chose, after the agent
has looked at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from apps.engine.onnx.batching import Abandoned, Stop
from apps.engine.onnx.folder import Folder, Unusable

POOLED = ("sentence_embedding", "pooled_output", "text_embeds")
"""Outputs that are one vector a text already; ``sentence_embedding`` is sentence-transformers' own name."""
HIDDEN = ("last_hidden_state", "token_embeddings", "hidden_states")
LOGITS = ("logits", "scores")
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class TooLong(Exception):
    """A text has more tokens than the model takes."""

    def __init__(self, tokens: int, most: int) -> None:
        super().__init__(f"This model takes at most {most} tokens, and the text has {tokens}.")
        self.tokens = tokens
        self.most = most


class NotNumbers(Exception):
    """The model gave NaN or infinity."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence: token ids, and which text of a pair each belongs to."""

    ids: Sequence[int]
    types: Sequence[int]

    def __len__(self) -> int:
        return len(self.ids)


class Session:
    """threads: of one batch, 0: as many as the process may use. gpu: on the first GPU that it sees. Raises Unusable."""

    def __init__(self, folder: Folder, *, threads: int = 0, gpu: bool = False) -> None:
        self.folder = folder
        self._tokenizer = _tokenizer(folder)
        self._special = self._tokenizer.num_special_tokens_to_add(False)
        self._special_pair = self._tokenizer.num_special_tokens_to_add(True)
        self.vocabulary = self._tokenizer.get_vocab_size(with_added_tokens=True)
        try:
            self._session = onnxruntime.InferenceSession(str(folder.graph), _options(threads), providers=_providers(gpu))
        except Exception as error:  # onnxruntime raises many kinds, some of them bare
            raise Unusable(f"onnxruntime cannot load {folder.graph}: {str(error)[:500]}") from None
        self.providers = tuple(self._session.get_providers())
        self._inputs = {node.name: _INTEGERS.get(node.type) for node in self._session.get_inputs()}
        strange = self._inputs.keys() - {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
        if strange or "input_ids" not in self._inputs or None in self._inputs.values():
            raise Unusable(f"{folder.graph} wants {', '.join(sorted(self._inputs))}: this engine serves encoders, which take input_ids.")
        self._output, self._kind = _output(self._session.get_outputs(), folder)
        self.size = self._probe()

    @property
    def version(self) -> str:
        return f"onnxruntime-{onnxruntime.__version__}"

    # Texts to tokens

    def row(self, text: str, *, most: int = 0) -> Row:
        """most: cut the text to so many tokens; 0: raise TooLong where it has more than the model takes."""
        return self._row(self._tokenizer.encode(text, add_special_tokens=not most), None, most)

    def rows(self, texts: Sequence[str], *, most: int = 0) -> list[Row]:
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=not most)
        return [self._row(encoding, None, most) for encoding in found]

    def row_of_ids(self, ids: Sequence[int], *, most: int = 0) -> Row:
        """Tokens as the caller has them, special ones included. Raises ValueError where one is not of the vocabulary."""
        if most:
            ids = ids[:most]
        if ids and (min(ids) < 0 or max(ids) >= self.vocabulary):
            raise ValueError(f"This model's tokens are numbers from 0 to {self.vocabulary - 1}.")
        if len(ids) > self.folder.most_tokens:
            raise TooLong(len(ids), self.folder.most_tokens)
        return Row(list(ids), [0] * len(ids))

    def pairs(self, query: str, documents: Sequence[str], *, most_of_document: int = 0) -> list[Row]:
        """The query with each document; a document is cut to what fits beside the query. Raises TooLong where the query alone fills more
        than half of what the model takes."""
        asked = self._tokenizer.encode(query, add_special_tokens=False)
        room = self.folder.most_tokens - self._special_pair - len(asked.ids)
        if len(asked.ids) > self.folder.most_tokens // 2:
            raise TooLong(len(asked.ids), self.folder.most_tokens // 2)
        if most_of_document:
            room = min(room, most_of_document)
        rows = []
        for document in self._tokenizer.encode_batch_fast(list(documents), add_special_tokens=False):
            document.truncate(room)
            whole = self._tokenizer.post_process(asked, document)
            rows.append(Row(whole.ids, whole.type_ids))
        return rows

    def _row(self, encoding: Any, pair: Any, most: int) -> Row:
        if most:
            encoding.truncate(max(0, min(most, self.folder.most_tokens) - self._special))
            encoding = self._tokenizer.post_process(encoding, pair)
        if len(encoding.ids) > self.folder.most_tokens:
            raise TooLong(len(encoding.ids), self.folder.most_tokens)
        return Row(encoding.ids, encoding.type_ids)

    # Tokens to numbers

    def run(self, rows: Sequence[Row], stop: Stop) -> list[np.ndarray[Any, Any]]:
        """One vector a row, float32: the pooled vector (scaled to length 1 where the model says so), or the logits. Raises Abandoned,
        NotNumbers."""
        options = onnxruntime.RunOptions()

        def end() -> None:
            options.terminate = True

        stop.hook = end
        if stop.is_set():
            raise Abandoned
        try:
            vectors, mask = self._outputs(rows, options)
        except Exception:
            if stop.is_set():
                raise Abandoned from None
            raise
        if self._kind == "hidden":
            vectors = _pooled(vectors, mask, self.folder.pooling)
        if self.folder.task == "embeddings" and self.folder.normalise:
            vectors = scaled(vectors)
        if not np.isfinite(vectors).all():
            raise NotNumbers(f"{self.folder.graph.name} gave what is not a number.")
        return list(vectors)

    def raw(self, rows: Sequence[Row]) -> np.ndarray[Any, Any]:
        """The model's output as it is, padding included."""
        return self._outputs(rows, onnxruntime.RunOptions())[0]

    def _outputs(self, rows: Sequence[Row], options: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """(output, mask)"""
        longest = max(1, max(len(row) for row in rows))
        ids = np.full((len(rows), longest), self.folder.pad, dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        types = np.zeros((len(rows), longest), dtype=np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row.ids
            mask[at, : len(row)] = 1
            if self.folder.segments:
                types[at, : len(row)] = row.types
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        if "position_ids" in self._inputs:
            feed["position_ids"] = np.broadcast_to(np.arange(longest, dtype=np.int64), ids.shape)
        (found,) = self._session.run(
            [self._output], {name: feed[name].astype(kind, copy=False) for name, kind in self._inputs.items()}, options
        )
        return np.asarray(found, dtype=np.float32), mask

    def _probe(self) -> int:
        """Numbers of one result, found by a first run; raises Unusable where the model cannot be run."""
        try:
            (vector,) = self.run([self.row("a", most=self.folder.most_tokens)], Stop())
        except Exception as error:
            raise Unusable(f"{self.folder.graph} loads and does not run: {str(error)[:500]}") from None
        return int(vector.shape[-1])


def scaled(vectors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """To length 1; a vector of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: np.ndarray[Any, Any] = vectors / np.maximum(lengths, np.float32(1e-12))
    return result


def probabilities(logits: np.ndarray[Any, Any], activation: str) -> np.ndarray[Any, Any]:
    """Of one row of logits, in double precision."""
    exact = logits.astype(np.float64)
    if activation == "sigmoid":
        result: np.ndarray[Any, Any] = 1.0 / (1.0 + np.exp(-np.clip(exact, -700, 700)))
        return result
    if activation == "softmax":
        powers = np.exp(exact - exact.max())
        shares: np.ndarray[Any, Any] = powers / powers.sum()
        return shares
    return exact


def _pooled(hidden: np.ndarray[Any, Any], mask: np.ndarray[Any, Any], pooling: str) -> np.ndarray[Any, Any]:
    """(rows, tokens, size) and (rows, tokens) to (rows, size). Padding stands behind, so the first token is the first."""
    if pooling == "cls":
        result: np.ndarray[Any, Any] = hidden[:, 0]
    elif pooling == "last":
        result = hidden[np.arange(len(hidden)), mask.sum(axis=1) - 1]
    elif pooling == "max":
        result = np.where(mask[:, :, None] == 1, hidden, np.float32(-np.inf)).max(axis=1)
    else:
        weights = mask[:, :, None].astype(np.float32)
        result = (hidden * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0)
    return result


def _output(outputs: Sequence[Any], folder: Folder) -> tuple[str, str]:
    """(name, ``pooled`` | ``hidden`` | ``logits``) of the output that answers the task."""
    names = [node.name for node in outputs]
    if folder.task != "embeddings":
        found = next((name for name in LOGITS if name in names), names[0] if len(names) == 1 else "")
        if not found:
            raise Unusable(f"{folder.graph} gives {', '.join(names)}, and no logits: it is no classifier. Serve it for embeddings.")
        return found, "logits"
    for known, kind in ((POOLED[:1], "pooled"), (HIDDEN, "hidden"), (POOLED[1:], "pooled")):
        if found := next((name for name in known if name in names), ""):
            return found, kind
    by_rank = {3: "hidden", 2: "pooled"}
    if len(outputs) == 1 and len(outputs[0].shape or ()) in by_rank and names[0] not in LOGITS:
        return names[0], by_rank[len(outputs[0].shape)]
    raise Unusable(f"{folder.graph} gives {', '.join(names)}, and no vectors of tokens or texts: it makes no embeddings.")


def _tokenizer(folder: Folder) -> Any:
    try:
        tokenizer = Tokenizer.from_file(str(folder.tokenizer))
    except Exception as error:  # tokenizers raises a bare Exception
        raise Unusable(f"{folder.tokenizer} cannot be read: {str(error)[:300]}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # shapes change with every batch
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the machine has other work between batches
    return options


def _providers(gpu: bool) -> list[str]:
    if not gpu:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise Unusable("This onnxruntime has no CUDA. Install onnxruntime-gpu in the engines' environment, or give the replica no GPU.")
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]
