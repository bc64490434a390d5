#!/usr/bin/env python3
"""Writes images of many kinds, to compare how they are read: `generate.py FOLDER`, then `compare.py FOLDER`.

    generate.py FOLDER            all of them: JPEG by samplings, scans, progression, restart intervals, colours and damage; TIFF by
                                  bits, colours, compression, layout and order; PNG, BMP, GIF, WebP and PNM
    generate.py --sample FOLDER   the sample that the test `matrix` reads, each with its pixels in FOLDER/pixels

Needs Pillow, numpy, tifffile, imagecodecs, and cjpeg, djpeg and jpegtran (libjpeg-turbo).
"""
import io, itertools, struct, subprocess, sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageFile

sys.path.insert(0, str(Path(__file__).resolve().parent))
WIDTH, HEIGHT = 67, 45


def picture(width=WIDTH, height=HEIGHT):
    """Soft colours with edges and some noise."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    random = np.random.default_rng(7)
    red = 128 + 100 * np.sin(x / 9) * np.cos(y / 13)
    green = 40 + 170 * x / width
    blue = 220 - 180 * y / height
    rgb = np.stack([red, green, blue], -1)
    rgb[(x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2] = (200, 180, 60)
    return (rgb + random.normal(0, 3, rgb.shape)).clip(0, 255).astype(np.uint8)


RGB = picture()
GRAY = np.asarray(Image.fromarray(RGB).convert("L"))
COLOURED, GRAYISH = Image.fromarray(RGB), Image.fromarray(GRAY)


def run(*command, data):
    return subprocess.run(list(map(str, command)), input=data, capture_output=True, check=True).stdout


def pnm(image):
    out = io.BytesIO()
    image.save(out, "PPM")
    return out.getvalue()


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def segments(jpeg):
    """The file's segments before the scan, as (marker, whole segment), and the rest."""
    at, parts = 2, []
    while jpeg[at + 1] != 0xDA:
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        parts.append((jpeg[at + 1], jpeg[at : at + 2 + length]))
        at += 2 + length
    return parts, jpeg[at:]


def without(jpeg, *markers):
    parts, rest = segments(jpeg)
    return jpeg[:2] + b"".join(part for marker, part in parts if marker not in markers) + rest


def jpegs(scratch):
    samplings = ["1x1", "2x1", "1x2", "2x2", "4x1", "1x4", "4x2", "2x1,1x1,1x1", "1x1,2x1,1x1", "1x1,1x1,2x2", "2x2,1x2,1x2", "2x2,2x1,2x1"]
    scripts = {"": None, "apart": "0;\n1;\n2;\n", "backwards": "2;\n1;\n0;\n", "two": "0;\n1 2;\n"}
    for sampling, (order, script), restart, way in itertools.product(
        samplings, scripts.items(), [None, "1", "3B"], ["baseline", "optimised", "progressive", "arithmetic"]
    ):
        if way in ("progressive",) and script or way in ("optimised", "arithmetic") and restart == "3B":
            continue
        command = ["cjpeg", "-quality", 85, "-sample", sampling, f"-{way}" if way != "optimised" else "-optimize"]
        if script:
            (scratch / "script").write_text(script)
            command += ["-scans", scratch / "script"]
        if restart:
            command += ["-restart", restart]
        name = f"jpeg/{way}_{sampling.replace(',', '-')}_{order or 'one'}_{'r' + restart if restart else 'none'}.jpg"
        yield name, lambda command=command: run(*command, data=pnm(COLOURED))
    for restart, way in itertools.product([[], ["-restart", "1"]], ["-baseline", "-progressive", "-optimize"]):
        yield f"jpeg/gray{way}{len(restart)}.jpg", lambda r=restart, w=way: run("cjpeg", "-grayscale", w, *r, data=pnm(COLOURED))
    yield "jpeg/rgb.jpg", lambda: run("cjpeg", "-rgb", data=pnm(COLOURED))
    for progressive in (False, True):
        cmyk = COLOURED.convert("CMYK")
        yield f"jpeg/cmyk_{progressive}.jpg", lambda p=progressive: saved(cmyk, "JPEG", quality=90, progressive=p)
    plain = saved(COLOURED, "JPEG", quality=85)
    yield "jpeg/no_tables.jpg", lambda: without(plain, 0xC4)
    yield "jpeg/no_jfif.jpg", lambda: without(plain, 0xE0)
    yield "jpeg/fill.jpg", lambda: plain[:2] + b"\xff\xff\xff" + plain[2:]
    yield "jpeg/junk_between.jpg", lambda: plain[:2] + plain[2:20] + b"junk" + plain[20:]
    yield "jpeg/trailing.jpg", lambda: plain + b"trailing bytes"
    yield "jpeg/two.jpg", lambda: plain + saved(GRAYISH, "JPEG")
    mpo = saved(COLOURED, "MPO", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))])
    yield "jpeg/mpo.jpg", lambda: mpo
    # Damaged: what Pillow guesses is not to be read.
    for name, whole in [("baseline", plain), ("restarts", run("cjpeg", "-restart", "1B", data=pnm(COLOURED)))]:
        for share in (3, 5, 8):
            cut = whole[: len(whole) * share // 9]
            cut = cut[:-1] if cut.endswith(b"\xff") else cut
            yield f"damaged/{name}_cut{share}.jpg", lambda cut=cut: cut
            yield f"damaged/{name}_cut{share}_ended.jpg", lambda cut=cut: cut + b"\xff\xd9"
    progressive = saved(COLOURED, "JPEG", quality=85, progressive=True)
    yield "damaged/progressive_ended.jpg", lambda: progressive[: len(progressive) // 2].rstrip(b"\xff") + b"\xff\xd9"


def tiffs():
    def written(array, **options):
        out = io.BytesIO()
        tifffile.imwrite(out, array, **options)
        return out.getvalue()

    deep = RGB.astype(np.uint16) * 257
    four = np.concatenate([RGB, 255 - GRAY[..., None]], -1)
    cmyk = np.asarray(COLOURED.convert("CMYK"))
    kinds = {
        "gray8": (GRAY, dict(photometric="minisblack")),
        "white8": (GRAY, dict(photometric="miniswhite")),
        "gray16": (GRAY.astype(np.uint16) * 257, dict(photometric="minisblack")),
        "float": (GRAY.astype(np.float32) / 255, dict(photometric="minisblack")),
        "rgb8": (RGB, dict(photometric="rgb")),
        "rgb16": (deep, dict(photometric="rgb")),
        "rgba8": (four, dict(photometric="rgb", extrasamples=["unassalpha"])),
        "rgbx8": (four, dict(photometric="rgb", extrasamples=["unspecified"])),
        "cmyk8": (cmyk, dict(photometric="separated")),
        "cmyk16": (cmyk.astype(np.uint16) * 257, dict(photometric="separated")),
        "la8": (four[..., 2:], dict(photometric="minisblack", extrasamples=["unassalpha"])),
    }
    layouts = {"strips": dict(rowsperstrip=16), "tiles": dict(tile=(16, 32)), "one": dict()}
    for (kind, (array, options)), (layout, where), compression, order, planar in itertools.product(
        kinds.items(), layouts.items(), [None, "lzw", "deflate", "packbits", "zstd"], "<>", [False, True]
    ):
        samples = 1 if array.ndim == 2 else array.shape[2]
        if planar and (samples < 3 or compression not in (None, "lzw")) or order == ">" and layout == "one":
            continue
        options = dict(options, **where, compression=compression, byteorder=order)
        if planar:
            options["planarconfig"] = "separate"
        data = np.moveaxis(array, -1, 0) if planar else array
        name = f"tiff/{kind}_{layout}_{compression}_{'le' if order == '<' else 'be'}{'_planar' if planar else ''}.tif"
        yield name, lambda data=data, options=options: written(np.ascontiguousarray(data), **options)
    for kind, predictor in [("rgb8", 2), ("gray16", 2), ("rgb16", 2), ("float", 3)]:
        array, options = kinds[kind]
        for compression, order in itertools.product(["lzw", "deflate", "zstd"], "<>"):
            options = dict(options, compression=compression, predictor=predictor, byteorder=order)
            yield f"tiff/{kind}_predicted_{compression}_{order == '<'}.tif", lambda a=array, o=options: written(a, **o)
    for kind in ("gray8", "rgb16"):
        array, options = kinds[kind]
        yield f"tiff/big_{kind}.tif", lambda a=array, o=options: written(a, bigtiff=True, **o)
    for compression in [None, "tiff_lzw", "tiff_deflate", "packbits", "group3", "group4", "tiff_ccitt"]:
        two = GRAYISH.convert("1")
        yield f"tiff/one_bit_{compression}.tif", lambda c=compression: saved(two, "TIFF", compression=c)
    palette = COLOURED.convert("P", palette=Image.ADAPTIVE)
    yield "tiff/palette.tif", lambda: saved(palette, "TIFF")
    for bits, fill in itertools.product((1, 2, 4, 8), (1, 2)):
        yield f"tiff/bits{bits}_fill{fill}.tif", lambda b=bits, f=fill: few_bits(b, f)
        yield f"tiff/palette{bits}_fill{fill}.tif", lambda b=bits, f=fill: few_bits(b, f, palette=True)
    for quality, image in itertools.product((75, 95), (COLOURED, GRAYISH)):
        yield f"tiff/jpeg_{quality}_{image.mode}.tif", lambda q=quality, i=image: saved(i, "TIFF", compression="jpeg", quality=q)
    yield "tiff/ycbcr.tif", lambda: saved(COLOURED.convert("YCbCr"), "TIFF")
    for orientation in range(1, 9):
        yield f"tiff/orientation{orientation}.tif", lambda o=orientation: oriented(o)


def few_bits(bits, fill, palette=False):
    """An uncompressed TIFF file of gray or palette with few bits a sample, its bits in either order."""
    values = GRAY >> (8 - bits)
    rows = np.unpackbits(values[..., None], axis=-1)[..., 8 - bits :].reshape(HEIGHT, WIDTH * bits)
    packed = np.packbits(rows, axis=-1).tobytes()
    if fill == 2:
        packed = bytes(int(f"{byte:08b}"[::-1], 2) for byte in packed)
    colours = [(i * 7919 + c * 104729) % 65536 for c in range(3) for i in range(1 << bits)]
    fields = [(256, 4, WIDTH), (257, 4, HEIGHT), (258, 3, bits), (259, 3, 1), (262, 3, 3 if palette else 1), (266, 3, fill)]
    fields += [(273, 4, 8), (277, 3, 1), (278, 4, HEIGHT), (279, 4, len(packed))]
    body = packed + b"\0" * (len(packed) % 2)
    if palette:
        fields.append((320, 3, None))
        place = 8 + len(body)
        body += struct.pack(f"<{len(colours)}H", *colours)
    out = b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(fields))
    for tag, kind, value in fields:
        out += struct.pack("<HHII", tag, kind, *((len(colours), place) if value is None else (1, value)))
    return out + b"\0" * 4


def oriented(orientation):
    return saved(COLOURED, "TIFF", tiffinfo={274: orientation})


def others():
    alpha = COLOURED.copy()
    alpha.putalpha(Image.fromarray(255 - GRAY))
    palette = COLOURED.convert("P", palette=Image.ADAPTIVE)
    transparent = palette.copy()
    transparent.info["transparency"] = 3
    deep = Image.fromarray(GRAY.astype(np.uint16) * 257)
    two = GRAYISH.convert("1")
    for name, image in [
        ("rgb", COLOURED), ("gray", GRAYISH), ("alpha", alpha), ("la", alpha.convert("LA")), ("palette", palette),
        ("transparent", transparent), ("deep", deep), ("two", two),
    ]:
        yield f"png/{name}.png", lambda i=image: saved(i, "PNG")
    for bits in (1, 2, 4):
        yield f"png/palette{bits}.png", lambda b=bits: saved(COLOURED.quantize(1 << b), "PNG", bits=b)
    for name, image in [("rgb", COLOURED), ("gray", GRAYISH), ("palette", palette), ("two", two), ("alpha", alpha)]:
        yield f"bmp/{name}.bmp", lambda i=image: saved(i, "BMP")
        yield f"bmp/{name}.dib", lambda i=image: saved(i, "DIB")
    for name, image in [("palette", palette), ("gray", GRAYISH), ("transparent", transparent), ("two", two)]:
        yield f"gif/{name}.gif", lambda i=image: saved(i, "GIF")
        yield f"gif/{name}_interlaced.gif", lambda i=image: saved(i, "GIF", interlace=1)
    frames = [COLOURED.rotate(90 * i) for i in range(1, 4)]
    yield "gif/animated.gif", lambda: saved(COLOURED, "GIF", save_all=True, append_images=frames)
    for name, image in [("rgb", COLOURED), ("alpha", alpha)]:
        yield f"webp/{name}.webp", lambda i=image: saved(i, "WEBP", lossless=True, exact=True)
    yield "webp/animated.webp", lambda: saved(COLOURED, "WEBP", lossless=True, save_all=True, append_images=frames)
    for name, image in [("rgb.ppm", COLOURED), ("gray.pgm", GRAYISH), ("two.pbm", two), ("deep.pgm", deep)]:
        yield f"pnm/{name}", lambda i=image: saved(i, "PPM")
    text = " ".join(map(str, GRAY.ravel()))
    yield "pnm/plain.pgm", lambda: f"P2\n# a comment\n{WIDTH} {HEIGHT}\n255\n{text}\n".encode()
    colours = " ".join(map(str, RGB.ravel()))
    yield "pnm/plain.ppm", lambda: f"P3 {WIDTH} {HEIGHT} 255\n{colours}\n".encode()


SAMPLE = """jpeg/baseline_2x2_one_none.jpg jpeg/baseline_1x1_one_none.jpg jpeg/baseline_2x2_apart_none.jpg jpeg/baseline_2x1_backwards_r1.jpg
jpeg/progressive_2x2_one_none.jpg jpeg/progressive_1x1-2x1-1x1_one_none.jpg jpeg/baseline_1x1-2x1-1x1_one_none.jpg
jpeg/arithmetic_2x2_one_none.jpg jpeg/baseline_2x2_one_r1.jpg jpeg/cmyk_False.jpg jpeg/rgb.jpg jpeg/no_tables.jpg
damaged/baseline_cut5.jpg damaged/baseline_cut5_ended.jpg damaged/restarts_cut5_ended.jpg damaged/progressive_ended.jpg
tiff/gray8_strips_lzw_le.tif tiff/gray16_tiles_deflate_be.tif tiff/float_one_zstd_le.tif tiff/rgb8_tiles_None_le_planar.tif
tiff/rgb16_predicted_lzw_False.tif tiff/float_predicted_deflate_True.tif tiff/rgba8_strips_packbits_be.tif tiff/cmyk8_one_lzw_le.tif
tiff/la8_tiles_zstd_le.tif tiff/big_gray8.tif tiff/one_bit_group3.tif tiff/one_bit_group4.tif tiff/bits4_fill1.tif
tiff/bits1_fill2.tif tiff/palette4_fill1.tif tiff/jpeg_75_RGB.tif tiff/ycbcr.tif tiff/orientation6.tif png/palette2.png png/deep.png
bmp/palette.bmp bmp/rgb.dib gif/animated.gif gif/transparent_interlaced.gif webp/alpha.webp pnm/plain.pgm
oriented/1.jpg oriented/2.jpg oriented/3.jpg oriented/4.jpg oriented/5.jpg oriented/6.jpg oriented/7.jpg oriented/8.jpg
oriented/6.png oriented/8.webp""".split()


def oriented():
    """Small images that are to be turned and mirrored: each orientation in JPEG, some in formats whose Exif data lie elsewhere."""
    small = Image.fromarray(picture(19, 11))
    kinds = [("jpg", "JPEG", {"quality": 90, "subsampling": 0}), ("png", "PNG", {}), ("webp", "WEBP", {"lossless": True})]
    for (extension, kind, options), orientation in itertools.product(kinds, range(1, 9)):
        exif = Image.Exif()
        exif[274] = orientation
        yield f"oriented/{orientation}.{extension}", lambda k=kind, o=options, e=exif: saved(small, k, exif=e, **o)


def main():
    folder = Path(sys.argv[-1])
    sample = "--sample" in sys.argv
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name, make in itertools.chain(jpegs(folder), tiffs(), others(), oriented()):
        if sample and name not in SAMPLE:
            continue
        path = folder / (name.replace("/", "_") if sample else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.write_bytes(make())
        except Exception as error:
            print(f"not made: {name}: {error}")
            continue
        names.append(name)
        if sample:
            from compare import by_pillow

            ImageFile.LOAD_TRUNCATED_IMAGES = name.startswith("damaged")
            levels = np.rint(by_pillow(path, orient=name.startswith("oriented"))[0]).astype(np.uint8)
            (folder / "pixels").mkdir(exist_ok=True)
            Image.fromarray(levels).save(folder / "pixels" / f"{path.name}.png", optimize=True)
    (folder / "script").unlink(missing_ok=True)
    missing = set(SAMPLE) - set(names) if sample else set()
    sys.exit(f"not made: {missing}" if missing else f"{len(names)} files" and 0)


if __name__ == "__main__":
    main()
