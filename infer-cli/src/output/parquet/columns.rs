//! The columns of a row group, in memory until it is written, and the schema that names them.
//!
//! A column of Parquet has, beside its values, a definition level for each place (how much of the path to the value is there)
//! and, in lists, a repetition level (0 where a row begins).

use std::{fmt::Write as _, fs::File, sync::Arc};

use parquet::{
    data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int32Type},
    errors::{ParquetError, Result},
    file::writer::SerializedRowGroupWriter,
    schema::{parser::parse_message_type, types::TypePtr},
};

use crate::{output::OutputOptions, pipeline::Record, text::escaped};

/// The schema: the keys of a JSON record.
pub fn schema(layout: &OutputOptions) -> Result<TypePtr> {
    let mut text = String::from(
        "message results { required binary path (STRING); optional int32 class; optional binary label (STRING); \
         optional float probability; optional group top (LIST) { repeated group list { required group element { \
         required int32 class; required binary label (STRING); required float probability; } } } ",
    );
    if layout.logits {
        text += "optional group logits (LIST) { repeated group list { required float element; } } ";
    }
    if layout.doubts {
        text += "optional binary doubt (STRING); ";
    }
    // Writing to a string cannot fail.
    let _ = text.write_str("optional binary error (STRING); }");
    parse_message_type(&text).map(Arc::new)
}

/// The rows of a row group.
pub struct Columns {
    path: Column<ByteArray>,
    class: Column<i32>,
    label: Column<ByteArray>,
    probability: Column<f32>,
    top_class: Column<i32>,
    top_label: Column<ByteArray>,
    top_probability: Column<f32>,
    logits: Option<Column<f32>>,
    doubt: Option<Column<ByteArray>>,
    error: Column<ByteArray>,
    /// The classes' names, whose memory all rows share.
    labels: Vec<ByteArray>,
}

/// Levels and values of a column.
struct Column<T> {
    values: Vec<T>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

/// Definition level of a list that is there and has values.
const IN_LIST: i16 = 2;

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), definition: Vec::new(), repetition: Vec::new() }
    }
}

impl<T> Column<T> {
    /// A row with a value or none.
    fn push(&mut self, value: Option<T>) {
        self.definition.push(i16::from(value.is_some()));
        self.repetition.push(0);
        self.values.extend(value);
    }

    /// A row with a list, which is not empty, or none.
    fn push_list(&mut self, values: Option<impl Iterator<Item = T>>) {
        let Some(values) = values else { return self.push(None) };
        let before = self.values.len();
        self.values.extend(values);
        self.definition.resize(self.definition.len() + self.values.len() - before, IN_LIST);
        self.repetition.push(0);
        self.repetition.resize(self.definition.len(), 1);
    }

    fn write<D: DataType<T = T>>(&mut self, group: &mut SerializedRowGroupWriter<'_, File>) -> Result<()> {
        let missing = || ParquetError::General("the schema has fewer columns than a row".into());
        let mut column = group.next_column()?.ok_or_else(missing)?;
        column.typed::<D>().write_batch(&self.values, Some(&self.definition), Some(&self.repetition))?;
        column.close()?;
        *self = Self::default();
        Ok(())
    }
}

impl Columns {
    /// No rows yet.
    pub fn new(layout: &OutputOptions) -> Self {
        Self {
            path: Column::default(),
            class: Column::default(),
            label: Column::default(),
            probability: Column::default(),
            top_class: Column::default(),
            top_label: Column::default(),
            top_probability: Column::default(),
            logits: layout.logits.then(Column::default),
            doubt: layout.doubts.then(Column::default),
            error: Column::default(),
            labels: layout.labels.iter().map(|label| label.as_str().into()).collect(),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.path.values.len()
    }

    /// Adds a row.
    pub fn push(&mut self, record: &Record, layout: &OutputOptions) {
        self.path.push(Some((*escaped(&record.path)).into()));
        let answer = record.outcome.as_ref().ok();
        let top = answer.map(|answer| &answer.ranking[..layout.top_k]);
        let best = top.and_then(<[_]>::first);
        // There are fewer classes than an i32 counts.
        let class = |class: usize| class as i32;
        self.class.push(best.map(|best| class(best.class)));
        self.label.push(best.map(|best| self.labels[best.class].clone()));
        self.probability.push(best.map(|best| best.probability));
        self.top_class.push_list(top.map(|top| top.iter().map(|one| class(one.class))));
        self.top_label.push_list(top.map(|top| top.iter().map(|one| self.labels[one.class].clone())));
        self.top_probability.push_list(top.map(|top| top.iter().map(|one| one.probability)));
        if let Some(logits) = &mut self.logits {
            logits.push_list(answer.map(|answer| answer.logits.iter().copied()));
        }
        if let Some(doubt) = &mut self.doubt {
            let reason = answer.and_then(|answer| answer.doubt);
            doubt.push(reason.map(|reason| reason.to_string().as_str().into()));
        }
        self.error.push(record.outcome.as_ref().err().map(|error| error.as_str().into()));
    }

    /// Writes all rows, in the order of the schema; there are none then.
    pub fn write(&mut self, group: &mut SerializedRowGroupWriter<'_, File>) -> Result<()> {
        self.path.write::<ByteArrayType>(group)?;
        self.class.write::<Int32Type>(group)?;
        self.label.write::<ByteArrayType>(group)?;
        self.probability.write::<FloatType>(group)?;
        self.top_class.write::<Int32Type>(group)?;
        self.top_label.write::<ByteArrayType>(group)?;
        self.top_probability.write::<FloatType>(group)?;
        if let Some(logits) = &mut self.logits {
            logits.write::<FloatType>(group)?;
        }
        if let Some(doubt) = &mut self.doubt {
            doubt.write::<ByteArrayType>(group)?;
        }
        self.error.write::<ByteArrayType>(group)
    }
}
