//! Many series of a block, in order of labels, for a snapshot.
//!
//! Strings are compared by number and shared: a name that a thousand series have is read once, and where the snapshot
//! has it already that one is taken.
//!
//! Invariant: series come in ascending order of labels, or reading fails.
//! Not here: one series by its number (`index`).

use std::cmp::Ordering;
use std::sync::Arc;

use belfry_model::Labels;
use belfry_model::labels::Label;

use super::ChunkPlace;
use super::index::{Index, Table};
use crate::codec::{Corrupt, Reader};

/// See the module.
pub struct Scan<'a> {
    index: &'a Index,
    symbols: Table<'a>,
    series: Table<'a>,
    /// By number of a string: where it is in `shared`, plus one. Zeroed memory that is not touched costs nothing.
    place: Vec<u32>,
    shared: Vec<Arc<str>>,
    /// Numbers of names and values of the series that was read last, and of the one before it.
    labels: Vec<(u32, u32)>,
    before: Vec<(u32, u32)>,
    started: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(index: &'a Index) -> Result<Self, Corrupt> {
        let (symbols, series) = (Table::new(&index.symbols)?, Table::new(&index.series)?);
        let place = vec![0; symbols.len() as usize];
        Ok(Self {
            index,
            symbols,
            series,
            place,
            shared: Vec::new(),
            labels: Vec::new(),
            before: Vec::new(),
            started: false,
        })
    }

    /// Reads the series with this number, which must be higher than the last one's; appends its chunks to `chunks`.
    pub fn read(&mut self, i: u32, chunks: &mut Vec<ChunkPlace>) -> Result<(), Corrupt> {
        std::mem::swap(&mut self.labels, &mut self.before);
        self.labels.clear();
        let mut r = Reader::new(self.series.get(i)?);
        for _ in 0..r.count()? {
            self.labels.push((number(r.uvarint()?)?, number(r.uvarint()?)?));
        }
        // Strings are numbered in their order.
        if std::mem::replace(&mut self.started, true) && self.labels <= self.before {
            return Err(Corrupt("series are not in order of their labels"));
        }
        self.index.chunks(&mut r, i, chunks)
    }

    /// How the labels of the series that was read last compare with these.
    pub fn compare(&mut self, with: &Labels) -> Result<Ordering, Corrupt> {
        let mut with = with.iter();
        for at in 0..self.labels.len() {
            let Some(l) = with.next() else { return Ok(Ordering::Greater) };
            let (name, value) = self.labels[at];
            match self.compare_one(name, &l.name)? {
                Ordering::Equal => {}
                other => return Ok(other),
            }
            match self.compare_one(value, &l.value)? {
                Ordering::Equal => {}
                other => return Ok(other),
            }
        }
        Ok(if with.next().is_some() { Ordering::Less } else { Ordering::Equal })
    }

    fn compare_one(&mut self, symbol: u32, with: &Arc<str>) -> Result<Ordering, Corrupt> {
        let known = self.known(symbol)?;
        if known.is_some_and(|k| Arc::ptr_eq(k, with)) {
            return Ok(Ordering::Equal);
        }
        let unknown = known.is_none();
        let order = self.symbols.get(symbol)?.cmp(with.as_bytes());
        if order == Ordering::Equal && unknown {
            self.share(symbol, with.clone());
        }
        Ok(order)
    }

    /// The labels of the series that was read last.
    pub fn labels(&mut self) -> Result<Labels, Corrupt> {
        let mut labels = Vec::with_capacity(self.labels.len());
        for at in 0..self.labels.len() {
            let (name, value) = self.labels[at];
            labels.push(Label { name: self.string(name)?, value: self.string(value)? });
        }
        Ok(Labels::from_sorted(labels))
    }

    fn string(&mut self, symbol: u32) -> Result<Arc<str>, Corrupt> {
        if let Some(known) = self.known(symbol)? {
            return Ok(known.clone());
        }
        let string: Arc<str> = self.symbols.str(u64::from(symbol))?.into();
        self.share(symbol, string.clone());
        Ok(string)
    }

    fn known(&self, symbol: u32) -> Result<Option<&Arc<str>>, Corrupt> {
        let place = self.place.get(symbol as usize).ok_or(Corrupt("a number is outside its table"))?;
        Ok((*place as usize).checked_sub(1).and_then(|at| self.shared.get(at)))
    }

    fn share(&mut self, symbol: u32, string: Arc<str>) {
        self.shared.push(string);
        if let Some(place) = self.place.get_mut(symbol as usize) {
            *place = self.shared.len() as u32;
        }
    }
}

fn number(n: u64) -> Result<u32, Corrupt> {
    u32::try_from(n).map_err(|_| Corrupt("a number is outside its table"))
}
