//! State: what is not a time series, in one SQLite file with one writer task.
//!
//! Invariant: what a caller was told is kept is on the disk (WAL mode, `synchronous = NORMAL`; alert and notification
//! rows with `FULL`). Others reach it through their own traits or their effects.
//! Not here: what the rows mean.
