#!/usr/bin/env python3
"""Compares what image-files reads with what Pillow reads, pixel by pixel.

    compare.py FOLDER...     needs Pillow and numpy; builds and runs image-files' example `pixels`

All files must be equal, JPEG too, but 16-bit samples, of whose upper byte Pillow makes colours: within one of 255 levels.
Prints every file that differs, or that only one of the two reads, and a summary; the exit status is 1 if any file is read
otherwise than Pillow reads it. With ACCEPT_DAMAGED set, damaged JPEG files are read too, with ORIENT,
images are turned by their Exif orientation.

Known disagreements, in which other programs are right or there is no right:
- Pillow takes the planes of uncompressed 16-bit TIFF for bytes, and the bytes of compressed big-endian floating-point TIFF in the
  wrong order. tifffile reads these as image-files does, and is asked where Pillow differs.
- YCbCr of uncompressed TIFF becomes RGB by libtiff's rounding here, and by another one in Pillow: one level.
"""
import collections, os, subprocess, sys, tempfile, warnings
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageOps

warnings.simplefilter("ignore")
Image.MAX_IMAGE_PIXELS = 50_000_000
warnings.simplefilter("error", Image.DecompressionBombWarning)
here = Path(__file__).resolve().parent
EXTENSIONS = set(".png .apng .jpg .jpeg .jpe .jfif .bmp .dib .gif .webp .pnm .pbm .pgm .ppm .pam .tif .tiff .mpo".split())


def by_pillow(path, orient=False):
    """The first frame in RGB, as levels of 0 to 255; turned by its Exif orientation where that is asked for."""
    with Image.open(path) as image:
        image.load()
        image = ImageOps.exif_transpose(image) if orient else image
        mode = image.mode
        if mode.startswith("I;16"):
            gray = np.asarray(image).astype(float) / 257
            return np.stack([gray] * 3, -1), "16 bits"
        if mode == "I":
            gray = np.asarray(image).astype(float)
            # Pillow keeps 16-bit samples of PNM and PNG files so.
            gray = gray / 257 if image.format in ("PPM", "PNG") else gray
            return np.stack([gray] * 3, -1), "integers"
        if mode == "F":
            return np.stack([np.asarray(image).astype(float) * 255] * 3, -1), "floats"
        if mode in ("La", "RGBa"):
            image = image.convert(mode.upper())
        # Transparency is ignored, not laid over anything.
        if mode == "PA":
            image = image.convert("RGBA")
        if mode == "P" and "transparency" in image.info:
            del image.info["transparency"]
        return np.asarray(image.convert("RGBA").convert("RGB") if image.mode == "RGBA" else image.convert("RGB")).astype(float), mode


def by_tifffile(path):
    """The first page of a TIFF file in RGB, as levels of 0 to 255; nothing if it is of another kind than RGB, CMYK and floats."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        array, kind, planes = page.asarray().astype(float), page.photometric.name, int(page.planarconfig) == 2
        scale = 255 if page.sampleformat == 3 else 255 / (2**page.bitspersample - 1)
    array = (np.moveaxis(array, 0, -1) if planes else array) * scale
    if kind == "RGB":
        return array[..., :3]
    if kind == "SEPARATED":
        return (255 - array[..., :3]) * (255 - array[..., 3:4]) / 255
    return np.stack([array] * 3, -1) if kind == "MINISBLACK" and array.ndim == 2 else None


def compare(paths, environment=None):
    """Yields each path with a verdict: equal, or what is different."""
    with tempfile.TemporaryDirectory() as out:
        program = ["cargo", "run", "--quiet", "--release", "-p", "alexnet-image-files", "--example", "pixels", "--", out]
        for begin in range(0, len(paths), 500):
            part = paths[begin : begin + 500]
            text = subprocess.run([*program, *map(str, part)], capture_output=True, cwd=here, env=environment, check=True).stdout
            for path, line in zip(part, text.decode(errors="replace").splitlines(), strict=True):
                number, *words = line.split(" ")
                yield path, *verdict(path, words, f"{out}/{number}.raw")


def verdict(path, words, raw):
    try:
        expected, mode = by_pillow(path, "ORIENT" in os.environ)
    except Exception as error:
        reason = f"Pillow: {type(error).__name__}: {error}"
        return ("refused by both", reason) if words[0] == "error" else ("read here alone", reason)
    if words[0] == "error":
        return "refused here alone", f"{mode}: {' '.join(words[1:])}"
    width, height, kind = int(words[0]), int(words[1]), words[2]
    found = np.fromfile(raw, {"u8": "u1", "u16": "<u2", "f32": "<f4"}[kind]).reshape(height, width, 3).astype(float)
    found *= {"u8": 1, "u16": 1 / 257, "f32": 255}[kind]
    if found.shape != expected.shape:
        return "different", f"{mode}: size {found.shape[1::-1]} instead of {expected.shape[1::-1]}"
    off = np.abs(found - expected)
    if Image.open(path).format == "TIFF" and not off.max() <= 1:
        other = by_tifffile(path)
        if other is not None and np.abs(found - other).max() <= 1:
            return "as tifffile reads", f"{mode}: Pillow is off by {off.max():.2f}"
    rounded = kind == "u16" or (mode == "YCbCr" and Image.open(path).info.get("compression") != "jpeg")
    most, mean = (1, 0.51) if rounded else (1e-3, 1e-3)
    detail = f"{mode}: off by {off.max():.2f}, in the mean {off.mean():.3f}"
    return ("equal" if off.max() <= most and off.mean() <= mean else "different"), detail


def main():
    paths = []
    for folder in (Path(name).resolve() for name in sys.argv[1:]):
        files = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
        paths += [path for path in files if path.suffix.lower() in EXTENSIONS and path.is_file()]
    counts = collections.Counter()
    for path, result, detail in compare(paths):
        counts[result] += 1
        if result != "equal":
            print(f"{result:18} {path}  {detail}")
    print(", ".join(f"{count} {result}" for result, count in sorted(counts.items())))
    sys.exit(counts["different"] > 0)


if __name__ == "__main__":
    main()
