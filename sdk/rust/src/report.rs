//! The blocks a report section is made of: data, from which the host makes HTML, JSON and CSV.

pub use crate::bindings::report_section::exports::belfry::plugin::report_section::{
    Block, Cell, Chart, Column, Extra, SectionRequest, Series, Stat, Table,
};

impl Table {
    /// An empty table; each column is a title and perhaps the unit of its numbers.
    pub fn new(title: impl Into<String>, columns: &[(&str, Option<&str>)]) -> Self {
        let column =
            |(title, unit): &(&str, Option<&str>)| Column { title: (*title).to_owned(), unit: unit.map(str::to_owned) };
        Self { title: title.into(), columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}
