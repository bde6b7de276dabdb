//! Walks a template's tree.
//!
//! Invariant: every step is counted and every byte of output too, so that no template runs forever or fills memory.
//! Errors have Go's words and places.
//! Not here: what the functions do.

use std::collections::HashMap;

use gotmpl::parse::{BranchNode, CommandNode, Expr, ListNode, Node, Number, PipeNode, Pos, SmolStr, TemplateNode};

use crate::functions::{ARITY, Context, Table, find};
use crate::value::Value;
use crate::{DEPTH_MAX, OUTPUT_BYTES_MAX, STEPS_MAX, gofmt, gotime, print};

/// Where the executor is: what Go prints behind `at`.
#[derive(Clone, Copy)]
enum Place<'a> {
    Nowhere,
    Expr(&'a Expr),
    Command(&'a CommandNode),
    Pipe(&'a PipeNode),
    Template(&'a TemplateNode),
}

enum Stop {
    /// The finished text, place included.
    Error(String),
    Break,
    Continue,
}

type Walk<T> = Result<T, Stop>;

/// A parsed template with the templates that it defines.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub name: String,
    pub source: String,
    pub body: ListNode,
    pub defines: HashMap<SmolStr, ListNode>,
}

pub(crate) struct Executor<'a> {
    tree: &'a Tree,
    /// Name of the template at work.
    name: &'a str,
    tables: &'a [Table],
    context: &'a Context<'a>,
    vars: Vec<(SmolStr, Value)>,
    at: Place<'a>,
    steps: u64,
    depth: usize,
    out: String,
}

/// Expands `tree` over `root`. The error is Go's `template: name:1:2: executing …`.
pub(crate) fn run(tree: &Tree, tables: &[Table], context: &Context<'_>, root: Value) -> Result<String, String> {
    let mut e = Executor {
        tree,
        name: &tree.name,
        tables,
        context,
        vars: vec![("$".into(), root.clone())],
        at: Place::Nowhere,
        steps: 0,
        depth: 0,
        out: String::new(),
    };
    match e.list(&tree.body, &root) {
        Ok(()) => Ok(e.out),
        Err(Stop::Error(text)) => Err(text),
        Err(Stop::Break | Stop::Continue) => Err("unexpected break or continue outside of range".to_owned()),
    }
}

impl<'a> Executor<'a> {
    /// Go's `state.errorf`.
    fn error(&self, why: impl AsRef<str>) -> Stop {
        let (pos, text) = match self.at {
            Place::Nowhere => return Stop::Error(format!("template: {}: {}", self.name, why.as_ref())),
            Place::Expr(e) => (e.pos(), print::expr(e)),
            Place::Command(c) => (c.pos, print::command(c)),
            Place::Pipe(p) => (p.pos, print::pipe(p)),
            Place::Template(t) => (t.pos, format!("{{{{template {:?}}}}}", t.name.as_str())),
        };
        let (line, column) = self.line_column(pos);
        let short = if text.chars().count() > 20 { text.chars().take(20).collect::<String>() + "..." } else { text };
        Stop::Error(format!(
            "template: {}:{line}:{column}: executing {:?} at <{short}>: {}",
            self.tree.name,
            self.name,
            why.as_ref()
        ))
    }

    /// Go counts lines from 1 and bytes of the line from 0.
    fn line_column(&self, pos: Pos) -> (usize, usize) {
        let before = self.tree.source.get(..pos.offset.min(self.tree.source.len())).unwrap_or("");
        (1 + before.matches('\n').count(), before.len() - before.rfind('\n').map_or(0, |i| i + 1))
    }

    fn count(&mut self) -> Walk<()> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(self.error(format!("the template takes more than {STEPS_MAX} steps")));
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Walk<()> {
        if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
            return Err(self.error(format!("the template writes more than {OUTPUT_BYTES_MAX} bytes")));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Walk<T>) -> Walk<T> {
        if self.depth >= DEPTH_MAX {
            return Err(self.error(format!("exceeded maximum template depth ({DEPTH_MAX})")));
        }
        self.depth += 1;
        let answer = f(self);
        self.depth -= 1;
        answer
    }

    fn list(&mut self, list: &'a ListNode, dot: &Value) -> Walk<()> {
        for node in &list.nodes {
            self.count()?;
            match node {
                Node::Text(t) => self.write(&t.text)?,
                Node::Action(a) => {
                    let value = self.pipe(&a.pipe, dot)?;
                    if a.pipe.decl.is_empty() {
                        self.write(&gofmt::printed(&value))?;
                    }
                }
                Node::If(b) => self.scoped(|e| e.branch(b, dot, false))?,
                Node::With(b) => self.scoped(|e| e.branch(b, dot, true))?,
                Node::Range(b) => self.scoped(|e| e.range(b, dot))?,
                Node::Template(t) => self.template(t, dot)?,
                Node::List(l) => self.list(l, dot)?,
                Node::Define(_) => {}
                Node::Break(_) => return Err(Stop::Break),
                Node::Continue(_) => return Err(Stop::Continue),
            }
        }
        Ok(())
    }

    /// Variables declared inside are gone afterwards.
    fn scoped<T>(&mut self, f: impl FnOnce(&mut Self) -> Walk<T>) -> Walk<T> {
        let mark = self.vars.len();
        let answer = self.deeper(f);
        self.vars.truncate(mark);
        answer
    }

    fn branch(&mut self, b: &'a BranchNode, dot: &Value, with: bool) -> Walk<()> {
        let value = self.pipe(&b.pipe, dot)?;
        match (value.is_true(), &b.else_body) {
            (true, _) => self.list(&b.body, if with { &value } else { dot }),
            (false, Some(other)) => self.list(other, dot),
            (false, None) => Ok(()),
        }
    }

    fn range(&mut self, b: &'a BranchNode, dot: &Value) -> Walk<()> {
        let value = self.pipe_value(&b.pipe, dot)?;
        let items: Box<dyn Iterator<Item = (Value, Value)>> = match &value {
            Value::List(l) => Box::new(l.iter().enumerate().map(|(i, v)| (Value::Int(i as i64), v.clone()))),
            Value::Samples(s) => {
                Box::new(s.iter().enumerate().map(|(i, s)| (Value::Int(i as i64), Value::Sample(s.clone()))))
            }
            Value::Labels(l) => {
                Box::new(l.iter().map(|l| (Value::String(l.name.clone()), Value::String(l.value.clone()))))
            }
            Value::Map(m) => Box::new(m.iter().map(|(k, v)| (Value::string(k.as_str()), v.clone()))),
            Value::Int(n) => {
                if b.pipe.decl.len() > 1 {
                    return Err(self.error(format!("can't use {n} to iterate over more than one variable")));
                }
                Box::new((0..*n).map(|i| (Value::Int(i), Value::Int(i))))
            }
            Value::Nil | Value::Missing => Box::new(std::iter::empty()),
            other => {
                let text = gofmt::display(other);
                return Err(self.error(format!("range can't iterate over {text}")));
            }
        };
        let mark = self.vars.len();
        let mut any = false;
        for (key, item) in items {
            any = true;
            self.count()?;
            let names: Vec<Value> = if b.pipe.decl.len() > 1 { vec![key, item.clone()] } else { vec![item.clone()] };
            for (name, v) in b.pipe.decl.iter().zip(names) {
                self.bind(name, v, b.pipe.is_assign);
            }
            let went = self.list(&b.body, &item);
            self.vars.truncate(mark);
            match went {
                Ok(()) | Err(Stop::Continue) => {}
                Err(Stop::Break) => break,
                Err(e) => return Err(e),
            }
        }
        match &b.else_body {
            Some(other) if !any => self.list(other, dot),
            _ => Ok(()),
        }
    }

    fn template(&mut self, t: &'a TemplateNode, dot: &Value) -> Walk<()> {
        self.at = Place::Template(t);
        let Some((name, body)) = self.tree.defines.get_key_value(t.name.as_str()) else {
            return Err(self.error(format!("template {:?} not defined", t.name.as_str())));
        };
        let dot = match &t.pipe {
            Some(p) => self.pipe(p, dot)?,
            None => Value::Missing,
        };
        let vars = std::mem::replace(&mut self.vars, vec![("$".into(), dot.clone())]);
        let outer = std::mem::replace(&mut self.name, name.as_str());
        let went = self.deeper(|e| e.list(body, &dot));
        self.vars = vars;
        self.name = outer;
        went
    }

    fn bind(&mut self, name: &SmolStr, value: Value, assign: bool) {
        match self.vars.iter_mut().rev().find(|(n, _)| assign && n == name) {
            Some((_, slot)) => *slot = value,
            None => self.vars.push((name.clone(), value)),
        }
    }

    fn pipe(&mut self, p: &'a PipeNode, dot: &Value) -> Walk<Value> {
        let value = self.pipe_value(p, dot)?;
        for name in &p.decl {
            self.bind(name, value.clone(), p.is_assign);
        }
        Ok(value)
    }

    fn pipe_value(&mut self, p: &'a PipeNode, dot: &Value) -> Walk<Value> {
        self.at = Place::Pipe(p);
        self.deeper(|e| {
            let mut value = None;
            for c in &p.commands {
                value = Some(e.command(c, dot, value)?);
            }
            Ok(value.unwrap_or(Value::Nil))
        })
    }

    fn command(&mut self, c: &'a CommandNode, dot: &Value, piped: Option<Value>) -> Walk<Value> {
        self.count()?;
        let Some(first) = c.args.first() else { return Err(self.error("empty command")) };
        match first {
            Expr::Identifier(_, name) => {
                self.at = Place::Expr(first);
                self.call(c, name, dot, piped)
            }
            Expr::Field(_, fields) => {
                self.at = Place::Expr(first);
                self.fields(dot.clone(), fields, Some(c), dot, piped)
            }
            Expr::Variable(_, name, fields) => {
                self.at = Place::Expr(first);
                let value = self.variable(name)?;
                self.fields(value, fields, Some(c), dot, piped)
            }
            Expr::Chain(_, inner, fields) => {
                self.at = Place::Expr(first);
                let value = match inner.as_ref() {
                    Expr::Identifier(..) => self.argument(inner, dot)?,
                    inner => self.expr(inner, dot)?,
                };
                self.fields(value, fields, Some(c), dot, piped)
            }
            Expr::Nil(_) => {
                self.at = Place::Expr(first);
                Err(self.error("nil is not a command"))
            }
            Expr::Pipe(..) if c.args.len() == 1 && piped.is_none() => self.expr(first, dot),
            other => {
                self.at = Place::Expr(other);
                if c.args.len() > 1 || piped.is_some() {
                    return Err(self.error(format!("can't give argument to non-function {}", print::expr(other))));
                }
                self.expr(other, dot)
            }
        }
    }

    fn call(&mut self, c: &'a CommandNode, name: &str, dot: &Value, piped: Option<Value>) -> Walk<Value> {
        let Some(function) = find(self.tables, name) else {
            return Err(self.error(format!("{name:?} is not a defined function")));
        };
        if name == "and" || name == "or" {
            return self.short_circuit(c, name, dot, piped);
        }
        let mut args = Vec::with_capacity(c.args.len());
        for a in c.args.iter().skip(1) {
            args.push(self.argument(a, dot)?);
        }
        args.extend(piped);
        let answer = function(self.context, &args);
        // Go counts arguments before it looks at them, checks types at each, and blames the call for the rest.
        match &answer {
            Err(why) if why.starts_with(ARITY) => self.at = c.args.first().map_or(Place::Nowhere, Place::Expr),
            Err(why) if !is_type_error(why) => self.at = Place::Command(c),
            Err(why) => {
                // What is written out is checked as it is read, with words of its own.
                let wrong = c
                    .args
                    .iter()
                    .skip(1)
                    .zip(&args)
                    .find(|(e, v)| is_literal(e) && why.ends_with(&format!("; got {}", v.go_type())));
                if let Some((e, _)) = wrong {
                    self.at = Place::Expr(e);
                    let expected = why.trim_start_matches("wrong type for value; expected ");
                    let expected = expected.split(';').next().unwrap_or(expected);
                    let found = print::expr(e);
                    return Err(self.error(match expected {
                        "string" => format!("expected string; found {found}"),
                        other => format!("can't handle {found} for arg of type {other}"),
                    }));
                }
            }
            Ok(_) => {}
        }
        self.answered(name, answer)
    }

    fn answered(&self, name: &str, answer: Result<Value, String>) -> Walk<Value> {
        match answer {
            Ok(Value::String(s)) if s.len() > OUTPUT_BYTES_MAX => {
                Err(self.error(format!("{name} makes a text of more than {OUTPUT_BYTES_MAX} bytes")))
            }
            Ok(v) => Ok(v),
            Err(why) => Err(match why.strip_prefix(ARITY) {
                Some(why) => self.error(format!("wrong number of args for {name}: {why}")),
                None if is_type_error(&why) => self.error(why),
                None => self.error(format!("error calling {name}: {why}")),
            }),
        }
    }

    fn short_circuit(&mut self, c: &'a CommandNode, name: &str, dot: &Value, piped: Option<Value>) -> Walk<Value> {
        let mut last = None;
        for a in c.args.iter().skip(1) {
            let v = self.argument(a, dot)?;
            if v.is_true() == (name == "or") {
                return Ok(v);
            }
            last = Some(v);
        }
        match piped.or(last) {
            Some(v) => Ok(v),
            None => Err(self.error(format!("wrong number of args for {name}: want at least 1 got 0"))),
        }
    }

    /// An argument of a function: like [`Self::expr`], but a bare function name is a call.
    fn argument(&mut self, e: &'a Expr, dot: &Value) -> Walk<Value> {
        self.at = Place::Expr(e);
        match e {
            Expr::Identifier(_, name) => {
                let Some(function) = find(self.tables, name) else {
                    return Err(self.error(format!("{name:?} is not a defined function")));
                };
                let answer = function(self.context, &[]);
                self.answered(name, answer)
            }
            other => self.expr(other, dot),
        }
    }

    fn expr(&mut self, e: &'a Expr, dot: &Value) -> Walk<Value> {
        self.count()?;
        if !matches!(e, Expr::Pipe(..)) {
            self.at = Place::Expr(e);
        }
        Ok(match e {
            Expr::Dot(_) => dot.clone(),
            Expr::Field(_, fields) => return self.fields(dot.clone(), fields, None, dot, None),
            Expr::Variable(_, name, fields) => {
                let value = self.variable(name)?;
                return self.fields(value, fields, None, dot, None);
            }
            Expr::Chain(_, inner, fields) => {
                let value = self.argument(inner, dot)?;
                return self.fields(value, fields, None, dot, None);
            }
            Expr::Pipe(_, p) => return self.pipe(p, dot),
            Expr::Identifier(..) => return self.argument(e, dot),
            Expr::String(_, s) => Value::String(s.clone()),
            Expr::Number(_, Number::Int(n)) => Value::Int(*n),
            Expr::Number(_, Number::Uint(n)) => return Err(self.error(format!("{n} overflows int"))),
            Expr::Number(_, Number::Float(v)) => Value::Float(*v),
            Expr::Bool(_, b) => Value::Bool(*b),
            Expr::Nil(_) => Value::Nil,
        })
    }

    fn variable(&self, name: &str) -> Walk<Value> {
        match self.vars.iter().rev().find(|(n, _)| n == name) {
            Some((_, v)) => Ok(v.clone()),
            None => Err(self.error(format!("undefined variable: {name}"))),
        }
    }

    /// Follows `.a.b.c`; only the last may be a method with arguments.
    fn fields(
        &mut self,
        mut value: Value,
        fields: &'a [SmolStr],
        command: Option<&'a CommandNode>,
        dot: &Value,
        piped: Option<Value>,
    ) -> Walk<Value> {
        let mut args = Vec::new();
        for a in command.iter().flat_map(|c| c.args.iter().skip(1)) {
            let place = self.at;
            args.push(self.argument(a, dot)?);
            self.at = place;
        }
        args.extend(piped);
        let Some((last, before)) = fields.split_last() else {
            return match args.is_empty() {
                true => Ok(value),
                false => Err(self.error("can't give argument to non-function")),
            };
        };
        for name in before {
            value = self.field(&value, name, &[])?;
        }
        self.field(&value, last, &args)
    }

    fn field(&self, value: &Value, name: &str, args: &[Value]) -> Walk<Value> {
        let method = match value {
            Value::Time(t) => gotime::time_method(*t, name, args),
            Value::Duration(d) => gotime::duration_method(*d, name, args),
            Value::Named(_, text, _) if name == "String" && args.is_empty() => Some(Ok(Value::string(*text))),
            _ => None,
        };
        if let Some(answer) = method {
            return self.answered(name, answer);
        }
        let found = match value {
            Value::Labels(l) => Some(Value::string(l.get(name).unwrap_or(""))),
            Value::Map(m) => Some(m.get(name).cloned().unwrap_or(Value::Missing)),
            Value::Struct(fields, _) => fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()),
            Value::Sample(s) => match name {
                "Labels" => Some(Value::Labels(s.labels.clone())),
                "Value" => Some(Value::from(&s.value)),
                _ => None,
            },
            // With no data at all, a field is not there rather than wrong.
            Value::Missing => Some(Value::Missing),
            Value::Nil => return Err(self.error(format!("nil pointer evaluating interface {{}}.{name}"))),
            _ => None,
        };
        match found {
            Some(_) if !args.is_empty() => {
                Err(self.error(format!("{name} has arguments but cannot be invoked as function")))
            }
            Some(v) => Ok(v),
            None => Err(self.error(format!("can't evaluate field {name} in type {}", value.go_type()))),
        }
    }
}

fn is_literal(e: &Expr) -> bool {
    matches!(e, Expr::String(..) | Expr::Number(..) | Expr::Bool(..))
}

fn is_type_error(why: &str) -> bool {
    why.starts_with("wrong type for value;") || why.starts_with("invalid value;")
}
