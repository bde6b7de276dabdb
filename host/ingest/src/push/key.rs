//! Keys of label sets: keyed hashes of the bytes that name them.
//!
//! Invariant: the key differs from process to process, so that no sender can prepare two sets with one key.

use std::hash::{BuildHasher, RandomState};

use super::decoded::Key;

/// Makes keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    seed: u64,
    lanes: [u64; 4],
}

impl Default for Keys {
    fn default() -> Self {
        let random = RandomState::new();
        // Odd, so that no multiplication loses a bit.
        let lane = |n: u8| random.hash_one(n) | 1;
        Self { seed: random.hash_one(0xffu8), lanes: [lane(0), lane(1), lane(2), lane(3)] }
    }
}

impl Keys {
    /// Of the bytes as they stand in the request.
    #[inline]
    pub fn of_bytes(&self, bytes: &[u8]) -> Key {
        let h = xxhash_rust::xxh3::xxh3_128_with_seed(bytes, self.seed);
        Key { hi: (h >> 64) as u64, lo: h as u32 }
    }

    /// The key of a series that is told apart by `kind` and `unit`, too, the latter by its hash.
    pub fn with(&self, key: Key, kind: u32, unit: u64) -> Key {
        let mut bytes = [0; 24];
        let (numbers, rest) = bytes.split_at_mut(16);
        numbers
            .copy_from_slice(&(u128::from(key.hi) << 64 | u128::from(key.lo) << 32 | u128::from(kind)).to_le_bytes());
        rest.copy_from_slice(&unit.to_le_bytes());
        self.of_bytes(&bytes)
    }

    /// Of one string of a symbol table.
    #[inline]
    pub fn of_symbol(&self, bytes: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.seed)
    }

    /// A key to be made of symbols, one after the other.
    #[inline]
    pub fn symbols(&self) -> SymbolsKey {
        SymbolsKey { a: self.lanes[0], b: self.lanes[1], lanes: self.lanes }
    }
}

/// Two lanes, one for the names and one for the values: they do not wait for each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SymbolsKey {
    a: u64,
    b: u64,
    lanes: [u64; 4],
}

impl SymbolsKey {
    #[inline]
    pub fn label(&mut self, name: u64, value: u64) {
        self.a = folded(self.a ^ name, self.lanes[2]);
        self.b = folded(self.b ^ value, self.lanes[3]);
    }

    #[inline]
    pub fn finish(self, labels: usize) -> Key {
        let n = labels as u64;
        let hi = folded(self.a ^ n, self.b | 1) ^ self.b.rotate_left(23);
        let lo = folded(self.b ^ self.lanes[0], self.lanes[2]) ^ self.a.rotate_left(41);
        Key { hi, lo: (lo >> 32) as u32 ^ lo as u32 }
    }
}

/// Both halves of the product: every bit of the factors reaches every bit of it.
#[inline]
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sets_that_differ_have_keys_that_differ() {
        let keys = Keys::default();
        let mut seen = HashSet::new();
        let key = |labels: &[(&str, &str)]| {
            let mut k = keys.symbols();
            for (n, v) in labels {
                k.label(keys.of_symbol(n.as_bytes()), keys.of_symbol(v.as_bytes()));
            }
            let k = k.finish(labels.len());
            (k.hi, k.lo)
        };
        for n in 0..20_000 {
            let text = n.to_string();
            assert!(seen.insert(key(&[("__name__", "up"), ("n", &text)])), "{n}");
            assert!(seen.insert(key(&[("__name__", &text), ("n", "up")])), "{n}");
            assert!(seen.insert(key(&[("__name__", &text)])), "{n}");
            assert!(seen.insert(key(&[("n", "up"), ("__name__", &text)])), "{n}");
        }
        let halves: HashSet<u64> = seen.iter().map(|k| k.0).collect();
        assert_eq!(halves.len(), seen.len());
    }
}
