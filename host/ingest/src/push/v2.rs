//! Remote write 2.0: `io.prometheus.write.v2.Request`, in which strings stand once and are named by number.
//!
//! Invariant: either the whole request is read or none of it; a reference to a symbol that is not there refuses it.
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>

use super::decoded::{Decoded, LabelsAt, MetadataAt};
use super::histogram;
use super::key::Keys;
use super::labels::{PUSHED_LABELS_MAX, Pairs};
use super::v1::sample;
use super::wire::{Field, Malformed, Reader};

/// Strings of a request.
pub const REQUEST_SYMBOLS_MAX: usize = 1_000_000;

const LABEL_REFS: u8 = 0x0a;
const SAMPLE: u8 = 0x12;

/// A request's strings: where each stands, and its hash.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    all: Vec<Symbol>,
}

#[derive(Clone, Copy, Debug)]
struct Symbol {
    start: u32,
    end: u32,
    hash: u64,
}

impl Symbols {
    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// The string that `reference` names.
    pub fn text<'a>(&self, body: &'a [u8], reference: u64) -> Option<&'a [u8]> {
        let symbol = usize::try_from(reference).ok().and_then(|i| self.all.get(i))?;
        body.get(symbol.start as usize..symbol.end as usize)
    }

    /// Its hash; 0 when there is no such string.
    pub fn hash_of(&self, reference: u32) -> u64 {
        self.hash(u64::from(reference)).unwrap_or(0)
    }

    #[inline]
    fn hash(&self, reference: u64) -> Result<u64, Malformed> {
        let symbol = usize::try_from(reference).ok().and_then(|i| self.all.get(i));
        symbol.map(|s| s.hash).ok_or(Malformed::Symbol(reference))
    }

    /// Names and values that packed references name.
    pub fn pairs<'a>(&self, body: &'a [u8], refs: &[u8]) -> Result<Pairs<'a>, Malformed> {
        let mut r = Reader::new(refs);
        let mut pairs = Vec::new();
        while !r.is_at_end() && pairs.len() <= PUSHED_LABELS_MAX {
            let (name, value) = (r.varint()?, r.varint().map_err(|_| Malformed::OddLabels)?);
            let text = |n| self.text(body, n).ok_or(Malformed::Symbol(n));
            pairs.push((text(name)?, text(value)?));
        }
        Ok(pairs)
    }
}

/// Reads a request into `into` and `symbols`, which are empty.
pub(crate) fn decode(body: &[u8], keys: &Keys, symbols: &mut Symbols, into: &mut Decoded) -> Result<(), Malformed> {
    // Nothing says that the symbols come first, only all writers do it.
    let mut r = Reader::new(body);
    while let Some((n, field)) = r.field()? {
        if n == 4 {
            let text = field.bytes(n)?;
            if symbols.all.len() >= REQUEST_SYMBOLS_MAX {
                return Err(Malformed::TooMany { what: "symbols", limit: REQUEST_SYMBOLS_MAX });
            }
            let end = r.position() as u32;
            symbols.all.push(Symbol { start: end - text.len() as u32, end, hash: keys.of_symbol(text) });
        }
    }
    let mut r = Reader::new(body);
    while let Some((n, field)) = r.field()? {
        if n == 5 {
            let series = field.bytes(n)?;
            time_series(series, r.position() - series.len(), keys, symbols, into)?;
        }
    }
    Ok(())
}

fn time_series(
    series: &[u8],
    offset: usize,
    keys: &Keys,
    symbols: &Symbols,
    into: &mut Decoded,
) -> Result<(), Malformed> {
    let mut r = Reader::new(series);
    let mut labels = LabelsAt { start: offset as u32, end: offset as u32, gathered: false };
    if r.peek() == Some(LABEL_REFS) {
        r.skip_byte();
        let refs = r.span()?;
        labels.start = (offset + refs.start) as u32;
        labels.end = (offset + refs.end) as u32;
    }
    let first_sample = into.values.len();
    while r.peek() == Some(SAMPLE) {
        r.skip_byte();
        let (at, value, start) = sample(r.bytes()?)?;
        into.sample(at, value, start)?;
    }
    let first_histogram = into.histograms.len();
    let mut created = 0;
    let mut metadata = None;
    let mut is_empty = into.values.len() == first_sample;
    while let Some((n, field)) = r.field()? {
        // Exemplars may come alone: Prometheus puts each into a series of its own.
        is_empty &= !matches!(n, 2..=4);
        match n {
            1 => labels.gathered = true,
            2 => {
                let (at, value, start) = sample(field.bytes(n)?)?;
                into.sample(at, value, start)?;
            }
            3 => {
                let timed = histogram::read(field.bytes(n)?, &mut into.buckets)?;
                match timed.histogram {
                    Ok(h) => into.histogram(timed.at, timed.start, h)?,
                    Err(reason) => into.bad_histogram(reason),
                }
            }
            4 => exemplar(field.bytes(n)?, symbols, into)?,
            5 => metadata = Some(self::metadata(field.bytes(n)?)?),
            6 => created = field.int(n)?,
            _ => {}
        }
    }
    if created != 0 {
        // Before 2.0-rc.4 it stood once for the series.
        let samples = into.values.len();
        into.starts.resize(samples, 0);
        into.starts.iter_mut().skip(first_sample).filter(|s| **s == 0).for_each(|s| *s = created);
        into.histograms.iter_mut().skip(first_histogram).filter(|h| h.start == 0).for_each(|h| h.start = created);
    }
    if labels.gathered {
        labels = gather(series, into)?;
    }
    let refs = match labels.gathered {
        true => into.gathered.get(labels.range()).unwrap_or_default(),
        false => series.get(labels.start as usize - offset..labels.end as usize - offset).unwrap_or_default(),
    };
    let mut key = keys.symbols();
    let mut r = Reader::new(refs);
    let mut count = 0;
    while !r.is_at_end() {
        let (name, value) = (r.varint()?, r.varint().map_err(|_| Malformed::OddLabels)?);
        key.label(symbols.hash(name)?, symbols.hash(value)?);
        count += 1;
    }
    if is_empty {
        into.empty_series(labels);
    }
    into.end_series(key.finish(count), labels, metadata);
    Ok(())
}

/// References that stand in several fields, packed one behind the other.
fn gather(message: &[u8], into: &mut Decoded) -> Result<LabelsAt, Malformed> {
    let start = into.gathered.len() as u32;
    let mut r = Reader::new(message);
    while let Some((n, field)) = r.field()? {
        match (n, field) {
            (1, Field::Bytes(packed)) => into.gathered.extend_from_slice(packed),
            (1, Field::Varint(reference)) => put_varint(reference, &mut into.gathered),
            (1, _) => return Err(Malformed::Type(n)),
            _ => {}
        }
    }
    Ok(LabelsAt { start, end: into.gathered.len() as u32, gathered: true })
}

fn put_varint(mut n: u64, into: &mut Vec<u8>) {
    while n >= 0x80 {
        into.push(n as u8 | 0x80);
        n >>= 7;
    }
    into.push(n as u8);
}

fn exemplar(bytes: &[u8], symbols: &Symbols, into: &mut Decoded) -> Result<(), Malformed> {
    let (mut at, mut value) = (0, 0.0);
    let mut r = Reader::new(bytes);
    while let Some((n, field)) = r.field()? {
        match n {
            2 => value = field.double(n)?,
            3 => at = field.int(n)?,
            _ => {}
        }
    }
    let labels = gather(bytes, into)?;
    let mut r = Reader::new(into.gathered.get(labels.range()).unwrap_or_default());
    while !r.is_at_end() {
        symbols.hash(r.varint()?)?;
        symbols.hash(r.varint().map_err(|_| Malformed::OddLabels)?)?;
    }
    into.exemplar(at, value, labels);
    Ok(())
}

fn metadata(bytes: &[u8]) -> Result<MetadataAt, Malformed> {
    let mut m = MetadataAt::default();
    let mut r = Reader::new(bytes);
    while let Some((n, field)) = r.field()? {
        let value = || field.uint(n).map(|x| u32::try_from(x).unwrap_or(u32::MAX));
        match n {
            1 => m.kind = value()?,
            3 => m.help = value()?,
            4 => m.unit = value()?,
            _ => {}
        }
    }
    Ok(m)
}
