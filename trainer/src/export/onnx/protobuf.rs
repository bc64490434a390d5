//! Protocol Buffers, as far as writing needs it: a message is bytes, to which fields are added
//! (<https://protobuf.dev/programming-guides/encoding/>).

/// A message in the making.
#[derive(Debug, Default)]
pub struct Message(Vec<u8>);

/// Wire types.
const VARINT: u64 = 0;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

impl Message {
    /// A field that is a number, which is not negative.
    pub fn number(&mut self, field: u64, value: u64) -> &mut Self {
        self.varint(field << 3 | VARINT);
        self.varint(value);
        self
    }

    /// A field that is numbers, one by one, which readers of both syntaxes take.
    pub fn numbers(&mut self, field: u64, values: &[usize]) -> &mut Self {
        values.iter().for_each(|value| _ = self.number(field, *value as u64));
        self
    }

    /// A field that is a float.
    pub fn float(&mut self, field: u64, value: f32) -> &mut Self {
        self.varint(field << 3 | FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A field that is text.
    pub fn text(&mut self, field: u64, text: &str) -> &mut Self {
        self.bytes(field, text.as_bytes())
    }

    /// A field that is a message.
    pub fn message(&mut self, field: u64, message: &Self) -> &mut Self {
        self.bytes(field, &message.0)
    }

    /// A field that is bytes.
    pub fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.varint(field << 3 | BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// The whole message.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the encoding's documentation.
    #[test]
    fn fields_are_encoded_as_documented() {
        let mut message = Message::default();
        message.number(1, 150).text(2, "testing").numbers(6, &[3, 270, 86_942]);
        let mut inner = Message::default();
        inner.number(1, 150);
        message.message(3, &inner).float(4, -2.5);
        let expected = [
            &[0x08, 0x96, 0x01][..],
            &[0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6E, 0x67],
            &[0x30, 0x03, 0x30, 0x8E, 0x02, 0x30, 0x9E, 0xA7, 0x05],
            &[0x1A, 0x03, 0x08, 0x96, 0x01],
            &[0x25, 0x00, 0x00, 0x20, 0xC0], // -2.5, IEEE 754
        ];
        assert_eq!(message.into_bytes(), expected.concat());
    }
}
