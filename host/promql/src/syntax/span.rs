//! Places in the text of a query.

/// A part of the text, in bytes, half-open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
}

impl Span {
    /// From `start` up to `end`.
    pub fn new(start: usize, end: usize) -> Self {
        // A query is far shorter than 4 GiB: the parser refuses longer ones.
        Self { start: start as u32, end: end as u32 }
    }

    /// The smallest span that holds both.
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// `line:column` of the start within `text`, both from 1, the column in bytes: as Prometheus writes places.
    pub fn place(self, text: &str) -> String {
        if text.is_empty() {
            return "unknown position".to_owned();
        }
        let start = (self.start as usize).min(text.len());
        let before = &text.as_bytes()[..start];
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        let column = start + 1 - before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        format!("{line}:{column}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one() {
        assert_eq!(Span::new(0, 1).place("up"), "1:1");
        assert_eq!(Span::new(3, 4).place("a\nbc"), "2:2");
        assert_eq!(Span::new(9, 9).place("a"), "1:2");
    }
}
