//! What Go's parser refuses and `gotmpl`'s does not: unknown functions and variables. And what a template looks at.

use gotmpl::parse::{BranchNode, Expr, ListNode, Node, PipeNode, Pos, SmolStr};

use crate::functions::{Table, find};

/// A use of `$labels.NAME`, `.Labels.NAME` or `$externalLabels.NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelUse {
    /// The label.
    pub name: String,
    /// Byte offset in the text.
    pub offset: usize,
    /// One of the server's external labels rather than the alert's.
    pub external: bool,
}

/// What a variable or dot is known to be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    /// The data itself, with its `.Labels`.
    Data,
    Labels,
    ExternalLabels,
    Nothing,
}

impl Known {
    /// After these fields, and the label among them.
    fn after(mut self, fields: &[SmolStr]) -> (Self, Option<(&SmolStr, bool)>) {
        for field in fields {
            self = match (self, field.as_str()) {
                (Self::Data, "Labels") => Self::Labels,
                (Self::Data, "ExternalLabels") => Self::ExternalLabels,
                (Self::Labels, _) => return (Self::Nothing, Some((field, false))),
                (Self::ExternalLabels, _) => return (Self::Nothing, Some((field, true))),
                _ => Self::Nothing,
            };
        }
        (self, None)
    }
}

pub(crate) struct Checker<'a> {
    tables: &'a [Table],
    vars: Vec<(SmolStr, Known)>,
    dot: Known,
    pub labels: Vec<(String, usize, bool)>,
    pub queries: bool,
    /// Text of constant queries and where they stand.
    pub expressions: Vec<(String, usize)>,
}

type Problem = (Pos, String);

impl<'a> Checker<'a> {
    pub fn new(tables: &'a [Table]) -> Self {
        Self {
            tables,
            vars: vec![("$".into(), Known::Data)],
            dot: Known::Data,
            labels: Vec::new(),
            queries: false,
            expressions: Vec::new(),
        }
    }

    pub fn define(&mut self, body: &ListNode) -> Result<(), Problem> {
        let vars = std::mem::replace(&mut self.vars, vec![("$".into(), Known::Nothing)]);
        let dot = std::mem::replace(&mut self.dot, Known::Nothing);
        let answer = self.list(body);
        self.vars = vars;
        self.dot = dot;
        answer
    }

    pub fn list(&mut self, list: &ListNode) -> Result<(), Problem> {
        for node in &list.nodes {
            match node {
                Node::Action(a) => self.pipe(&a.pipe)?,
                Node::If(b) => self.branch(b, self.dot)?,
                Node::With(b) => self.branch(b, self.known(&b.pipe))?,
                Node::Range(b) => self.branch(b, Known::Nothing)?,
                Node::Template(t) => t.pipe.as_ref().map_or(Ok(()), |p| self.pipe(p))?,
                Node::List(l) => self.list(l)?,
                Node::Text(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => {}
            }
        }
        Ok(())
    }

    fn branch(&mut self, b: &BranchNode, inside: Known) -> Result<(), Problem> {
        let mark = self.vars.len();
        self.pipe(&b.pipe)?;
        let dot = std::mem::replace(&mut self.dot, inside);
        self.list(&b.body)?;
        self.dot = dot;
        if let Some(other) = &b.else_body {
            self.list(other)?;
        }
        self.vars.truncate(mark);
        Ok(())
    }

    fn pipe(&mut self, p: &PipeNode) -> Result<(), Problem> {
        for (i, first) in p.commands.iter().enumerate().skip(1).filter_map(|(i, c)| Some((i, c.args.first()?))) {
            // Nothing can be given to what is no function, method or field.
            if let Expr::Bool(pos, _) | Expr::Dot(pos) | Expr::Nil(pos) | Expr::Number(pos, _) | Expr::String(pos, _) =
                first
            {
                return Err((*pos, format!("non executable command in pipeline stage {}", i + 1)));
            }
        }
        for e in p.commands.iter().flat_map(|c| &c.args) {
            self.expr(e)?;
        }
        for c in &p.commands {
            if let [Expr::Identifier(_, name), Expr::String(pos, text), ..] = c.args.as_slice()
                && name == "query"
            {
                self.expressions.push((text.to_string(), pos.offset));
            }
        }
        for c in &p.commands {
            if let [Expr::Identifier(_, name), of, Expr::String(pos, label), ..] = c.args.as_slice()
                && name == "index"
            {
                match self.known_expr(of) {
                    Known::Labels => self.labels.push((label.to_string(), pos.offset, false)),
                    Known::ExternalLabels => self.labels.push((label.to_string(), pos.offset, true)),
                    Known::Data | Known::Nothing => {}
                }
            }
        }
        let known = if p.decl.len() == 1 { self.known(p) } else { Known::Nothing };
        for name in &p.decl {
            if !p.is_assign {
                self.vars.push((name.clone(), known));
                continue;
            }
            // Whether it is assigned may depend: nothing is known of it any more.
            match self.vars.iter_mut().rev().find(|(n, _)| n == name) {
                Some((_, was)) => *was = Known::Nothing,
                None => return Err((p.pos, format!("undefined variable {:?}", name.as_str()))),
            }
        }
        Ok(())
    }

    fn known(&self, p: &PipeNode) -> Known {
        match p.commands.as_slice() {
            [c] if c.args.len() == 1 => self.known_expr(&c.args[0]),
            _ => Known::Nothing,
        }
    }

    fn known_expr(&self, e: &Expr) -> Known {
        match e {
            Expr::Dot(_) => self.dot,
            Expr::Field(_, fields) => self.dot.after(fields).0,
            Expr::Variable(_, name, fields) => self.variable(name).unwrap_or(Known::Nothing).after(fields).0,
            Expr::Pipe(_, p) => self.known(p),
            _ => Known::Nothing,
        }
    }

    fn variable(&self, name: &SmolStr) -> Option<Known> {
        self.vars.iter().rev().find(|(n, _)| n == name).map(|(_, known)| *known)
    }

    fn expr(&mut self, e: &Expr) -> Result<(), Problem> {
        match e {
            Expr::Identifier(pos, name) => {
                if find(self.tables, name).is_none() {
                    return Err((*pos, format!("function {:?} not defined", name.as_str())));
                }
                self.queries |= name == "query";
            }
            Expr::Variable(pos, name, fields) => {
                let Some(known) = self.variable(name) else {
                    return Err((*pos, format!("undefined variable {:?}", name.as_str())));
                };
                self.used(known, fields, *pos);
            }
            Expr::Field(pos, fields) => self.used(self.dot, fields, *pos),
            Expr::Pipe(_, p) => self.pipe(p)?,
            Expr::Chain(_, inner, _) => self.expr(inner)?,
            _ => {}
        }
        Ok(())
    }

    fn used(&mut self, of: Known, fields: &[SmolStr], pos: Pos) {
        if let (_, Some((label, external))) = of.after(fields) {
            self.labels.push((label.to_string(), pos.offset, external));
        }
    }
}
