//! The measurements as a text and as JSON.

use std::fmt::Write as _;

use infer_core::packed::Cost;
use reporting::{table::plain, words::counted};
use serde_json::{Value, json};

use super::{Limits, Passes, Results};

/// A layer's row: times are of one image.
struct Row {
    cost: Cost,
    seconds: f64,
    /// The least time that arithmetic and memory allow.
    bound: f64,
}

impl Results<'_> {
    fn rows(&self, passes: &Passes, limits: Limits) -> Vec<Row> {
        let row = |(cost, seconds): (Cost, &f64)| {
            let arithmetic = cost.products as f64 / limits.multiply_adds;
            let readers = passes.batch.min(cost.shared_by);
            let memory = cost.weight_bytes as f64 / limits.bytes / readers as f64;
            Row { cost, seconds: seconds / passes.batch as f64, bound: arithmetic.max(memory) }
        };
        self.network.costs().into_iter().zip(&passes.layers).map(row).collect()
    }

    /// One thread and all, unless that is the same.
    fn indices(&self) -> &'static [usize] {
        if self.threads == 1 { &[0] } else { &[0, 1] }
    }

    fn threads(&self, index: usize) -> usize {
        [1, self.threads][index]
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let (backend, linear) = (self.network.kernel(), self.network.linear_weights());
        let _ = writeln!(text, "{}, kernel {backend}, linear weights {linear}\n", self.network.description().title);
        let mut table = plain(["THREADS", "LATENCY", "THROUGHPUT", "ARITHMETIC", "MEMORY"], 1);
        for &i in self.indices() {
            let limits = self.limits[i];
            table.add_row([
                self.threads(i).to_string(),
                format!("{:.2} ms", 1e3 * self.latency[i].total),
                format!("{:.1} images/s", self.throughput[i]),
                format!("{:.1} GFLOP/s", 2e-9 * limits.multiply_adds),
                format!("{:.1} GB/s", 1e-9 * limits.bytes),
            ]);
        }
        let _ = writeln!(text, "{}", table.trim_fmt());
        for &i in self.indices() {
            for passes in [&self.latency[i], &self.batches[i]] {
                let threads = self.threads(i);
                let (images, threads_of) = (counted(passes.batch as u64, "image"), counted(threads as u64, "thread"));
                let _ = writeln!(text, "\n{images} at a time on {threads_of}:");
                let _ = writeln!(text, "{}", self.layers(passes, self.limits[i]));
            }
        }
        text += "\nLATENCY: of one image. THROUGHPUT: 16 images at a time on each thread, as classify does it.\n\
                 ARITHMETIC, MEMORY: what this machine can do at most, measured: multiply-adds in registers (two operations \
                 each), reading.\n\
                 MS: median of one image. GFLOP/S: of the layer's formula; Winograd needs fewer. BOUND: the time that the \
                 arithmetic of\n\
                 its matrix products, or the reading of its weights, takes at least.\n";
        text
    }

    fn layers(&self, passes: &Passes, limits: Limits) -> String {
        let mut table = plain(["LAYER", "MS", "SHARE", "GFLOP/S", "BOUND MS", "OF BOUND"], 1);
        let total = passes.total / passes.batch as f64;
        let mut bounds = 0.0;
        for Row { cost: Cost { layer, .. }, seconds, bound } in self.rows(passes, limits) {
            bounds += bound;
            let operations = 2e-9 * layer.multiply_adds() as f64;
            table.add_row([layer.name.to_string(), milliseconds(seconds), percent(seconds / total)].into_iter().chain(
                if operations > 0.0 {
                    [format!("{:.1}", operations / seconds), milliseconds(bound), percent(bound / seconds)]
                } else {
                    Default::default()
                },
            ));
        }
        let operations = self.network.description().multiply_adds(self.network.classes());
        table.add_row([
            "all".into(),
            milliseconds(total),
            percent(1.0),
            format!("{:.1}", 2e-9 * operations as f64 / total),
            milliseconds(bounds),
            percent(bounds / total),
        ]);
        table.trim_fmt()
    }

    pub(super) fn json(&self) -> Value {
        let measured = |i: usize| {
            let passes = |passes: &Passes| {
                let rows = self.rows(passes, self.limits[i]).into_iter().map(|row| {
                    json!({
                        "layer": row.cost.layer.name,
                        "seconds": row.seconds,
                        "bound_seconds": row.bound,
                        "multiply_adds": row.cost.layer.multiply_adds(),
                        "products": row.cost.products,
                    })
                });
                json!({
                    "batch": passes.batch,
                    "seconds": passes.total / passes.batch as f64,
                    "layers": rows.collect::<Vec<_>>(),
                })
            };
            json!({
                "threads": self.threads(i),
                "images_per_second": self.throughput[i],
                "multiply_adds_per_second": self.limits[i].multiply_adds,
                "bytes_per_second": self.limits[i].bytes,
                "latency": passes(&self.latency[i]),
                "batch": passes(&self.batches[i]),
            })
        };
        json!({
            "network": self.network.description().name,
            "kernel": self.network.kernel(),
            "linear_weights": self.network.linear_weights(),
            "measured": self.indices().iter().map(|&i| measured(i)).collect::<Vec<_>>(),
        })
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.3}", 1e3 * seconds)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}
