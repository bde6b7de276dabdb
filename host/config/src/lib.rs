//! Config: files → spans → checked values.
//!
//! Invariant: what this crate hands out is valid; all problems of a file are reported at once, each with its place and
//! its fix.
//! Not here: anything that acts on the config.
