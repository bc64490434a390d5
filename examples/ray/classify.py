"""Classifies images by Ray, into a folder of Parquet files:

    python examples/ray/classify.py IMAGES RESULTS      on the cluster that this machine belongs to (or RAY_ADDRESS names)
    python examples/ray/classify.py IMAGES RESULTS --workers 2      on this machine

IMAGES is a folder, or s3://bucket/folder. A row has the path of an image, its class, label and probability, or the error. A worker that
dies is started again, and what it was at is done again.
"""

import argparse
import json
import time

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import ray

TOP = pa.list_(pa.struct([("class", pa.int32()), ("label", pa.string()), ("probability", pa.float32())]))
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("class", pa.int32()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("top", TOP),
        ("doubt", pa.string()),
        ("error", pa.string()),
    ]
)
BATCH = 32
# A worker takes most of a CPU, and reading and writing the rest.
WORKER, REST = 0.75, 0.125
# Times that a worker is started again, and that its task is.
RETRIES = 4


class Classify:
    """A worker, which keeps its classifier."""

    def __init__(self, weights, top_k):
        import alexnet

        self.classifier, self.top_k = alexnet.Classifier(weights, threads=1), top_k

    def __call__(self, batch):
        results = self.classifier.classify(batch["bytes"], top_k=self.top_k)
        rows = [result.to_dict() | {"path": path} for path, result in zip(batch["path"], results)]
        return pa.Table.from_pylist(rows, SCHEMA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("results")
    parser.add_argument("--weights", help="a weights file at a path that all machines have [default: the model inside]")
    parser.add_argument("--top-k", type=int, default=1)
    parser.add_argument("--workers", type=int, help="run on this machine, with so many workers; else one for each CPU of the cluster")
    parser.add_argument("--endpoint", metavar="URL", help="the object store, if it is not that of the environment")
    arguments = parser.parse_args()

    ray.init(num_cpus=arguments.workers, include_dashboard=False if arguments.workers else None)
    ray.data.DataContext.get_current().enable_progress_bars = False
    workers = arguments.workers or int(ray.cluster_resources()["CPU"])
    filesystem = None
    if arguments.endpoint:
        scheme, _, host = arguments.endpoint.partition("://")
        filesystem = pa.fs.S3FileSystem(endpoint_override=host, scheme=scheme, force_virtual_addressing=False)

    start = time.perf_counter()
    images = ray.data.read_binary_files(
        arguments.images.removeprefix("s3://") if filesystem else arguments.images,
        filesystem=filesystem,
        include_paths=True,
        num_cpus=REST,
    )
    rows = images.map_batches(
        Classify,
        fn_constructor_kwargs={"weights": arguments.weights, "top_k": arguments.top_k},
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=WORKER,
        max_restarts=RETRIES,
        max_task_retries=RETRIES,
    )
    rows.write_parquet(arguments.results, ray_remote_args={"num_cpus": REST})
    seconds = time.perf_counter() - start

    written = pyarrow.dataset.dataset(arguments.results, SCHEMA)
    parts = [fragment.count_rows() for fragment in written.get_fragments()] or [0]
    failed = written.count_rows(filter=pyarrow.dataset.field("error").is_valid())
    done = {"images": sum(parts), "failed": failed, "seconds": round(seconds, 3)}
    print(json.dumps(done | {"least_in_a_part": min(parts), "most_in_a_part": max(parts), "parts": len(parts)}))
    ray.shutdown()


if __name__ == "__main__":
    main()
