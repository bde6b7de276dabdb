//! Memory of one instance: all linear memories and tables together.
//!
//! Invariant: the sum over an instance's memories never passes its limit. Growth past it is refused, which the guest
//! sees as a failed allocation; it is remembered, so that a trap that follows can be explained.

use wasmtime::ResourceLimiter;

/// Core instances in one component: Python's have more than 20.
const CORE_INSTANCES_MAX: usize = 64;
/// Linear memories of one component: QuickJS's has 3.
const MEMORIES_MAX: usize = 16;
/// Tables of one component.
const TABLES_MAX: usize = 64;
/// Elements of all tables: 8 bytes each on the host.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Counts and refuses growth.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    bytes_max: usize,
    bytes: usize,
    peak: usize,
    elements: usize,
    refused: Option<usize>,
}

impl MemoryLimiter {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, peak: 0, elements: 0, refused: None }
    }

    pub(crate) fn begin_call(&mut self) {
        self.refused = None;
    }

    /// All linear memories now.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The most they were.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    /// Bytes that the current call asked for in vain.
    pub(crate) fn refused(&self) -> Option<usize> {
        self.refused
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.bytes.saturating_sub(current).saturating_add(desired);
        if total > self.bytes_max {
            self.refused = Some(total);
            return Ok(false);
        }
        if maximum.is_some_and(|m| desired > m) {
            return Ok(false);
        }
        self.bytes = total;
        self.peak = self.peak.max(total);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.elements.saturating_sub(current).saturating_add(desired);
        if total > TABLE_ELEMENTS_MAX {
            return Ok(false);
        }
        self.elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_count_together() {
        let mut l = MemoryLimiter::new(100);
        assert!(l.memory_growing(0, 60, None).unwrap());
        assert!(!l.memory_growing(0, 60, None).unwrap(), "a second memory cannot have as much again");
        assert_eq!(l.refused(), Some(120));
        assert!(l.memory_growing(0, 40, None).unwrap());
        assert_eq!((l.bytes(), l.peak()), (100, 100));
        assert!(l.memory_growing(60, 60, None).unwrap(), "no growth is always fine");
    }
}
