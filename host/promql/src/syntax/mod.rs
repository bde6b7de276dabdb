//! The syntax of PromQL: tokens, tree, parser, type checker, printer.
//!
//! Not here: evaluation.

pub mod ast;
mod check;
pub mod functions;
mod lexer;
mod parser;
mod parser_parts;
mod print;
pub mod quote;
pub mod span;
mod token;

pub(crate) use parser::parse_query;
pub use parser::{DEPTH_MAX, ParseError, ParseErrors, TEXT_BYTES_MAX, parse, parse_recovering, parse_selector};
pub use print::{format_expr, number};
