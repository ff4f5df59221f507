//! The journal as it stands on disk, read without opening it: a daemon may be writing to it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use enid_core::event::Record;
use enid_core::node::{NodeState, Remembered};
use enid_core::time::Timestamp;
use enid_store_file::line::{self, HEADER, Next, Opening};
use serde::Deserialize;
use serde_json::Value;

use crate::settings::{Document, node_config};

/// Bytes that are read at most: as much as a journal may have.
const MAX_READ: u64 = 64 * 1024 * 1024;
/// Records that a bundle has at most: those of a full node several times over.
const MAX_RECORDS: usize = 5_000;
/// Said at the end of a journal whose last line is not whole.
const TORN: &str = "here the journal ends in the middle of a line";

/// All records that can be read, the oldest first; of a damaged journal those before the damage, and a word about it.
pub(super) fn read(path: &Path) -> Result<Vec<Value>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|why| format!("{}: {why}", path.display()))?;
    file.take(MAX_READ).read_to_end(&mut bytes).map_err(|why| format!("{}: {why}", path.display()))?;
    records_of(&bytes).map_err(|why| format!("{}: {why}", path.display()))
}

fn records_of(bytes: &[u8]) -> Result<Vec<Value>, String> {
    match line::opening(bytes) {
        Opening::Known => {}
        Opening::Unfinished => return Ok(Vec::new()),
        Opening::Newer(version) => return Err(format!("format {version} is newer than this program")),
        Opening::Foreign => return Err("not a journal".to_owned()),
    }
    let mut records = Vec::new();
    let mut rest = &bytes[HEADER.len()..];
    loop {
        match line::next(rest) {
            Next::Line { json, length } => {
                match serde_json::from_slice::<Vec<Value>>(json) {
                    Ok(appended) => records.extend(appended),
                    Err(why) => records.push(remark(&format!("a line that is no list of records: {why}"))),
                }
                rest = &rest[length..];
            }
            Next::End => return Ok(records),
            // The daemon is writing it, or died doing so.
            Next::Torn => {
                records.push(remark(TORN));
                return Ok(records);
            }
            Next::Damaged(why) => {
                records.push(remark(&format!("here the journal is damaged: {why}")));
                return Ok(records);
            }
        }
    }
}

/// What is no record says so itself.
fn remark(what: &str) -> Value {
    serde_json::json!({ "remark": what })
}

/// The last of them, one a line.
pub(super) fn lines(records: &[Value]) -> Vec<u8> {
    let last = &records[records.len().saturating_sub(MAX_RECORDS)..];
    last.iter().map(|record| format!("{record}\n")).collect::<String>().into_bytes()
}

/// The addresses that a daemon would know of after it had read the journal.
pub(super) fn addresses(records: &[Value], document: &Document, now: Timestamp) -> Result<Value, String> {
    let whole = match records.split_last() {
        // What was not written to the end does not count yet.
        Some((last, before)) if *last == remark(TORN) => before,
        Some(_) | None => records,
    };
    let known: Result<Vec<Record>, _> = whole.iter().map(Record::deserialize).collect();
    // Without one of them an address that is bound would look free.
    let known = known.map_err(|why| format!("not every record is understood, see journal.jsonl: {why}"))?;
    let Remembered { identity, instance_type } = Remembered::from_records(&known);
    let identity = identity.ok_or("the journal does not say which node it is of")?;
    let instance_type = instance_type
        .or_else(|| enid_core::instance_types::lookup(&identity.instance_type))
        .ok_or_else(|| format!("the journal does not say what {} allows", identity.instance_type))?;
    let config = node_config(&document.settings, &identity.zone);
    let (node, _) = NodeState::restore(config, identity, instance_type, &known, now);
    serde_json::to_value(node.addresses(now)).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(lines: &[&[u8]]) -> Vec<u8> {
        let lines = lines.iter().flat_map(|json| line::encode(json));
        HEADER.iter().copied().chain(lines).collect()
    }

    #[test]
    fn records_are_read_up_to_what_is_torn_or_damaged() {
        let whole = journal(&[b"[1,2]", b"[3]"]);
        assert_eq!(records_of(&whole).unwrap(), [1, 2, 3].map(Value::from));
        let torn = records_of(&whole[..whole.len() - 3]).unwrap();
        assert_eq!((torn.len(), &torn[1]), (3, &Value::from(2)));
        assert!(torn[2]["remark"].as_str().unwrap().contains("middle of a line"));
        let mut damaged = whole;
        let end = damaged.len();
        damaged[end - 3] ^= 1;
        let damaged = records_of(&damaged).unwrap();
        assert!(damaged[2]["remark"].as_str().unwrap().contains("damaged"), "{damaged:?}");
    }

    #[test]
    fn addresses_do_not_follow_from_a_journal_that_is_not_understood_to_its_end() {
        let of = |lines: &[&[u8]]| {
            let records = records_of(&journal(lines)).unwrap();
            addresses(&records, &Document::defaults(), Timestamp(0)).unwrap_err()
        };
        assert!(of(&[]).contains("which node"));
        let unknown = of(&[b"[{\"kind\":\"of-the-future\"}]"]);
        assert!(unknown.contains("not every record is understood"), "{unknown}");
        // A line that is being written is no record yet.
        let torn = journal(&[b"[1]"]);
        let records = records_of(&torn[..torn.len() - 3]).unwrap();
        let error = addresses(&records, &Document::defaults(), Timestamp(0)).unwrap_err();
        assert!(error.contains("which node"), "{error}");
    }

    #[test]
    fn what_is_no_journal_is_said_to_be_none() {
        assert_eq!(records_of(b"").unwrap(), [] as [Value; 0]);
        assert!(records_of(b"enid-journal 9\n").unwrap_err().contains("newer"));
        assert!(records_of(b"something else").unwrap_err().contains("not a journal"));
        let error = read(Path::new("/nonexistent/journal")).unwrap_err();
        assert!(error.starts_with("/nonexistent/journal: "), "{error}");
    }
}
