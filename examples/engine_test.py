"""Tests a program that classifies images on an engine (examples/spark, examples/ray):

    python engine_test.py kill PROGRAM [--images N]     kills a worker in the middle: the results must be those of a run without
    python engine_test.py store PROGRAM [--images N]    images of an object store on this machine: the results must be those of a folder
    python engine_test.py speed PROGRAM [--images N]    two workers on two cores against one on one core, and on both, with the rows of
                                                        the parts

PROGRAM takes IMAGES RESULTS --workers N (and --endpoint URL of an object store) and prints a line of JSON. Every hundredth image is broken.
With --photos, images have the size of a phone's, 12 megapixels.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset
from PIL import Image

# Different pictures; the others are hard links to them.
PICTURES = 16
SIDES = (160, 200)
# Rows and columns of a phone's photographs.
PHOTO = (3024, 4032)
BROKEN = 100
# A worker's time on a CPU in seconds, by which it is in the middle of its work.
BUSY = 1.0
PATIENCE = 600


def pictures(folder: Path, count: int, photos: bool) -> None:
    """Fills a folder with gray pictures of squares and noise: PNG, or JPEG files of a phone's size."""
    sides, suffix = (PHOTO, "jpg") if photos else (SIDES, "png")
    random = np.random.default_rng(7)
    folder.mkdir()
    firsts = []
    for number in range(count):
        path = folder / f"{number:07}.{suffix}"
        if number % BROKEN == BROKEN - 1:
            path.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
        elif len(firsts) < PICTURES:
            pixels = random.integers(0, 60, SIDES, np.uint8)
            top, left = random.integers(0, 80, 2)
            pixels[top : top + 70, left : left + 90] += np.uint8(random.integers(80, 190))
            Image.fromarray(pixels).resize(sides[::-1], Image.Resampling.BICUBIC).convert("RGB" if photos else "L").save(path)
            firsts.append(path)
        else:
            path.hardlink_to(firsts[number % PICTURES])


def workers(session: int) -> list[int]:
    """The processes below `session` that have loaded the package and computed for a while."""
    found, ticks = [], os.sysconf("SC_CLK_TCK")
    for process in Path("/proc").iterdir():
        try:
            fields = process.joinpath("stat").read_text().rpartition(")")[2].split()
            busy = (int(fields[11]) + int(fields[12])) / ticks >= BUSY
            if busy and below(int(process.name), session) and "/alexnet" in process.joinpath("maps").read_text():
                found.append(int(process.name))
        except (ValueError, OSError):
            pass  # no process, or it has ended
    return found


def below(process: int, ancestor: int) -> bool:
    """Whether a process is a descendant of another one."""
    while process > 1:
        if process == ancestor:
            return True
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def run(program: str, images: Path | str, results: Path, count: int, *options: str, kill: bool = False, cores: int | None = None) -> dict:
    """What the program prints, with so many workers, one of which may be killed on the way, on some of the cores or all."""
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, program, images, results, "--workers", str(count), *options]
        # A child has the cores that the process which starts it has then.
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(allowed)[:cores])
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        os.sched_setaffinity(0, allowed)
        deadline, killed = time.monotonic() + PATIENCE, False
        while kill and process.poll() is None:
            if found := workers(process.pid):
                os.kill(found[0], signal.SIGKILL)
                killed = True
                print(f"killed the worker {found[0]}", flush=True)
                break
            if time.monotonic() > deadline:
                process.kill()
                sys.exit("no worker has begun")
            time.sleep(0.02)
        output = process.communicate()[0]
        if process.returncode != 0:
            log.seek(0)
            sys.exit(f"{program} ended with the status {process.returncode}\n{log.read()}")
    if kill and not killed:
        sys.exit("the program ended before a worker was killed: give it more --images")
    return json.loads(output.splitlines()[-1])


def table(results: Path) -> list[dict]:
    """All rows, by path."""
    rows = pyarrow.dataset.dataset(results, format="parquet").to_table().to_pylist()
    return sorted(rows, key=lambda row: row["path"])


@contextlib.contextmanager
def object_store(images: Path):
    """The URL of an object store on this machine with the images in a bucket, which is named, too."""
    import boto3

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    os.environ.update(zip(names, ("test", "test", "us-east-1")))
    url, bucket = f"http://127.0.0.1:{port}", "pictures"
    server = Path(sys.executable).with_name("moto_server")
    process = subprocess.Popen([server, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("moto_server does not start")
            time.sleep(0.1)
        client = boto3.client("s3", endpoint_url=url)
        client.create_bucket(Bucket=bucket)
        for path in images.iterdir():
            client.put_object(Bucket=bucket, Key=f"images/{path.name}", Body=path.read_bytes())
        yield url, f"s3://{bucket}/images"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", choices=["kill", "store", "speed"])
    parser.add_argument("program")
    parser.add_argument("--images", type=int, default=2000, metavar="N")
    parser.add_argument("--photos", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images, first, second = (Path(folder, name) for name in ("images", "first", "second"))
        pictures(images, arguments.images, arguments.photos)
        if arguments.test == "kill":
            killed = run(arguments.program, images, first, 2, kill=True)
            whole = run(arguments.program, images, second, 2)
            rows = table(first)
            names = [Path(row["path"]).name for row in rows]
            if names != sorted(path.name for path in images.iterdir()):
                sys.exit(f"expected a row for each of {arguments.images} images, found {len(rows)}")
            if rows != table(second) or killed["failed"] != arguments.images // BROKEN:
                sys.exit("the results of the run with a killed worker are others than those of the run without")
            print(f"{len(rows)} rows, {killed['failed']} of them errors, in either run; {killed['seconds']} s with a kill, {whole['seconds']} s without")
        elif arguments.test == "store":
            with object_store(images) as (url, bucket):
                stored = run(arguments.program, bucket, first, 2, "--endpoint", url)
            whole = run(arguments.program, images, second, 2)
            named = [[row | {"path": Path(row["path"]).name} for row in table(results)] for results in (first, second)]
            if named[0] != named[1] or len(named[0]) != arguments.images:
                sys.exit("the results of the object store are others than those of the folder")
            print(f"{len(named[0])} rows from an object store, those of a folder; {stored['seconds']} s and {whole['seconds']} s")
        else:
            seconds = {}
            for workers, cores in ((1, 1), (1, 2), (2, 2)):
                done = run(arguments.program, images, Path(folder, f"{workers}-{cores}"), workers, cores=cores)
                seconds[workers, cores] = done["seconds"]
                parts = f"{done['parts']} parts of {done['least_in_a_part']} to {done['most_in_a_part']} rows"
                speed = f"{done['images'] / done['seconds']:.1f} images/s ({done['seconds']} s)"
                print(f"workers {workers}, cores {cores}: {speed}, {parts}", flush=True)
            both = seconds[2, 2]
            print(f"two workers do {seconds[1, 1] / both:.2f} times the work of one that shares its core with the engine,")
            print(f"and {seconds[1, 2] / both:.2f} times that of one whose engine has a core of its own")


if __name__ == "__main__":
    main()
