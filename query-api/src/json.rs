//! JSON with a limit.

use std::io::Write;

use serde::Serialize;

/// Why a value was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has more bytes than this.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// It cannot be written as JSON.
    #[error("an answer cannot be written: {0}")]
    Failed(serde_json::Error),
}

/// JSON of at most `limit` bytes; never more is held.
pub fn to_json(value: &impl Serialize, limit: usize) -> Result<Vec<u8>, Error> {
    let mut writer = Limited { bytes: Vec::new(), limit };
    match serde_json::to_writer(&mut writer, value) {
        Ok(()) => Ok(writer.bytes),
        Err(error) if error.is_io() => Err(Error::TooLarge(limit)),
        Err(error) => Err(Error::Failed(error)),
    }
}

struct Limited {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Limited {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + part.len() > self.limit {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_off_at_its_limit() {
        assert_eq!(to_json(&"abc", 5).expect("fits"), b"\"abc\"");
        assert!(matches!(to_json(&"abcd", 5), Err(Error::TooLarge(5))));
    }
}
