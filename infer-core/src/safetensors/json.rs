//! The JSON that a safetensors header is made of: strings and whole numbers, scanned in place without memory.
//!
//! Strict where general parsers for small devices are lenient (RFC 8259: no raw control characters, no lone surrogates,
//! no leading zeros), because a weights file that one reader accepts and another refuses is a trap.

use core::fmt;

/// A string as it stands in JSON text, its escapes validated but not yet replaced.
#[derive(Clone, Copy)]
pub struct JsonStr<'a>(&'a str);

impl<'a> JsonStr<'a> {
    /// The characters that the string stands for.
    pub fn chars(self) -> impl Iterator<Item = char> + 'a {
        let mut rest = self.0.chars();
        core::iter::from_fn(move || {
            let character = rest.next()?;
            if character != '\\' {
                return Some(character);
            }
            match rest.next()? {
                'b' => Some('\u{8}'),
                'f' => Some('\u{c}'),
                'n' => Some('\n'),
                'r' => Some('\r'),
                't' => Some('\t'),
                'u' => {
                    let unit = hex4(&mut rest)?;
                    if !(0xD800..0xDC00).contains(&unit) {
                        return char::from_u32(unit);
                    }
                    let (backslash, u) = (rest.next()?, rest.next()?);
                    let low = hex4(&mut rest)?;
                    if (backslash, u) != ('\\', 'u') || !(0xDC00..0xE000).contains(&low) {
                        return None;
                    }
                    char::from_u32(0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
                }
                other => Some(other),
            }
        })
    }

    /// Whether the string stands for `text`.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        self.chars().eq(text.chars())
    }

    /// Whether two strings stand for the same text.
    #[must_use]
    pub fn same(self, other: JsonStr<'_>) -> bool {
        self.chars().eq(other.chars())
    }
}

/// Prints the text that the string stands for.
impl fmt::Display for JsonStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars().try_for_each(|c| fmt::Write::write_char(f, c))
    }
}

impl fmt::Debug for JsonStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

fn hex4(characters: &mut core::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |value, _| Some(value * 16 + characters.next()?.to_digit(16)?))
}

/// Where the text stops being JSON of the expected form: an offset in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unexpected(pub(crate) usize);

/// A position in JSON text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The error that says that the text is wrong here.
    pub(crate) fn unexpected(&self) -> Unexpected {
        Unexpected(self.at)
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not white space, which stays the next.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Passes over `byte` if it is next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Passes over `byte`, which must be next.
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Unexpected> {
        if self.eat(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Nothing but white space may be left.
    pub(crate) fn end(&mut self) -> Result<(), Unexpected> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Calls `item` for each `"key": value` of the object that must be next. It has to pass over the value.
    pub(crate) fn object<E: From<Unexpected>>(
        &mut self,
        mut item: impl FnMut(&mut Self, JsonStr<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{')?;
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            item(self, key)?;
            if self.eat(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Calls `item` for each value of the array that must be next. It has to pass over the value.
    pub(crate) fn array<E: From<Unexpected>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'[')?;
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.eat(b']') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// The string that must be next.
    pub(crate) fn string(&mut self) -> Result<JsonStr<'a>, Unexpected> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.byte() {
                Some(b'"') => {
                    let text = self.text.get(start..self.at).ok_or(self.unexpected())?;
                    self.at += 1;
                    return Ok(JsonStr(text));
                }
                Some(b'\\') => self.escape()?,
                Some(0x20..) => self.at += 1,
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Unexpected> {
        let start = self.unexpected();
        self.at += 1;
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let unit = self.unit().ok_or(start)?;
                let low = match unit {
                    0xD800..0xDC00 if self.byte() == Some(b'\\') => {
                        self.at += 1;
                        if self.byte() == Some(b'u') { self.unit() } else { None }
                    }
                    0xD800..0xE000 => None,
                    _ => return Ok(()),
                };
                if !low.is_some_and(|low| (0xDC00..0xE000).contains(&low)) {
                    return Err(start);
                }
            }
            _ => return Err(start),
        }
        Ok(())
    }

    /// The value of `uXXXX`, passed over.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at + 1..self.at + 5)?;
        self.at += 5;
        hex4(&mut digits.chars())
    }

    /// The whole number, 0 or greater, that must be next. `None` where it does not fit.
    pub(crate) fn unsigned(&mut self) -> Result<Option<u64>, Unexpected> {
        let Some(first @ b'0'..=b'9') = self.peek() else { return Err(self.unexpected()) };
        self.at += 1;
        let mut value = Some(u64::from(first - b'0'));
        while let Some(digit @ b'0'..=b'9') = self.byte() {
            if first == b'0' {
                return Err(self.unexpected());
            }
            self.at += 1;
            value = value.and_then(|v| v.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
        }
        match self.byte() {
            Some(b'.' | b'e' | b'E') => Err(self.unexpected()),
            _ => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn string(text: &str) -> Result<std::string::String, Unexpected> {
        Cursor::new(text).string().map(|s| s.to_string())
    }

    #[test]
    fn strings_are_unescaped() {
        assert_eq!(string(r#""conv1.weight""#).unwrap(), "conv1.weight");
        assert_eq!(string(r#""""#).unwrap(), "");
        assert_eq!(string(r#" "a\"\\\/\b\f\n\r\tz" "#).unwrap(), "a\"\\/\u{8}\u{c}\n\r\tz");
        assert_eq!(string(r#""\u0041\u00e9\ud83d\ude00é""#).unwrap(), "Aé😀é");
    }

    #[test]
    fn strings_that_are_not_json_are_refused() {
        for text in [
            "x",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"\\ud83dx\"",
            "\"\\u+123\"",
            "\"\\u12é\"",
        ] {
            assert!(string(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers() {
        let number = |text: &str| Cursor::new(text).unsigned();
        assert_eq!(number("0"), Ok(Some(0)));
        assert_eq!(number(" 184467 "), Ok(Some(184_467)));
        assert_eq!(number("18446744073709551615"), Ok(Some(u64::MAX)));
        assert_eq!(number("18446744073709551616"), Ok(None));
        for text in ["", "-1", "01", "1.0", "1e3", "a", "\"1\""] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn objects_and_arrays() {
        let mut sum = 0;
        let mut cursor = Cursor::new(r#" { "a" : [ 1 , 2 ] , "b":[],"c":[30]} "#);
        cursor
            .object::<Unexpected>(|cursor, _| {
                cursor.array(|cursor| {
                    sum += cursor.unsigned()?.unwrap();
                    Ok(())
                })
            })
            .unwrap();
        cursor.end().unwrap();
        assert_eq!(sum, 33);
        for text in ["{", "{,}", "{\"a\":[1,]}", "{\"a\":[1]", "{\"a\"[1]}", "{\"a\":[1],}", "{a:[1]}", "{\"a\":[1 2]}"]
        {
            let mut cursor = Cursor::new(text);
            let result = cursor.object::<Unexpected>(|cursor, _| cursor.array(|cursor| cursor.unsigned().map(|_| ())));
            assert!(result.is_err(), "{text}");
        }
    }
}
