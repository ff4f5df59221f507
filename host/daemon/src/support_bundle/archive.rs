//! A tar archive (POSIX ustar), as far as a bundle needs one.

use enid_core::time::Timestamp;

/// Everything in an archive comes in blocks of this size.
const BLOCK: usize = 512;
/// What all files are under.
const DIRECTORY: &str = "enid-support";

/// An archive of files that only their owner may read.
#[derive(Debug)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    seconds: u64,
}

impl Archive {
    /// An empty one; its files are as old as `now`.
    pub(super) fn at(now: Timestamp) -> Self {
        Self { bytes: Vec::new(), seconds: now.0 / 1000 }
    }

    /// Adds a file. `name` is short, and one of ours.
    pub(super) fn add(&mut self, name: &str, content: &[u8]) {
        let mut header = [0u8; BLOCK];
        let mut put = |at: usize, field: &str| header[at..at + field.len()].copy_from_slice(field.as_bytes());
        let path = format!("{DIRECTORY}/{name}");
        assert!(path.len() <= 100, "a name in the archive has its place");
        put(0, &path);
        put(100, "0000600\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", content.len()));
        put(136, &format!("{:011o}\0", self.seconds));
        // The sum is taken with blanks in its own place.
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\0");
        put(263, "00");
        put(265, "root");
        put(297, "root");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }

    /// The whole of it.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_reads_what_was_written() {
        let mut archive = Archive::at(Timestamp(951_827_696_000));
        archive.add("empty", b"");
        archive.add("block", &[b'x'; BLOCK]);
        archive.add("text.txt", b"some text\n");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.tar");
        std::fs::write(&file, archive.end()).unwrap();
        let tar = |arguments: &[&str]| {
            let output = Command::new("tar").args(arguments).arg("-f").arg(&file).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let listed = tar(&["--utc", "-tv"]);
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!(lines.len(), 3, "{listed}");
        assert!(lines.iter().all(|line| line.starts_with("-rw------- root/root ")), "{listed}");
        assert!(lines[2].contains("10 2000-02-29 12:34 enid-support/text.txt"), "{listed}");
        assert_eq!(tar(&["-xO", "--wildcards", "*/text.txt"]), "some text\n");
    }
}
