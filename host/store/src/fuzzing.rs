//! Entrances for fuzzers: bytes in, no panic out.
//!
//! Not here: what the bytes should mean (the tests say that).

use std::path::Path;
use std::sync::Arc;

use belfry_model::TimestampMs;

use crate::config::StoreConfig;
use crate::disk::{Disk, SimDisk};
use crate::store::Store;
use crate::wal;

/// Opens a store whose only file is a segment of the log with these bytes, and writes what was read to a block.
pub fn fuzz_wal(bytes: &[u8]) {
    let disk = SimDisk::default();
    let dir = Path::new("/data/wal");
    let written = disk
        .create_dir_all(dir)
        .and_then(|()| disk.create(&dir.join("0000000001-000000.wal")))
        .and_then(|file| file.append(bytes));
    if written.is_ok()
        && let Ok((store, _)) = Store::open(StoreConfig::folder("/data"), Arc::new(disk), TimestampMs(0))
    {
        let _ = store.flush();
    }
}

/// The same with every checksum made right first: they stop nearly every mutation, and the records behind them are
/// never read.
pub fn fuzz_wal_records(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    wal::mend(&mut bytes);
    fuzz_wal(&bytes);
}
