//! Random changes to bytes.

/// xorshift64*: <https://doi.org/10.18637/jss.v008.i14>, Vigna 2016.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}

/// Bytes that mean something in many formats.
const TELLING: [u8; 12] = [0, 1, 0x0a, 0x12, 0x22, 0x7f, 0x80, 0xff, b'{', b'"', b'\n', b'\\'];
/// Longer inputs find little more.
const BYTES_MAX: usize = 1 << 16;

/// One of the seeds, changed in a few places.
pub fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds.get(random.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..=random.below(8) {
        change(&mut bytes, seeds, random);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len());
    let end = at + random.below((bytes.len() - at).min(64) + 1);
    match random.below(8) {
        0 => {
            if let Some(b) = bytes.get_mut(at) {
                *b ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(b) = bytes.get_mut(at) {
                *b = TELLING[random.below(TELLING.len())];
            }
        }
        2 => {
            if let Some(b) = bytes.get_mut(at) {
                *b = random.below(256) as u8;
            }
        }
        3 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
        4 => drop(bytes.drain(at..end)),
        5 => {
            // The same again, some times: depth and repetition.
            let part = bytes[at..end].to_vec();
            for _ in 0..=random.below(16) {
                bytes.splice(at..at, part.iter().copied());
            }
        }
        6 => {
            let other = seeds.get(random.below(seeds.len())).cloned().unwrap_or_default();
            let from = random.below(other.len());
            let to = from + random.below(other.len() - from + 1);
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        _ => bytes.truncate(at),
    }
}
