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

pub(crate) struct Checker<'a> {
    tables: &'a [Table],
    vars: Vec<SmolStr>,
    inside_define: bool,
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
            vars: vec!["$".into()],
            inside_define: false,
            labels: Vec::new(),
            queries: false,
            expressions: Vec::new(),
        }
    }

    pub fn define(&mut self, body: &ListNode) -> Result<(), Problem> {
        let vars = std::mem::replace(&mut self.vars, vec!["$".into()]);
        let inside = std::mem::replace(&mut self.inside_define, true);
        let answer = self.list(body);
        self.vars = vars;
        self.inside_define = inside;
        answer
    }

    pub fn list(&mut self, list: &ListNode) -> Result<(), Problem> {
        for node in &list.nodes {
            match node {
                Node::Action(a) => self.pipe(&a.pipe)?,
                Node::If(b) | Node::With(b) | Node::Range(b) => self.branch(b)?,
                Node::Template(t) => t.pipe.as_ref().map_or(Ok(()), |p| self.pipe(p))?,
                Node::List(l) => self.list(l)?,
                Node::Text(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => {}
            }
        }
        Ok(())
    }

    fn branch(&mut self, b: &BranchNode) -> Result<(), Problem> {
        let mark = self.vars.len();
        self.pipe(&b.pipe)?;
        self.list(&b.body)?;
        if let Some(other) = &b.else_body {
            self.list(other)?;
        }
        self.vars.truncate(mark);
        Ok(())
    }

    fn pipe(&mut self, p: &PipeNode) -> Result<(), Problem> {
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
        for name in &p.decl {
            if p.is_assign && !self.vars.contains(name) {
                return Err((p.pos, format!("undefined variable {:?}", name.as_str())));
            }
            self.vars.push(name.clone());
        }
        Ok(())
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
                if !self.vars.contains(name) {
                    return Err((*pos, format!("undefined variable {:?}", name.as_str())));
                }
                match (name.as_str(), fields.as_slice()) {
                    ("$labels", [label, ..]) => self.labels.push((label.to_string(), pos.offset, false)),
                    ("$externalLabels", [label, ..]) => self.labels.push((label.to_string(), pos.offset, true)),
                    _ => {}
                }
            }
            Expr::Pipe(_, p) => self.pipe(p)?,
            Expr::Chain(_, inner, _) => self.expr(inner)?,
            _ => {}
        }
        Ok(())
    }
}
