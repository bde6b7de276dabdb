//! Memory that is free goes back to the system after work that freed much of it.
//!
//! What a head has set aside is many thousand pieces, between others that stay. glibc's allocator keeps such pages for
//! itself for as long as something behind them is in use: with a million series that is 200 MB after each block.
//!
//! Invariant: nothing that is in use is touched.
//! Not here: which work that is (`maintain`, `compact`, `store`).

/// After work on files of fewer bytes there is little to give back.
const WORTHWHILE_BYTES: u64 = 4 << 20;

/// Call it when the memory is free that work on files of so many bytes needed. Takes some ten milliseconds where there is
/// much; the allocator's other users wait for a part of that.
pub fn give_back_after(file_bytes: u64) {
    if file_bytes >= WORTHWHILE_BYTES {
        give_back();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn give_back() {
    // SAFETY: it has no preconditions, may be called from any thread, and changes only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators have no such call.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    fn resident_bytes() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
    }

    #[test]
    fn small_pieces_between_others_go_back_to_the_system() {
        const PIECES: usize = 16_384;
        const PIECE_BYTES: usize = 16 << 10;
        let mut pieces: Vec<_> = (0..PIECES).map(|_| vec![1u8; PIECE_BYTES]).collect();
        // Before they are freed: another test's block may give back what is free at any moment.
        let before = resident_bytes();
        // One of 64 stays, as a series that goes on does.
        let mut at = 0;
        pieces.retain(|_| {
            at += 1;
            at % 64 == 0
        });
        give_back_after(WORTHWHILE_BYTES);
        let given_back = before.saturating_sub(resident_bytes());
        assert!(given_back > PIECES * PIECE_BYTES / 2, "{given_back} bytes");
        assert!(pieces.iter().all(|p| p.iter().all(|b| *b == 1)));
    }
}
