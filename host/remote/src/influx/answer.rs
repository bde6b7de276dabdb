//! InfluxQL's answers, row by row as they come in.
//!
//! Invariant: no more than one row is held; an error that the answer carries is an error here.
//! Not here: what the columns mean (`read`).

use belfry_model::read::ReadError;

use super::json::{BadJson, Lexer, Token};

/// Cells of a row, and tags of a series: nothing that was asked for has as many.
const WIDTH_MAX: usize = 10_000;

/// One cell of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// There is nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
}

impl Cell {
    fn number(text: &str) -> Self {
        match text.parse::<i64>() {
            // A whole number has no sign at zero.
            Ok(i) if text != "-0" => Self::Int(i),
            _ => text.parse().map_or(Self::Null, Self::Float),
        }
    }

    /// As a float, if it is a number.
    pub fn float(&self) -> Option<f64> {
        match self {
            Self::Float(v) => Some(*v),
            Self::Int(i) => Some(*i as f64),
            _ => None,
        }
    }

    /// As a whole number, if it is one.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(i) => Some(*i),
            // Some servers write times with an exponent.
            Self::Float(v) if v.fract() == 0.0 && v.abs() < 9e15 => Some(*v as i64),
            _ => None,
        }
    }

    /// As a text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The head of the rows that follow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// The measurement.
    pub name: String,
    /// The tags of the group.
    pub tags: Vec<(String, String)>,
    /// Names of the columns.
    pub columns: Vec<String>,
}

impl Head {
    /// Where the column of that name is.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c == name)
    }
}

/// Takes rows. One head may come several times, with the rows of a series in parts.
pub trait Rows {
    /// What the next rows are of.
    fn head(&mut self, head: &Head) -> Result<(), ReadError>;
    /// One row.
    fn row(&mut self, cells: &[Cell]) -> Result<(), ReadError>;
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Document,
    Results,
    Result,
    SeriesList,
    Series,
    Tags,
    Columns,
    Values,
    Row,
    Elsewhere,
}

/// Reads an answer.
#[derive(Debug, Default)]
pub struct AnswerReader {
    lexer: Lexer,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    places: Vec<Place>,
    key: String,
    head: Head,
    cells: Vec<Cell>,
    cut: bool,
}

enum Stop {
    Bad(BadJson),
    Read(ReadError),
}

impl From<BadJson> for Stop {
    fn from(e: BadJson) -> Self {
        Self::Bad(e)
    }
}

impl From<ReadError> for Stop {
    fn from(e: ReadError) -> Self {
        Self::Read(e)
    }
}

fn not_understood(e: &BadJson) -> ReadError {
    ReadError::Unavailable(format!("InfluxDB's answer is not understood: {e}"))
}

impl AnswerReader {
    /// Takes the next bytes and hands out the rows that they complete.
    pub fn feed(&mut self, bytes: &[u8], rows: &mut dyn Rows) -> Result<(), ReadError> {
        let state = &mut self.state;
        self.lexer.feed(bytes, |token| state.take(token, rows).map_err(Stop::Read)).map_err(|stop| match stop {
            Stop::Bad(e) => not_understood(&e),
            Stop::Read(e) => e,
        })
    }

    /// Nothing more comes. Says whether the server cut the answer.
    pub fn end(&self) -> Result<bool, ReadError> {
        self.lexer.end().map_err(|e| not_understood(&e))?;
        Ok(self.state.cut)
    }
}

impl State {
    fn take(&mut self, token: Token<'_>, rows: &mut dyn Rows) -> Result<(), ReadError> {
        let place = self.places.last().copied();
        match token {
            Token::Key(key) => {
                self.key.clear();
                self.key.push_str(key);
            }
            Token::ObjectStart | Token::ArrayStart => self.open(token == Token::ObjectStart, rows)?,
            Token::ObjectEnd | Token::ArrayEnd => {
                self.places.pop();
                if place == Some(Place::Row) {
                    rows.row(&self.cells)?;
                }
            }
            scalar => self.scalar(place, scalar)?,
        }
        Ok(())
    }

    fn open(&mut self, object: bool, rows: &mut dyn Rows) -> Result<(), ReadError> {
        let next = match (self.places.last(), object, self.key.as_str()) {
            (None, true, _) => {
                self.cut = false;
                Place::Document
            }
            (Some(Place::Document), false, "results") => Place::Results,
            (Some(Place::Results), true, _) => Place::Result,
            (Some(Place::Result), false, "series") => Place::SeriesList,
            (Some(Place::SeriesList), true, _) => {
                self.head = Head::default();
                Place::Series
            }
            (Some(Place::Series), true, "tags") => Place::Tags,
            (Some(Place::Series), false, "columns") => Place::Columns,
            (Some(Place::Series), false, "values") => {
                rows.head(&self.head)?;
                Place::Values
            }
            (Some(Place::Values), false, _) => {
                self.cells.clear();
                Place::Row
            }
            // A cell of its own kind keeps its column.
            (Some(Place::Row), _, _) => {
                self.cells.push(Cell::Null);
                Place::Elsewhere
            }
            _ => Place::Elsewhere,
        };
        self.places.push(next);
        Ok(())
    }

    fn scalar(&mut self, place: Option<Place>, token: Token<'_>) -> Result<(), ReadError> {
        if self.cells.len().max(self.head.tags.len()).max(self.head.columns.len()) > WIDTH_MAX {
            return Err(ReadError::Unavailable(format!("InfluxDB's answer has rows of more than {WIDTH_MAX} cells")));
        }
        match (place, token, self.key.as_str()) {
            (Some(Place::Document | Place::Result), Token::Text(text), "error") => {
                return Err(ReadError::Unavailable(format!("InfluxDB: {}", shown(text))));
            }
            (Some(Place::Result), Token::Bool(partial), "partial") => self.cut = partial,
            (Some(Place::Series), Token::Text(name), "name") => self.head.name = name.to_owned(),
            (Some(Place::Tags), Token::Text(value), key) => self.head.tags.push((key.to_owned(), value.to_owned())),
            (Some(Place::Columns), Token::Text(name), _) => self.head.columns.push(name.to_owned()),
            (Some(Place::Row), token, _) => self.cells.push(match token {
                Token::Text(text) => Cell::Text(text.to_owned()),
                Token::Number(text) => Cell::number(text),
                Token::Bool(b) => Cell::Bool(b),
                _ => Cell::Null,
            }),
            _ => {}
        }
        Ok(())
    }
}

/// Characters of an engine's message that are passed on.
const SHOWN_CHARS_MAX: usize = 300;

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Seen(Vec<String>);

    impl Rows for Seen {
        fn head(&mut self, head: &Head) -> Result<(), ReadError> {
            self.0.push(format!("{} {:?} {:?}", head.name, head.tags, head.columns));
            Ok(())
        }

        fn row(&mut self, cells: &[Cell]) -> Result<(), ReadError> {
            self.0.push(format!("{cells:?}"));
            Ok(())
        }
    }

    fn read(text: &str) -> Result<(Vec<String>, bool), ReadError> {
        let (mut reader, mut seen) = (AnswerReader::default(), Seen::default());
        reader.feed(text.as_bytes(), &mut seen)?;
        Ok((seen.0, reader.end()?))
    }

    #[test]
    fn rows_come_with_their_series() {
        let (seen, cut) = read(
            r#"{"results":[{"statement_id":0,"series":[{"name":"m","tags":{"a":"1"},"columns":["time","value"],
                "values":[[1,-0],[2,null]],"partial":true}],"partial":true}]}
               {"results":[{"statement_id":0,"messages":[{"text":"x"}],"series":[{"name":"m","tags":{"a":"1"},
                "columns":["time","value"],"values":[[3,"t"],[4,1.5]]}]}]}"#,
        )
        .expect("it is an answer");
        let head = r#"m [("a", "1")] ["time", "value"]"#;
        assert_eq!(
            seen,
            [head, "[Int(1), Float(-0.0)]", "[Int(2), Null]", head, "[Int(3), Text(\"t\")]", "[Int(4), Float(1.5)]"]
        );
        assert!(!cut, "the last document says so");
    }

    #[test]
    fn what_was_cut_is_told() {
        assert_eq!(read(r#"{"results":[{"series":[],"partial":true}]}"#), Ok((vec![], true)));
    }

    #[test]
    fn errors_are_errors_wherever_they_stand() {
        for text in [r#"{"error":"no such thing"}"#, r#"{"results":[{"statement_id":0,"error":"no such thing"}]}"#] {
            assert_eq!(read(text), Err(ReadError::Unavailable("InfluxDB: no such thing".to_owned())));
        }
        assert!(read("").is_err());
        assert!(read(r#"{"results":["#).is_err());
    }

    #[test]
    fn rows_that_are_too_wide_are_refused() {
        let row = vec!["1"; WIDTH_MAX + 2].join(",");
        let text = format!(r#"{{"results":[{{"series":[{{"columns":["a"],"values":[[{row}]]}}]}}]}}"#);
        assert!(matches!(read(&text), Err(ReadError::Unavailable(_))));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_fail(
            text in "([\\[\\]{}:,1]|\"results\"|\"series\"|\"values\"|\"tags\"|\"columns\"|\"name\"|null){0,40}"
        ) {
            read(&text).ok();
        }
    }
}
