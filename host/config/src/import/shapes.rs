//! What a value must be, and what it says.
//!
//! Invariant: a value of another shape is refused with its line, as Prometheus refuses it; a null is what is not set.

use std::time::Duration;

use belfry_model::duration::parse_duration;

use super::yaml::{Kind, Node};

/// Line and reason.
pub(super) type Fault = (u32, String);

impl Node {
    pub fn fault(&self, why: impl Into<String>) -> Fault {
        (self.line, why.into())
    }

    fn misshapen(&self, key: &str, help: &str) -> Fault {
        let is = match &self.kind {
            Kind::Null => "empty",
            Kind::Text { .. } => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        };
        self.fault(format!("`{key}` is {is}: {help}"))
    }

    pub fn text(&self, key: &str) -> Result<&str, Fault> {
        match &self.kind {
            Kind::Text { text, .. } => Ok(text),
            _ => Err(self.misshapen(key, "write one text")),
        }
    }

    /// Of a list.
    pub fn items(&self, key: &str) -> Result<Vec<&Node>, Fault> {
        match &self.kind {
            Kind::Null => Ok(Vec::new()),
            Kind::List(items) => match items.iter().find(|i| matches!(i.kind, Kind::Null)) {
                Some(empty) => Err(empty.fault(format!("`{key}` has an empty item: fill it in, or remove it"))),
                None => Ok(items.iter().map(|n| &**n).collect()),
            },
            _ => Err(self.misshapen(key, "write a list, like `[a, b]`")),
        }
    }

    pub fn texts(&self, key: &str) -> Result<Vec<&str>, Fault> {
        self.items(key)?.into_iter().map(|n| n.text(key)).collect()
    }

    /// Of a list where Prometheus reads what is not set as an empty text.
    pub fn texts_or_empty(&self, key: &str) -> Result<Vec<&str>, Fault> {
        match &self.kind {
            Kind::List(items) => {
                items.iter().map(|n| if matches!(n.kind, Kind::Null) { Ok("") } else { n.text(key) }).collect()
            }
            _ => self.texts(key),
        }
    }

    /// Of a mapping; those that are set.
    pub fn entries(&self, key: &str) -> Result<Vec<(&str, &Node)>, Fault> {
        match &self.kind {
            Kind::Null => Ok(Vec::new()),
            Kind::Map(entries) => {
                let set = entries.iter().filter(|(_, n)| !matches!(n.kind, Kind::Null));
                Ok(set.map(|(k, n)| (k.as_str(), &**n)).collect())
            }
            _ => Err(self.misshapen(key, "write a mapping, like `{name: value}`")),
        }
    }

    /// A value of a mapping, if it is set.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => {
                entries.iter().find(|(k, n)| k == key && !matches!(n.kind, Kind::Null)).map(|(_, n)| &**n)
            }
            _ => None,
        }
    }

    /// YAML 1.1, as Prometheus reads it; in quotes it is a text.
    pub fn flag(&self, key: &str) -> Result<bool, Fault> {
        match &self.kind {
            Kind::Text { text, plain: true } => match text.as_str() {
                "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Ok(true),
                "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
                    return Ok(false);
                }
                _ => {}
            },
            Kind::Text { .. } => {}
            _ => return Err(self.misshapen(key, "write true or false")),
        }
        Err(self.fault(format!("`{key}`: `{}` is neither true nor false; write it without quotes", self.text(key)?)))
    }

    /// `1_000`, `0x10`, `0b11`, `017` and `1e3` are numbers, as with Prometheus.
    pub fn count(&self, key: &str) -> Result<u64, Fault> {
        let Kind::Text { text, plain } = &self.kind else {
            return Err(self.misshapen(key, "write a whole number"));
        };
        let digits = text.replace('_', "");
        let based = |prefixes: [&str; 2], base: u32| {
            let rest = prefixes.iter().find_map(|p| digits.strip_prefix(p))?;
            u64::from_str_radix(rest, base).ok()
        };
        let octal = || {
            let rest = digits.strip_prefix('0').filter(|r| !r.is_empty() && !r.contains(['.', 'e', 'E']))?;
            u64::from_str_radix(rest, 8).ok()
        };
        let float = || {
            let number: f64 = digits.parse().ok()?;
            // A fraction is cut off there, too; words like `inf` are no numbers of YAML.
            let is_number = digits.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
            (is_number && number <= u64::MAX as f64).then_some(number as u64)
        };
        let number = based(["0x", "0X"], 16)
            .or_else(|| based(["0b", "0B"], 2))
            .or_else(|| based(["0o", "0O"], 8))
            .or_else(octal)
            .or_else(|| digits.parse().ok())
            .or_else(float)
            .or_else(|| (digits == "-0").then_some(0));
        number
            .filter(|_| *plain)
            .ok_or_else(|| self.fault(format!("`{key}`: `{text}` is no whole number from 0 on, without quotes")))
    }

    /// A [`Node::count`] that TOML can write.
    pub fn whole(&self, key: &str) -> Result<i64, Fault> {
        let too_great = |_| self.fault(format!("`{key}` is too great: at most {} is taken", i64::MAX));
        i64::try_from(self.count(key)?).map_err(too_great)
    }

    pub fn duration(&self, key: &str) -> Result<(&str, Duration), Fault> {
        let text = self.text(key)?;
        match parse_duration(text) {
            Ok(duration) => Ok((text, duration)),
            Err(_) => Err(self.fault(format!("`{key}`: `{text}` is not a duration; write it like 30s or 1m30s"))),
        }
    }

    /// Prometheus' `15MB` is 15 MiB.
    pub fn size(&self, key: &str) -> Result<u64, Fault> {
        let text = self.text(key)?;
        base2_bytes(text).ok_or_else(|| self.fault(format!("`{key}`: `{text}` is no size; write it like 15MB")))
    }
}

/// Numbers with units, one after the other, or 0.
fn base2_bytes(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut sum) = (text, 0.0_f64);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let power = "BKMGTPE".find(unit.chars().next()?)?;
        if unit.get(1..) != Some(if power == 0 { "" } else { "B" }) && (power == 0 || unit.get(1..) != Some("iB")) {
            return None;
        }
        sum += number.parse::<f64>().ok()? * 1024_f64.powi(i32::try_from(power).ok()?);
        rest = after;
    }
    (!text.is_empty() && sum < 9e18).then_some(sum as u64)
}
