"""Checks a weights file against PyTorch, and infer-cli's logits on images against PyTorch's.

    pip install torch==2.9.1 torchvision==0.24.1 numpy safetensors pillow
    infer-cli classify DIR --weights FILE --format jsonl --logits > logits.jsonl
    python tests/pytorch/check.py FILE logits.jsonl

The file must load strictly. Logits must agree within 1e-4 of the largest absolute logit, and the top class must be the
same unless the two best are closer than that. Where the metadata name fewer classes than there are outputs, only theirs
count. Gray images only.
"""

import json
import sys

import networks
import torch
from PIL import Image
from torchvision.transforms.functional import resize, to_tensor


def main(weights: str, logits: str) -> int:
    network = networks.load(weights)
    images = failures = 0
    worst = largest = 0.0
    for line in open(logits):
        record = json.loads(line)
        if "error" in record:
            print(f"{record['path']}: {record['error']}", file=sys.stderr)
            failures += 1
            continue
        image = to_tensor(Image.open(record["path"]).convert("L"))
        expected = network(resize(image, [network.side, network.side], antialias=True)[None])[0]
        expected = expected[: len(record["logits"])]
        scale = expected.abs().max().item()
        error = (torch.tensor(record["logits"]) - expected).abs().max().item() / scale
        best = expected.sort(descending=True).values
        if error > 1e-4 or (record["class"] != expected.argmax().item() and best[0] - best[1] > 1e-4 * scale):
            print(f"{record['path']}: {record['logits']}, expected {expected.tolist()}", file=sys.stderr)
            failures += 1
        images += 1
        worst, largest = max(worst, error), max(largest, scale)
    print(f"{images} images, largest difference {worst:.1e} of the largest logit (up to {largest:.3g}), {failures} failures")
    return int(failures > 0 or images == 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
