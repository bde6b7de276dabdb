//! The lines of a target's last answer, in order: what stood before each number, and which series it was.
//!
//! Invariant: `expected` is a line of the last answer; lines are only kept from an answer that was read to its end. In a
//! steady state nothing is copied or allocated.

/// One line: what stood between the number before it and its own (comments included), and its series' slot.
#[derive(Clone, Copy)]
struct Line {
    /// Of its text in `bytes`; it begins where the one before ends.
    end: u32,
    slot: u32,
}

/// One answer's lines.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

impl Memory {
    fn text(&self, i: usize) -> Option<&[u8]> {
        let end = self.lines.get(i)?.end as usize;
        let start = i.checked_sub(1).and_then(|before| self.lines.get(before)).map_or(0, |l| l.end as usize);
        self.bytes.get(start..end)
    }

    fn push(&mut self, text: &[u8], slot: u32) {
        self.bytes.extend_from_slice(text);
        // An answer is bounded far below 4 GiB; past that nothing is remembered.
        if let Ok(end) = u32::try_from(self.bytes.len()) {
            self.lines.push(Line { end, slot });
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
    }
}

/// Remembers lines, and compares.
#[derive(Default)]
pub(super) struct Lines {
    last: Memory,
    /// What the answer that is read now looks like, from its first difference on.
    next: Memory,
    differs: bool,
    at: usize,
}

impl Lines {
    /// A new answer begins.
    pub fn begin(&mut self) {
        self.at = 0;
        self.differs = false;
        self.next.clear();
    }

    /// What stands next if nothing changed.
    #[inline]
    pub fn expected(&self) -> Option<(&[u8], u32)> {
        Some((self.last.text(self.at)?, self.last.lines.get(self.at)?.slot))
    }

    /// It did stand there.
    #[inline]
    pub fn matched(&mut self) {
        if self.differs
            && let (Some(text), Some(line)) = (self.last.text(self.at), self.last.lines.get(self.at))
        {
            self.next.push(text, line.slot);
        }
        self.at += 1;
    }

    /// Something else stood there: `text` before a number of `slot`, which `was` the line of that number last time.
    pub fn found(&mut self, text: &[u8], slot: u32, was: u32) {
        if self.expected() == Some((text, slot)) {
            // The same line; only its ending was not plain.
            return self.matched();
        }
        if !self.differs {
            self.differs = true;
            let bytes = self.at.checked_sub(1).and_then(|i| self.last.lines.get(i)).map_or(0, |l| l.end as usize);
            self.next.bytes.extend_from_slice(self.last.bytes.get(..bytes).unwrap_or_default());
            self.next.lines.extend_from_slice(self.last.lines.get(..self.at).unwrap_or_default());
        }
        self.next.push(text, slot);
        // Lines in between are gone, or their comments changed: go on behind the line that this one was.
        let was = was as usize;
        if was >= self.at && self.last.lines.get(was).is_some_and(|l| l.slot == slot) {
            self.at = was + 1;
        }
    }

    /// The answer ended. Calls `moved` with each slot and its line when lines have moved.
    pub fn finish(&mut self, mut moved: impl FnMut(u32, u32)) {
        if self.differs {
            std::mem::swap(&mut self.last, &mut self.next);
            for (i, line) in self.last.lines.iter().enumerate() {
                moved(line.slot, i as u32);
            }
        } else if let Some(last) = self.at.checked_sub(1).and_then(|i| self.last.lines.get(i)) {
            let bytes = last.end as usize;
            self.last.lines.truncate(self.at);
            self.last.bytes.truncate(bytes);
        } else {
            self.last.clear();
        }
        self.next.clear();
        self.at = 0;
    }

    /// Remembers nothing.
    pub fn forget(&mut self) {
        self.last.clear();
        self.begin();
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let of = |m: &Memory| m.bytes.capacity() + m.lines.capacity() * std::mem::size_of::<Line>();
        of(&self.last) + of(&self.next)
    }
}
