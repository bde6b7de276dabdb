//! Rule files: Prometheus' YAML, read and evaluated as Prometheus does.
//!
//! ```
//! let text = "groups:\n- name: node\n  rules:\n  - alert: Down\n    expr: up == 0\n    for: 5m\n";
//! let file = belfry_rules::file::parse(text, "node.yml").expect("a valid file");
//! assert_eq!(&*file.groups[0].rules[0].name, "Down");
//! let problems = belfry_rules::file::parse("groups:\n- name: node\n  rules:\n  - alert: A\n    expr: up ==\n", "x.yml");
//! assert_eq!(problems.unwrap_err()[0].line, 5);
//! ```

pub(crate) mod number;
mod place;
mod read;
mod types;
pub(crate) mod yaml;

pub use place::{Located, Place, Problem, Text};
pub use read::{FILE_BYTES_MAX, UnknownFields, parse, parse_with};
pub use types::{Group, Pair, Rule, RuleFile, RuleKind};
pub use yaml::{KEYS_MAX, NODES_MAX};
