//! Times of a device's work, by groups: a table, and `kernel-times.csv`.

use std::{fmt, io};

use comfy_table::{CellAlignment, Table, presets};

/// One group of work.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupTime {
    /// Name of the work.
    pub group: String,
    /// Number of calls.
    pub calls: u64,
    /// Milliseconds in all.
    pub milliseconds: f64,
}

/// Times of a device's work.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// From the first piece of work to the last, in milliseconds.
    pub milliseconds: f64,
    /// The longest first. Pieces that ran at the same time count each.
    pub groups: Vec<GroupTime>,
}

/// The group of the time in which nothing was done.
const IDLE: &str = "idle";

impl Times {
    /// Sorts groups, and adds the time in which none of them worked.
    pub fn new(milliseconds: f64, mut groups: Vec<GroupTime>) -> Self {
        let busy: f64 = groups.iter().map(|group| group.milliseconds).sum();
        groups.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds).then_with(|| a.group.cmp(&b.group)));
        groups.push(GroupTime { group: IDLE.to_string(), calls: 0, milliseconds: (milliseconds - busy).max(0.0) });
        Self { milliseconds, groups }
    }

    /// A group's share of all time, 0 to 1; more groups than one may work at a time.
    fn share(&self, group: &GroupTime) -> f64 {
        if self.milliseconds > 0.0 { group.milliseconds / self.milliseconds } else { 0.0 }
    }
}

impl fmt::Display for Times {
    /// A table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["group", "calls", "ms", "share"]);
        for group in &self.groups {
            let calls = if group.calls > 0 { group.calls.to_string() } else { String::new() };
            let share = format!("{:.1} %", 100.0 * self.share(group));
            table.add_row([group.group.clone(), calls, format!("{:.2}", group.milliseconds), share]);
        }
        table.add_row(["all".to_string(), String::new(), format!("{:.2}", self.milliseconds), String::new()]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        f.write_str(&table.trim_fmt())
    }
}

/// Writes the times of epochs as a table of comma-separated values.
///
/// # Errors
/// The writer's.
pub(super) fn write_csv(epochs: &[(usize, Times)], writer: impl io::Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(writer);
    csv.write_record(["epoch", "group", "calls", "milliseconds", "share"])?;
    for (epoch, times) in epochs {
        for group in &times.groups {
            csv.write_record([
                epoch.to_string(),
                group.group.clone(),
                group.calls.to_string(),
                format!("{:.4}", group.milliseconds),
                format!("{:.4}", times.share(group)),
            ])?;
        }
    }
    csv.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> Times {
        let group = |group: &str, calls, milliseconds| GroupTime { group: group.to_string(), calls, milliseconds };
        Times::new(10.0, vec![group("fold", 4, 1.5), group("unfold", 5, 6.0)])
    }

    #[test]
    fn the_longest_comes_first_and_what_is_left_is_idle() {
        let text = times().to_string();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["unfold", "5", "6.00", "60.0", "%"]);
        assert_eq!(rows[2], ["fold", "4", "1.50", "15.0", "%"]);
        assert_eq!(rows[3], ["idle", "2.50", "25.0", "%"]);
        assert_eq!(rows[4], ["all", "10.00"]);
    }

    #[test]
    fn the_file_has_a_line_for_each_group_of_each_epoch() {
        let mut text = Vec::new();
        write_csv(&[(1, times()), (2, Times::new(0.0, Vec::new()))], &mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "epoch,group,calls,milliseconds,share\n1,unfold,5,6.0000,0.6000\n1,fold,4,1.5000,0.1500\n\
             1,idle,0,2.5000,0.2500\n2,idle,0,0.0000,0.0000\n"
        );
    }
}
