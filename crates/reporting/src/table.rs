//! Tables of text.

use comfy_table::{CellAlignment, Table, presets};

/// A table without lines: `texts` columns to the left, the others, numbers, to the right.
pub fn plain<'h>(header: impl IntoIterator<Item = &'h str>, texts: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        column.set_cell_alignment(if i < texts { CellAlignment::Left } else { CellAlignment::Right });
    }
    table
}
