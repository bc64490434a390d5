//! One JSON object a line.

use std::io::{self, Write};

use serde::Serialize;

use super::{OutputOptions, Writer};
use crate::{pipeline::Record, text::escaped};

/// Writes JSON lines.
pub struct Jsonl<W> {
    out: W,
    layout: OutputOptions,
}

/// The keys, in the order in which they are written.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Answer {
        path: &'a str,
        #[serde(flatten)]
        best: Class<'a>,
        top: Vec<Class<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        logits: Option<&'a [f32]>,
        #[serde(skip_serializing_if = "Option::is_none")]
        doubt: Option<String>,
    },
    Failure {
        path: &'a str,
        error: &'a str,
    },
}

#[derive(Serialize, Clone, Copy)]
struct Class<'a> {
    class: usize,
    label: &'a str,
    probability: f32,
}

impl<W: Write> Jsonl<W> {
    pub fn new(out: W, layout: OutputOptions) -> Self {
        Self { out, layout }
    }
}

impl<W: Write> Writer for Jsonl<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        let path = &*escaped(&record.path);
        let class = |p: &infer_core::classify::Prediction| Class {
            class: p.class,
            label: &self.layout.labels[p.class],
            probability: p.probability,
        };
        let line = match &record.outcome {
            Ok(answer) => {
                let top: Vec<_> = answer.ranking.iter().take(self.layout.top_k).map(class).collect();
                let doubt = answer.doubt.filter(|_| self.layout.doubts).map(|doubt| doubt.to_string());
                Line::Answer { path, best: top[0], logits: self.layout.logits.then_some(&answer.logits), doubt, top }
            }
            Err(error) => Line::Failure { path, error },
        };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use crate::{args::Format, output::testing::written};

    #[test]
    fn a_line_a_record() {
        let text = written(Format::Jsonl, 2, true, false);
        let [answer, failure] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(answer.starts_with(r#"{"path":"a/b.png","class":9,"label":"label 9","probability":0.39"#), "{answer}");
        assert!(answer.ends_with(r#","logits":[0.0,0.5,1.0,1.5,2.0,2.5,3.0,3.5,4.0,4.5]}"#), "{answer}");
        let value: serde_json::Value = serde_json::from_str(answer).unwrap();
        let top = value["top"].as_array().unwrap();
        assert_eq!(top.len(), 2);
        assert_eq!(top[0]["probability"], value["probability"]);
        assert_eq!((&top[1]["class"], &top[1]["label"]), (&8.into(), &"label 8".into()));
        assert_eq!(failure, r#"{"path":"bad.png","error":"cut, \"short\""}"#);
        assert!(!written(Format::Jsonl, 1, false, false).contains("logits"));
    }
}
