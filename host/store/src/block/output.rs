//! The bytes of a block on their way to its file.
//!
//! Invariant: what was put is in the file, in order, once [`Output::flush`] has returned; no more than about a megabyte
//! waits in memory.
//! Not here: what the bytes mean (`write`, `write_index`), making them durable.

use std::io;
use std::sync::Arc;

use super::Section;
use crate::disk::DiskFile;

/// Bytes are handed to the disk in pieces of about this size.
const BUFFER_BYTES: usize = 1 << 20;

/// See the module.
pub(super) struct Output {
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    offset: u64,
}

impl Output {
    /// To a file that is empty.
    pub fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, buffer: Vec::new(), offset: 0 }
    }

    /// Where the next byte will be.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
    }

    /// A checksum and what stands under it; yields where.
    pub fn put_checked(&mut self, bytes: &[u8]) -> u64 {
        let offset = self.offset;
        self.put(&crc32fast::hash(bytes).to_le_bytes());
        self.put(bytes);
        offset
    }

    pub fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.file.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// A part under one checksum, as it is put piece by piece.
    pub fn section(&mut self) -> OpenSection<'_> {
        OpenSection { begin: self.offset, crc: crc32fast::Hasher::new(), to: self }
    }
}

/// A section that is being written.
pub(super) struct OpenSection<'a> {
    to: &'a mut Output,
    begin: u64,
    crc: crc32fast::Hasher,
}

impl OpenSection<'_> {
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.to.put(bytes);
        self.to.flush_if_full()
    }

    pub fn put_u32(&mut self, n: u32) -> io::Result<()> {
        self.put(&n.to_le_bytes())
    }

    /// The file has it when this returns.
    pub fn end(self) -> io::Result<Section> {
        self.to.flush()?;
        Ok(Section { offset: self.begin, len: self.to.offset - self.begin, crc: self.crc.finalize() })
    }
}
