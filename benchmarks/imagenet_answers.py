"""Whether plusx answers as torchvision does, with the same ImageNet weights, on real photos.

    python benchmarks/imagenet_answers.py --images FOLDER --weights FILE [FILE ...]

FOLDER holds labels.csv with the columns file and imagenet_index; each FILE is a state dict of torchvision's resnet18 or
resnet50. First both networks get the same tensors; then each gets the photos through its own transforms (torchvision:
Pillow's Resize(256), CenterCrop(224), ToTensor, Normalize; plusx: the input that comes with the weights). Printed are
the images on which both give the same class, how often each is right, and every image whose answers differ.
"""

import argparse
import csv
import json
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

import plusx
from plusx.device import choose_device
from plusx.reporting import environment

RESULTS = Path(__file__).parent / "results"
BATCH = 50
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
THEIR_TRANSFORMS = transforms.Compose(
    [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION)]
)


@torch.inference_mode()
def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """Return float32 logits, computed in batches."""
    return torch.cat([network(part) for part in images.split(BATCH)])


def compare(file: Path, photos: list[Path], labels: Tensor, names: tuple[str, ...]) -> dict[str, object]:
    """Compare one file's weights in both networks."""
    name = file.stem
    theirs = torchvision.models.get_model(name, weights=None).eval()
    theirs.load_state_dict(torch.load(file, weights_only=True))
    predictor = plusx.load(name, weights=file, device="cpu")
    ours = predictor.checkpoint.network()
    opened = [Image.open(photo).convert("RGB") for photo in photos]
    their_tensors = torch.stack([THEIR_TRANSFORMS(image) for image in opened])
    look = predictor.checkpoint.input
    our_tensors = torch.cat([look.prepare(look.read(photo)[None]) for photo in photos])
    their_logits, same_tensors = logits_of(theirs, their_tensors), logits_of(ours, their_tensors)
    our_logits = logits_of(ours, our_tensors)
    same = int((same_tensors.argmax(1) == their_logits.argmax(1)).sum())
    largest = (same_tensors - their_logits).abs().max().item()
    right = {
        "plusx": int((our_logits.argmax(1) == labels).sum()),
        "torchvision": int((their_logits.argmax(1) == labels).sum()),
    }
    differing = [
        {
            "file": str(photo.relative_to(photo.parents[1])),
            "plusx": names[our],
            "torchvision": names[their],
            "right": names[label],
        }
        for photo, our, their, label in zip(
            photos, our_logits.argmax(1).tolist(), their_logits.argmax(1).tolist(), labels.tolist(), strict=True
        )
        if our != their
    ]
    count = len(photos)
    print(
        f"{name}, same tensors: the same class on {same} of {count} images, largest difference of a logit {largest:.1e}"
    )
    print(
        f"{name}, own transforms: plusx {right['plusx']} right, torchvision {right['torchvision']} right of {count}; "
        f"{len(differing)} answers differ"
    )
    for each in differing:
        print(
            f"    {each['file']}: plusx {each['plusx']!r}, torchvision {each['torchvision']!r}, right {each['right']!r}"
        )
    return {
        "images": count,
        "same_tensors_same_class": same,
        "largest_difference": largest,
        "right": right,
        "differing": differing,
    }


def main() -> None:
    """Compare every file and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    with (options.images / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    photos = [options.images / row["file"] for row in rows]
    labels = torch.tensor([int(row["imagenet_index"]) for row in rows])
    names = plusx.load("resnet18", weights=options.weights[0]).checkpoint.task.classes if options.weights else ()
    results = {file.stem: compare(file, photos, labels, names) for file in options.weights}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**results, "environment": environment(choose_device())}, indent=1, ensure_ascii=False)
    (RESULTS / "imagenet_answers.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
