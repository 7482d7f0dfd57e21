"""What torch answers, for comparison: ``var/engine/bin/python -m tests.engine.torch_answers MODEL_DIR TASK``, a JSON list of texts (or of
pairs) on stdin, one list of numbers each on stdout. One text at a time, so nothing is padded."""

from __future__ import annotations

import json
import sys


def main() -> int:
    import torch
    import transformers

    path, task = sys.argv[1:3]
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    kind = transformers.AutoModel if task == "embeddings" else transformers.AutoModelForSequenceClassification
    model = kind.from_pretrained(path, local_files_only=True, dtype=torch.float32).eval()
    answers = []
    for text in json.load(sys.stdin):
        asked = tokenizer(text, return_tensors="pt") if isinstance(text, str) else tokenizer(*text, return_tensors="pt")
        named = {
            name: value for name, value in asked.items() if name != "token_type_ids" or getattr(model.config, "type_vocab_size", 0) > 1
        }
        with torch.inference_mode():
            found = model(**named)[0][0]
        if task == "embeddings":
            found = torch.nn.functional.normalize(found.mean(dim=0), dim=-1)
        elif task == "rerank":
            found = torch.sigmoid(found)
        else:
            found = torch.softmax(found, dim=-1)
        answers.append(found.tolist())
    json.dump(answers, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
