//! Rows in the binary form of COPY (PostgreSQL manual, COPY, binary format).

use uuid::Uuid;

/// Rows under construction, each of as many fields as the COPY names columns.
#[derive(Debug)]
pub(crate) struct Rows {
    data: Vec<u8>,
    columns: i16,
}

impl Rows {
    /// No rows yet, of `columns` fields each; `rows` are expected.
    pub(crate) fn new(columns: i16, rows: usize) -> Self {
        let mut data = Vec::with_capacity(rows * usize::from(columns.unsigned_abs()) * 8 + 32);
        data.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        // No flags, no extension of the header.
        data.extend_from_slice(&[0; 8]);
        Self { data, columns }
    }

    /// Begins the next row.
    pub(crate) fn row(&mut self) -> &mut Self {
        self.data.extend_from_slice(&self.columns.to_be_bytes());
        self
    }

    /// The next field of the row.
    pub(crate) fn field(&mut self, field: impl Field) -> &mut Self {
        field.write(&mut self.data);
        self
    }

    /// What is sent.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.data.extend_from_slice(&(-1_i16).to_be_bytes());
        self.data
    }
}

/// A value with a length before it.
pub(crate) trait Field {
    fn write(self, data: &mut Vec<u8>);
}

fn sized(data: &mut Vec<u8>, bytes: &[u8]) {
    // No text of core's is longer than its limits allow.
    let length = i32::try_from(bytes.len()).expect("shorter than 2 GiB");
    data.extend_from_slice(&length.to_be_bytes());
    data.extend_from_slice(bytes);
}

impl Field for bool {
    fn write(self, data: &mut Vec<u8>) {
        sized(data, &[u8::from(self)]);
    }
}

impl Field for i16 {
    fn write(self, data: &mut Vec<u8>) {
        sized(data, &self.to_be_bytes());
    }
}

impl Field for i32 {
    fn write(self, data: &mut Vec<u8>) {
        sized(data, &self.to_be_bytes());
    }
}

impl Field for i64 {
    fn write(self, data: &mut Vec<u8>) {
        sized(data, &self.to_be_bytes());
    }
}

impl Field for Uuid {
    fn write(self, data: &mut Vec<u8>) {
        sized(data, self.as_bytes());
    }
}

impl Field for String {
    fn write(self, data: &mut Vec<u8>) {
        sized(data, self.as_bytes());
    }
}

impl<T: Field> Field for Option<T> {
    fn write(self, data: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(data),
            None => data.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
}
