//! Numbers, durations and names as people read them.

use std::{error::Error, fmt::Write as _, iter, time::Duration};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// An error with its causes, but for those that it already ends with.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(error.source(), |&cause| cause.source());
    causes.map(ToString::to_string).fold(error.to_string(), |message, cause| {
        if message.ends_with(&cause) { message } else { format!("{message}: {cause}") }
    })
}

/// The number with a comma between groups of three digits: `12,345,678`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number of things: `1 image`, `10,000 images`, `2 classes`.
pub fn counted(count: u64, thing: &str) -> String {
    let plural = match thing.ends_with('s') {
        _ if count == 1 => "",
        true => "es",
        false => "s",
    };
    format!("{} {thing}{plural}", grouped(count))
}

/// Alternatives: `a`, `a or b`, `a, b or c`.
pub fn alternatives(names: &[&str]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        names => names.concat(),
    }
}

/// A share, 0 to 1, in percent: `85.12 %`.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A number a second, with two significant digits or all that stand before the point: `1,234`, `299`, `43`, `4.3`, `0.043`.
pub fn rate(per_second: f64) -> String {
    if !per_second.is_finite() || per_second <= 0.0 {
        return "0".to_string();
    }
    // 9.96 is rounded to 10, which has no digit behind the point.
    let decimals = (0..6).find(|&decimals| per_second >= 9.95 * 0.1_f64.powi(decimals)).unwrap_or(6);
    match decimals {
        0 => grouped(per_second.round() as u64),
        _ => format!("{per_second:.0$}", decimals as usize),
    }
}

/// A duration by its two largest units: `40 ms`, `0.8 s`, `42 s`, `3 min 20 s`, `2 h 05 min`. Seconds have a decimal below ten of them, if
/// the duration is not of whole seconds.
pub fn duration(duration: Duration) -> String {
    if duration.subsec_nanos() > 0 && duration < Duration::from_millis(95) {
        return format!("{} ms", duration.as_millis().max(1));
    }
    if duration.subsec_nanos() > 0 && duration < Duration::from_millis(9_950) {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    let seconds = duration.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => {
            let minutes = seconds.saturating_add(30) / 60;
            format!("{} h {:02} min", grouped(minutes / 60), minutes % 60)
        }
    }
}

/// A loss in six characters where they suffice: `0.4123`, `12.345`.
pub fn loss(loss: f64) -> String {
    match loss.abs() {
        size if size < 9.999_95 => format!("{loss:.4}"),
        size if size < 99.9995 => format!("{loss:.3}"),
        size if size < 999.995 => format!("{loss:.2}"),
        _ => format!("{loss:.0e}"),
    }
}

/// The text with control characters, and those that change the direction of writing, as visible escapes.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => printable.push_str("\\n"),
            '\r' => printable.push_str("\\r"),
            '\t' => printable.push_str("\\t"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                escape(&mut printable, character)
            }
            _ if character.is_control() => escape(&mut printable, character),
            _ => printable.push(character),
        }
    }
    printable
}

fn escape(text: &mut String, character: char) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", character.escape_unicode());
}

/// Width of a text in columns of a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text, cut to `columns` columns of a terminal with `…` at its end where it is longer.
pub fn shortened(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_string();
    }
    let mut shortened = String::new();
    let mut left = columns.saturating_sub(1);
    for character in text.chars() {
        let width = character.width().unwrap_or(0);
        if width > left {
            break;
        }
        left -= width;
        shortened.push(character);
    }
    format!("{}…", shortened.trim_end())
}

/// The text in lines of at most so many columns, which end between words. A longer word has a line of its own.
pub fn wrapped(text: &str, columns: usize) -> String {
    let (mut lines, mut taken) = (String::new(), 0);
    for word in text.split(' ') {
        let word_width = width(word);
        if taken > 0 && taken + 1 + word_width > columns {
            lines.push('\n');
            taken = 0;
        } else if taken > 0 {
            lines.push(' ');
            taken += 1;
        }
        lines.push_str(word);
        taken += word_width;
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;

    #[test]
    fn a_message_names_each_cause_once() {
        /// Has a message, and a cause.
        #[derive(Debug)]
        struct Failure(&'static str, io::Error);

        impl fmt::Display for Failure {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }

        impl Error for Failure {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.1)
            }
        }

        let full = |message| with_causes(&Failure(message, io::Error::other("the disk is full")));
        assert_eq!(full("cannot write x"), "cannot write x: the disk is full");
        assert_eq!(full("x: the disk is full"), "x: the disk is full");
    }

    #[test]
    fn lines_end_between_words() {
        assert_eq!(wrapped("one two three", 80), "one two three");
        assert_eq!(wrapped("one two three", 7), "one two\nthree");
        assert_eq!(wrapped("one two three", 6), "one\ntwo\nthree");
        assert_eq!(wrapped("a/very/long/path is a word", 8), "a/very/long/path\nis a\nword");
        assert_eq!(wrapped("größe größe", 11), "größe größe");
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 999, 1000, 12_345_678].map(grouped), ["0", "999", "1,000", "12,345,678"]);
    }

    #[test]
    fn numbers_agree_with_what_they_count() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "image")), ["0 images", "1 image", "2 images"]);
        assert_eq!([1, 10_000].map(|count| counted(count, "class")), ["1 class", "10,000 classes"]);
    }

    #[test]
    fn alternatives_are_a_sentence() {
        let of = |count| alternatives(&["a", "b", "c", "d"][..count]);
        assert_eq!([0, 1, 2, 3, 4].map(of), ["", "a", "a or b", "a, b or c", "a, b, c or d"]);
    }

    #[test]
    fn rates_have_two_digits_or_more() {
        let rates = [1234.5, 299.4, 99.6, 10.4, 9.96, 9.94, 4.34, 0.996, 0.043, 0.0, f64::NAN, f64::INFINITY];
        let expected = ["1,235", "299", "100", "10", "10", "9.9", "4.3", "1.0", "0.043", "0", "0", "0"];
        assert_eq!(rates.map(rate), expected);
    }

    #[test]
    fn durations_have_two_units() {
        let of = |seconds| duration(Duration::from_secs_f64(seconds));
        let seconds = [
            0.0, 0.0401, 0.0001, 0.84, 4.0, 4.32, 9.96, 42.4, 59.6, 200.0, 3599.4, 3599.6, 7500.0, 7529.0, 7531.0,
            360_000.0,
        ];
        let expected = [
            "0 s",
            "40 ms",
            "1 ms",
            "0.8 s",
            "4 s",
            "4.3 s",
            "10 s",
            "42 s",
            "1 min 00 s",
            "3 min 20 s",
            "59 min 59 s",
            "1 h 00 min",
            "2 h 05 min",
            "2 h 05 min",
            "2 h 06 min",
            "100 h 00 min",
        ];
        assert_eq!(seconds.map(of), expected);
        assert!(duration(Duration::MAX).ends_with("min"));
    }

    #[test]
    fn losses_have_six_characters() {
        let losses = [0.41234, 9.99994, 9.99996, 12.3456, 123.456, 5e10, -0.5, f64::NAN];
        assert_eq!(losses.map(loss), ["0.4123", "9.9999", "10.000", "12.346", "123.46", "5e10", "-0.5000", "NaN"]);
    }

    #[test]
    fn what_controls_a_terminal_is_escaped() {
        assert_eq!(printable("a\u{1b}[31m\nb\u{9b}c\u{7f}"), "a\\u{1b}[31m\\nb\\u{9b}c\\u{7f}");
        assert_eq!(printable("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(printable("Größe 大 😀"), "Größe 大 😀");
    }

    #[test]
    fn long_names_are_cut_by_columns() {
        assert_eq!(
            [shortened("Trouser", 7), shortened("Trousers", 7), shortened("大大大大", 6)],
            ["Trouser", "Trouse…", "大大…"]
        );
    }
}
