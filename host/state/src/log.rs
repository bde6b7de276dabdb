//! The log beside the file: is all of it what was written?
//!
//! SQLite takes the first frame whose checksum is wrong for the end of the log, as it must after a crash: without a word it
//! forgets whatever was committed behind it. Here is told one from the other.
//! Invariant: nothing is changed; one frame is in memory at a time.
//! The format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.
//! Not here: what is done about it (`salvage`).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::sound::{READ_BYTES, beside};

/// SQLite's own choice, so that of every file that was made here.
pub(crate) const PAGE_BYTES: usize = 4_096;
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Its last bit says how the checksums are made.
const MAGIC: u32 = 0x377f_0682;

type Sum = (u32, u32);

/// What is wrong with the log, if something is.
///
/// The frame at which reading ends is what a crash leaves where nothing that was committed stands behind it. Frames from
/// before the log was last begun anew stand behind every end: they have other salts. A last frame that is wrong cannot be
/// told from one that a crash interrupted.
pub(crate) fn damage(path: &Path) -> io::Result<Option<String>> {
    match File::open(beside(path, "-wal")) {
        Ok(file) => look(BufReader::with_capacity(READ_BYTES, file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn look(mut log: impl Read) -> io::Result<Option<String>> {
    let mut begin = [0; HEADER_BYTES];
    if !fill(&mut log, &mut begin)? {
        return Ok(None);
    }
    let Some(header) = Header::of(&begin) else {
        // It is written at once: a crash does not tear it.
        let mut frame = vec![0; FRAME_HEADER_BYTES + PAGE_BYTES];
        while fill(&mut log, &mut frame)? {
            if Frame::of(&frame).is_some_and(|f| f.ends_commit() && f.salts != (0, 0)) {
                return Ok(Some(
                    "the header of its log is not what was written: the newest changes may be missing".into(),
                ));
            }
        }
        return Ok(None);
    };
    let mut bytes = vec![0; FRAME_HEADER_BYTES + header.page_bytes];
    let (mut sum, mut wrong) = (header.sum, None);
    for number in 1_u64.. {
        if !fill(&mut log, &mut bytes)? {
            break;
        }
        let Some(frame) = Frame::of(&bytes) else { break };
        let is_of_this_log = frame.salts == header.salts;
        if let Some(wrong) = wrong {
            if is_of_this_log && frame.ends_commit() {
                return Ok(Some(told(wrong)));
            }
            continue;
        }
        let next = header.add(header.add(sum, &bytes[..8]), &bytes[FRAME_HEADER_BYTES..]);
        match frame.page > 0 && frame.sum == next {
            true if is_of_this_log => sum = next,
            // It continues what stands before it, so that only its salts are wrong.
            true => return Ok(Some(told(number))),
            false => wrong = Some(number),
        }
    }
    Ok(None)
}

fn told(frame: u64) -> String {
    format!("frame {frame} of its log is not what was written: the newest changes may be missing")
}

/// Answers `false` at the end, also within what is wanted.
fn fill(log: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(into) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}

fn pair(bytes: &[u8], at: usize) -> Option<(u32, u32)> {
    Some((number(bytes, at)?, number(bytes, at + 4)?))
}

struct Header {
    page_bytes: usize,
    salts: (u32, u32),
    sum: Sum,
    is_big_endian: bool,
}

impl Header {
    /// As SQLite judges it, which reads nothing of a log with another one.
    fn of(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let magic = number(bytes, 0)?;
        let page_bytes = usize::try_from(number(bytes, 8)?).ok()?;
        let is_size = page_bytes.is_power_of_two() && (512..=65_536).contains(&page_bytes);
        let header = Self { page_bytes, salts: pair(bytes, 16)?, sum: pair(bytes, 24)?, is_big_endian: magic & 1 == 1 };
        let is_whole = header.add((0, 0), &bytes[..24]) == header.sum;
        (magic & !1 == MAGIC && is_size && is_whole).then_some(header)
    }

    /// <https://www.sqlite.org/fileformat2.html#checksum_algorithm>
    fn add(&self, (mut a, mut b): Sum, bytes: &[u8]) -> Sum {
        let read = if self.is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        for word in bytes.as_chunks::<8>().0 {
            let [first, second] =
                [[word[0], word[1], word[2], word[3]], [word[4], word[5], word[6], word[7]]].map(read);
            a = a.wrapping_add(first).wrapping_add(b);
            b = b.wrapping_add(second).wrapping_add(a);
        }
        (a, b)
    }
}

struct Frame {
    page: u32,
    /// Pages of the file after the commit that this frame ends; 0 within one.
    pages_after: u32,
    salts: (u32, u32),
    sum: Sum,
}

impl Frame {
    fn of(bytes: &[u8]) -> Option<Self> {
        let (page, pages_after) = pair(bytes, 0)?;
        Some(Self { page, pages_after, salts: pair(bytes, 8)?, sum: pair(bytes, 16)? })
    }

    fn ends_commit(&self) -> bool {
        self.page > 0 && self.pages_after > 0
    }
}
