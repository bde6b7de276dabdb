//! Nodes of a template as Go prints them in its errors.

use gotmpl::parse::{CommandNode, Expr, Number, PipeNode, SmolStr};

use crate::gofmt;

pub(crate) fn expr(e: &Expr) -> String {
    let fields = |f: &[SmolStr]| f.iter().map(|f| format!(".{f}")).collect::<String>();
    match e {
        Expr::Dot(_) => ".".to_owned(),
        Expr::Field(_, f) => fields(f),
        Expr::Variable(_, name, f) => format!("{name}{}", fields(f)),
        Expr::Identifier(_, name) => name.to_string(),
        Expr::String(_, s) => format!("{:?}", &**s),
        Expr::Number(_, Number::Int(n)) => n.to_string(),
        Expr::Number(_, Number::Uint(n)) => n.to_string(),
        Expr::Number(_, Number::Float(v)) => gofmt::float(*v),
        Expr::Bool(_, b) => b.to_string(),
        Expr::Nil(_) => "nil".to_owned(),
        Expr::Pipe(_, p) => format!("({})", pipe(p)),
        Expr::Chain(_, inner, f) => format!("{}{}", expr(inner), fields(f)),
    }
}

pub(crate) fn command(c: &CommandNode) -> String {
    c.args.iter().map(expr).collect::<Vec<_>>().join(" ")
}

pub(crate) fn pipe(p: &PipeNode) -> String {
    let decl = match p.decl.as_slice() {
        [] => String::new(),
        d => format!("{} {} ", d.join(", "), if p.is_assign { "=" } else { ":=" }),
    };
    decl + &p.commands.iter().map(command).collect::<Vec<_>>().join(" | ")
}
