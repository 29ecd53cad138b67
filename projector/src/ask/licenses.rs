//! Licences as they are compared: as SPDX expressions, whatever the order of their terms (SPEC §5, *Diff*).

use std::collections::BTreeSet;

use spdx::expression::{ExprNode, Operator};
use spdx::{Expression, ParseMode};

/// An expression without an order of its terms.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Term {
    One(String),
    All(BTreeSet<Term>),
    Any(BTreeSet<Term>),
}

/// Whether two lists of licences say the same: each is all of its expressions.
pub(super) fn same(a: &[String], b: &[String]) -> bool {
    a == b || all(a) == all(b)
}

/// One text for a list of licences; empty for none.
pub(super) fn shown(licenses: &[String]) -> String {
    licenses.join(" AND ")
}

fn all(licenses: &[String]) -> Term {
    joined(Operator::And, licenses.iter().map(|text| term(text)))
}

fn term(text: &str) -> Term {
    let parsed = Expression::parse_mode(text, ParseMode::LAX).ok().and_then(|expression| tree(&expression));
    parsed.unwrap_or_else(|| Term::One(text.trim().to_owned()))
}

/// Terms come in postfix order. `None` for what does not come to one term.
fn tree(expression: &Expression) -> Option<Term> {
    let mut stack = Vec::new();
    for node in expression.iter() {
        let next = match node {
            ExprNode::Req(required) => Term::One(required.req.to_string()),
            ExprNode::Op(operator) => {
                let (b, a) = (stack.pop()?, stack.pop()?);
                joined(*operator, [a, b].into_iter())
            }
        };
        stack.push(next);
    }
    let tree = stack.pop()?;
    stack.is_empty().then_some(tree)
}

/// Terms of the same kind are one level; one alone is itself.
fn joined(operator: Operator, terms: impl Iterator<Item = Term>) -> Term {
    let mut flat = BTreeSet::new();
    for term in terms {
        match (operator, term) {
            (Operator::And, Term::All(inner)) | (Operator::Or, Term::Any(inner)) => flat.extend(inner),
            (_, term) => {
                flat.insert(term);
            }
        }
    }
    if flat.len() == 1 {
        return flat.pop_first().unwrap_or(Term::All(BTreeSet::new()));
    }
    match operator {
        Operator::And => Term::All(flat),
        Operator::Or => Term::Any(flat),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_compared_and_not_their_texts() {
        let check = |a: &[&str], b: &[&str], equal: bool| {
            let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            assert_eq!(same(&own(a), &own(b)), equal, "{a:?} and {b:?}");
        };
        check(&["MIT OR Apache-2.0"], &["Apache-2.0 OR MIT"], true);
        check(&["(MIT OR Apache-2.0) AND BSD-3-Clause"], &["BSD-3-Clause AND (Apache-2.0 OR MIT)"], true);
        check(&["MIT", "Apache-2.0"], &["Apache-2.0 AND MIT"], true);
        check(&["MIT AND Apache-2.0"], &["MIT OR Apache-2.0"], false);
        check(&["MIT AND MIT"], &["MIT"], true);
        check(&["Our own licence"], &["Our own licence"], true);
        check(&["Our own licence"], &["MIT"], false);
        check(&[], &["MIT"], false);
        check(&["GPL-2.0-only WITH Classpath-exception-2.0"], &["GPL-2.0-only"], false);
    }
}
