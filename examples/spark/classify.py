"""Classifies images by Spark, into a folder of Parquet files:

    spark-submit examples/spark/classify.py IMAGES RESULTS      on a cluster whose workers have the package alexnet
    python examples/spark/classify.py IMAGES RESULTS --workers 2      on this machine

IMAGES is a folder or any other path that Spark reads, such as s3a://bucket/folder. A row has the path of an image, its class, label and
probability, or the error. A task that fails is tried again, four times in all, and writes nothing before it is complete.
"""

import argparse
import json
import os
import sys
import time

import pandas as pd
from pyspark.sql import SparkSession

TOP = "array<struct<class: int, label: string, probability: float>>"
SCHEMA = f"path string, class int, label string, probability float, top {TOP}, doubt string, error string"
# Images that are in a worker's memory at once.
BATCH = "64"
# Bytes of a task, and those that a file counts as beyond its own: a task has 256 small files at most, or a few photographs, so that workers
# end at nearly the same time. It opens the weights once, which takes as long as some ten images.
TASK, FILE = "16m", "64k"


def mapper(weights, threads, top_k):
    """The function that Spark calls for each task, with batches of paths and contents."""

    def classify(batches):
        import alexnet  # here, as only workers need it

        classifier = alexnet.Classifier(weights, threads=threads)
        for batch in batches:
            results = classifier.classify(batch["content"], top_k=top_k)
            rows = [result.to_dict() | {"path": path} for path, result in zip(batch["path"], results)]
            yield pd.DataFrame(rows).astype({"class": "Int32"})

    return classify


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("results")
    parser.add_argument("--weights", help="a weights file at a path that all workers have [default: the model inside]")
    parser.add_argument("--top-k", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="threads of each task: spark.task.cpus [default: 1]")
    parser.add_argument("--workers", type=int, help="run on this machine, with so many tasks at once")
    arguments = parser.parse_args()

    builder = SparkSession.builder.appName("classify").config("spark.sql.execution.arrow.maxRecordsPerBatch", BATCH)
    builder = builder.config("spark.sql.files.maxPartitionBytes", TASK).config("spark.sql.files.openCostInBytes", FILE)
    if arguments.workers:
        os.environ["PYSPARK_PYTHON"] = sys.executable
        # local[N] would try nothing again.
        builder = builder.master(f"local[{arguments.workers},4]").config("spark.driver.bindAddress", "127.0.0.1")
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")

    images = spark.read.format("binaryFile").option("recursiveFileLookup", True).load(arguments.images)
    classify = mapper(arguments.weights, arguments.threads, arguments.top_k)
    start = time.perf_counter()
    images.select("path", "content").mapInPandas(classify, SCHEMA).write.parquet(arguments.results)
    seconds = time.perf_counter() - start

    rows = spark.read.schema(SCHEMA).parquet(arguments.results)
    failed = rows.where("error is not null").count()
    parts = [row["count"] for row in rows.selectExpr("_metadata.file_path as file").groupBy("file").count().collect()]
    done, parts = {"images": sum(parts), "failed": failed, "seconds": round(seconds, 3)}, parts or [0]
    print(json.dumps(done | {"least_in_a_part": min(parts), "most_in_a_part": max(parts), "parts": len(parts)}))
    spark.stop()


if __name__ == "__main__":
    main()
