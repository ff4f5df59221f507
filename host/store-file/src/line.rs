//! The file's format.
//!
//! The first line is `enid-journal 1`. Every other is one append:
//!
//! ```text
//! 5b2f9c01 0000001f [{"bound":{…}},…]
//! ```
//!
//! CRC-32 of all that follows the first blank up to the end of the line, the length of the JSON, and the JSON
//! list of the records; both numbers in eight lower-case hexadecimal digits. It can be read with `less` and
//! `jq`, and a JSON text written by serde holds no line break.
//!
//! Old with new: the number in the first line is the format of lines, and a reader refuses what is higher
//! than its own; a later enid reads every lower one. What a record may hold is the record type's business:
//! a record that the type does not know stops the replay with its place, because applying only some of the
//! records is worse than not starting.

/// The newest format known here.
pub const FORMAT: u32 = 1;
/// The most JSON in one line: a full node's records are a tenth of it.
pub const MAX_JSON: usize = 1024 * 1024;
/// The first line of a new file.
pub const HEADER: &[u8] = b"enid-journal 1\n";

const MAGIC: &[u8] = b"enid-journal ";
/// Checksum, blank, length, blank.
const PREFIX: usize = 18;

/// What stands at the start of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A journal of this version.
    Known,
    /// A journal of a later version.
    Newer(u32),
    /// The beginning of [`HEADER`] and nothing else: a crash at creation.
    Unfinished,
    /// Something else.
    Foreign,
}

/// Reads the first line.
pub fn opening(bytes: &[u8]) -> Opening {
    if bytes.starts_with(HEADER) {
        return Opening::Known;
    }
    if HEADER.starts_with(bytes) {
        return Opening::Unfinished;
    }
    let number = bytes.strip_prefix(MAGIC).and_then(|rest| {
        let end = rest.iter().take(11).position(|byte| *byte == b'\n')?;
        std::str::from_utf8(rest.get(..end)?).ok()?.parse::<u32>().ok()
    });
    match number {
        Some(number) if number > FORMAT => Opening::Newer(number),
        Some(_) | None => Opening::Foreign,
    }
}

/// One append as a line.
pub fn encode(json: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(PREFIX + json.len() + 1);
    line.extend_from_slice(prefix(json).as_bytes());
    line.extend_from_slice(json);
    line.push(b'\n');
    line
}

fn prefix(json: &[u8]) -> String {
    let length = format!("{:08x} ", json.len());
    let mut crc = crc32fast::Hasher::new();
    crc.update(length.as_bytes());
    crc.update(json);
    format!("{:08x} {length}", crc.finalize())
}

/// What stands at some place of a file after its first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// An intact line.
    Line {
        /// Its records.
        json: &'a [u8],
        /// Its length, line break included.
        length: usize,
    },
    /// The end.
    End,
    /// An append that was not finished: the beginning of a line and not its end, then nothing or only zeros, which is
    /// what a file system may leave of the rest after a power failure.
    Torn,
    /// Anything else.
    Damaged(&'static str),
}

/// Reads one line. A line that is whole and wrong is damage even if it is the last: it was reported written. So is one
/// that is as long as it says and lacks only its end: what was cut short is shorter.
pub fn next(bytes: &[u8]) -> Next<'_> {
    if bytes.is_empty() {
        return Next::End;
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if is_beginning(bytes) {
            Next::Torn
        } else {
            Next::Damaged("it is no line and no beginning of one")
        };
    };
    let Some((found, json)) = bytes.get(..end).and_then(|line| line.split_at_checked(PREFIX)) else {
        return Next::Damaged("the line is too short");
    };
    if found == prefix(json).as_bytes() {
        Next::Line { json, length: end + 1 }
    } else {
        Next::Damaged("its checksum does not match")
    }
}

/// Whether a write of a line that was cut short can have left these bytes. JSON holds no zero.
fn is_beginning(bytes: &[u8]) -> bool {
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let written = bytes.get(..written).unwrap_or_default();
    let fits = |(place, byte): (usize, &u8)| match place {
        8 | 17 => *byte == b' ',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    if !written.iter().take(PREFIX).enumerate().all(fits) {
        return false;
    }
    let length = written.get(9..17).and_then(|digits| std::str::from_utf8(digits).ok());
    match length.map(|digits| usize::from_str_radix(digits, 16)) {
        None => true,
        Some(Ok(length)) => length <= MAX_JSON && written.len() <= PREFIX + length,
        Some(Err(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_stable() {
        assert_eq!(encode(b"[1]"), b"dd5d8edd 00000003 [1]\n");
        assert_eq!(next(&encode(b"[1]")), Next::Line { json: b"[1]", length: 22 });
    }

    #[test]
    fn a_line_is_torn_only_while_it_has_no_end() {
        let line = encode(b"[1]");
        for length in 1..line.len() {
            assert_eq!(next(&line[..length]), Next::Torn);
        }
        assert!(matches!(next(b"\n"), Next::Damaged(_)));
        assert!(matches!(next(b"DD5D8EDD 00000003 [1]\n"), Next::Damaged(_)), "one spelling only");
        assert_eq!(next(&[0; 100]), Next::Torn);
        let then_zeros = |length: usize| [&line[..length], &[0; 100]].concat();
        assert!((0..line.len()).all(|length| next(&then_zeros(length)) == Next::Torn));
        // All that it says is there, and its end has become something else.
        for other in [b" ", b"X", b"\x0b"] {
            assert!(matches!(next(&[&line[..line.len() - 1], other].concat()), Next::Damaged(_)));
        }
        for never in [&b"garbage"[..], b"dd5d8edd 00200000 [", b"dd5d8edd-", b"\0dd", b"DD5D8EDD"] {
            assert!(matches!(next(never), Next::Damaged(_)), "{never:?}");
        }
    }

    #[test]
    fn openings_are_told_apart() {
        assert_eq!(opening(HEADER), Opening::Known);
        for length in 0..HEADER.len() {
            assert_eq!(opening(&HEADER[..length]), Opening::Unfinished);
        }
        assert_eq!(opening(b"enid-journal 2\nwhatever"), Opening::Newer(2));
        for foreign in
            [&b"enid-journal 0\n"[..], b"enid-journal 99999999999\n", b"enid-journal x\n", b"{}", b"\0\0"]
        {
            assert_eq!(opening(foreign), Opening::Foreign);
        }
    }
}
