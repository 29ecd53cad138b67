//! What joins rows of versions beside their parents: products of one build, and bases. Each is a rail, a line down the
//! right of the lanes, from the first row that it joins to the last one.
//!
//! A pure function from ties between rows to cells, and one from the cells of a row to text, as in
//! [`lanes`](crate::lanes).

use std::collections::{BTreeMap, BTreeSet};

/// Rails that stand beside each other; what has no place is told by its rows.
pub const RAILS_MAX: usize = 6;

/// What a rail says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Built on.
    Base,
    /// Products of one build.
    Build,
}

/// Two rows that belong together, by their places from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tie {
    /// How.
    pub kind: Kind,
    /// The base, or the first product. All ties of one are a rail.
    pub hub: usize,
    /// What is built on it, or with it.
    pub end: usize,
}

/// A rail in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// What it says.
    pub kind: Kind,
    /// It comes from above.
    pub up: bool,
    /// It goes on below.
    pub down: bool,
    /// The row is one of those that it joins.
    pub joins: bool,
}

/// Edges of one relationship by their ends: from what each version comes, to what it leads.
#[derive(Clone, Debug, Default)]
pub struct Ends<'a> {
    /// By what they lead to.
    pub from: BTreeMap<&'a str, Vec<&'a str>>,
    /// By what they come from.
    pub to: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Ends<'a> {
    /// Of edges, each as (from, to).
    pub fn of(edges: impl IntoIterator<Item = (&'a str, &'a str)>) -> Ends<'a> {
        let mut ends = Ends::default();
        for (from, to) in edges {
            ends.from.entry(to).or_default().push(from);
            ends.to.entry(from).or_default().push(to);
        }
        ends
    }
}

/// Rails beside some rows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rails {
    cells: Vec<Vec<Option<Cell>>>,
    drawn: BTreeSet<Tie>,
    columns: usize,
}

/// The rails of some ties. Each tie is drawn, so that both of its rows join one rail, or is not among those that are
/// ([`Rails::has`]); no cell is of two rails.
pub fn rails(rows: usize, ties: &[Tie]) -> Rails {
    let mut groups: BTreeMap<(Kind, usize), BTreeSet<usize>> = BTreeMap::new();
    for tie in ties.iter().filter(|tie| tie.hub < rows && tie.end < rows && tie.hub != tie.end) {
        groups.entry((tie.kind, tie.hub)).or_insert_with(|| BTreeSet::from([tie.hub])).insert(tie.end);
    }
    let ends = |joined: &BTreeSet<usize>| (joined.first().copied().unwrap_or(0), joined.last().copied().unwrap_or(0));
    let mut in_order: Vec<_> = groups.into_iter().collect();
    in_order.sort_by_key(|((kind, hub), joined)| (ends(joined), *kind, *hub));
    let mut rails = Rails { cells: vec![vec![]; rows], ..Rails::default() };
    // The last row of each column that is taken.
    let mut taken: Vec<usize> = Vec::new();
    for ((kind, hub), joined) in in_order {
        let (first, last) = ends(&joined);
        let free = taken.iter().position(|last| *last < first).unwrap_or(taken.len());
        if free >= RAILS_MAX {
            continue;
        }
        if free == taken.len() {
            taken.push(last);
        }
        taken[free] = last;
        for row in first..=last {
            let cell = Cell { kind, up: row > first, down: row < last, joins: joined.contains(&row) };
            let cells = &mut rails.cells[row];
            cells.resize(cells.len().max(free + 1), None);
            cells[free] = Some(cell);
        }
        rails.drawn.extend(joined.iter().filter(|end| **end != hub).map(|end| Tie { kind, hub, end: *end }));
    }
    rails.columns = taken.len();
    rails
}

/// The rails beside so many rows, of which the places are given by version: of all edges that join two of them.
pub fn beside(rows: usize, places: &BTreeMap<&str, usize>, bases: &Ends<'_>, builds: &Ends<'_>) -> Rails {
    let mut ties = Vec::new();
    for (kind, edges) in [(Kind::Base, bases), (Kind::Build, builds)] {
        for (hub, ends) in &edges.to {
            let tie = |end: &&str| Some(Tie { kind, hub: *places.get(hub)?, end: *places.get(end)? });
            ties.extend(ends.iter().filter_map(tie));
        }
    }
    rails(rows, &ties)
}

impl Rails {
    /// How many stand beside each other where most do.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The cells of a row, from the left.
    pub fn of(&self, row: usize) -> &[Option<Cell>] {
        self.cells.get(row).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a tie is drawn.
    pub fn has(&self, tie: &Tie) -> bool {
        self.drawn.contains(tie)
    }

    /// The line of a row's sign as text, two columns for each rail.
    pub fn node_text(&self, row: usize) -> String {
        let cells = self.of(row);
        let column = |at: usize| {
            // A line runs from the sign to the last rail that the row joins.
            let next = cells[at..].iter().flatten().find(|cell| cell.joins).map(|cell| cell.kind);
            let cell = cells[at];
            let lead = next.map_or(' ', across);
            let mark = match (cell, next) {
                (Some(Cell { joins: true, up, down, .. }), _) => match (up, down) {
                    (true, true) => '┤',
                    (false, _) => '╮',
                    (true, false) => '╯',
                },
                (Some(_), Some(_)) => '┼',
                (Some(cell), None) => along(cell.kind),
                (None, Some(kind)) => across(kind),
                (None, None) => ' ',
            };
            [lead, mark]
        };
        let text: String = (0..cells.len()).flat_map(column).collect();
        text.trim_end().to_owned()
    }

    /// A line between a row and the next one as text.
    pub fn below_text(&self, row: usize) -> String {
        let mark = |cell: &Option<Cell>| [' ', cell.filter(|cell| cell.down).map_or(' ', |cell| along(cell.kind))];
        let text: String = self.of(row).iter().flat_map(mark).collect();
        text.trim_end().to_owned()
    }
}

fn along(kind: Kind) -> char {
    match kind {
        Kind::Base => '╎',
        Kind::Build => '┊',
    }
}

fn across(kind: Kind) -> char {
    match kind {
        Kind::Base => '╌',
        Kind::Build => '┈',
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn tie(kind: Kind, hub: usize, end: usize) -> Tie {
        Tie { kind, hub, end }
    }

    fn check(rows: usize, ties: &[Tie], expected: &Expect) {
        let rails = rails(rows, ties);
        let lines =
            (0..rows).flat_map(|row| [format!("o{}", rails.node_text(row)), format!("│{}", rails.below_text(row))]);
        expected.assert_eq(&lines.map(|line| line + "\n").collect::<String>());
    }

    #[test]
    fn rails_run_beside_the_rows_that_they_join() {
        use Kind::{Base, Build};
        check(
            2,
            &[],
            &expect![[r#"
            o
            │
            o
            │
        "#]],
        );
        check(
            4,
            &[tie(Base, 3, 1), tie(Base, 3, 0), tie(Build, 2, 0)],
            &expect![[r#"
                o┈╮╌╮
                │ ┊ ╎
                o╌┼╌┤
                │ ┊ ╎
                o┈╯ ╎
                │   ╎
                o╌╌╌╯
                │
            "#]],
        );
        check(
            4,
            &[tie(Build, 1, 0), tie(Build, 3, 2)],
            &expect![[r#"
                o┈╮
                │ ┊
                o┈╯
                │
                o┈╮
                │ ┊
                o┈╯
                │
            "#]],
        );
    }

    /// Where the rail leads that a row joins in a column.
    fn followed(rails: &Rails, row: usize, column: usize) -> BTreeSet<usize> {
        let cell = |row: usize| rails.of(row).get(column).copied().flatten();
        let mut found = BTreeSet::from([row]);
        let mut at = row;
        while cell(at).is_some_and(|cell| cell.down) {
            at += 1;
            found.extend(cell(at).filter(|cell| cell.joins).map(|_| at));
        }
        at = row;
        while cell(at).is_some_and(|cell| cell.up) {
            at -= 1;
            found.extend(cell(at).filter(|cell| cell.joins).map(|_| at));
        }
        found
    }

    proptest! {
        #[test]
        fn every_tie_is_drawn_or_told_and_no_cell_is_of_two(
            rows in 0_usize..30,
            ties in prop::collection::vec((prop::bool::ANY, 0_usize..32, 0_usize..32), 0..40),
        ) {
            let kind = |base: bool| if base { Kind::Base } else { Kind::Build };
            let ties: Vec<Tie> = ties.into_iter().map(|(base, hub, end)| tie(kind(base), hub, end)).collect();
            let rails = rails(rows, &ties);
            prop_assert!(rails.columns() <= RAILS_MAX);
            for tie in &ties {
                let columns = |row: usize| rails.of(row).iter().enumerate().filter_map(move |(column, cell)| {
                    cell.filter(|cell| cell.joins && cell.kind == tie.kind).map(|_| column)
                });
                let joined = columns(tie.hub).any(|column| followed(&rails, tie.hub, column).contains(&tie.end));
                prop_assert!(!rails.has(tie) || joined, "{tie:?} is said to be drawn");
                let may_be = tie.hub < rows && tie.end < rows && tie.hub != tie.end;
                prop_assert!(may_be || !rails.has(tie));
            }
            // What a rail joins is what its hub is tied to, and nothing else.
            for row in 0..rows {
                for (column, cell) in rails.of(row).iter().enumerate() {
                    let Some(cell) = cell else { continue };
                    let below = rails.of(row + 1).get(column).copied().flatten();
                    prop_assert_eq!(cell.down, below.is_some_and(|below| below.up), "it goes on where it says so");
                    if cell.joins {
                        let all = followed(&rails, row, column);
                        let is_hub = |hub: &usize| {
                            let others = all.iter().filter(|end| *end != hub);
                            others.clone().count() > 0 && others.clone().all(|end| ties.contains(&tie(cell.kind, *hub, *end)))
                        };
                        prop_assert!(all.iter().any(is_hub), "{all:?} of {row}");
                    }
                }
                prop_assert!(rails.node_text(row).chars().count() <= 2 * RAILS_MAX);
            }
            // With room for all, all are drawn.
            let room = ties.iter().map(|tie| (tie.kind, tie.hub)).collect::<BTreeSet<_>>().len() <= RAILS_MAX;
            let possible = |tie: &&Tie| tie.hub < rows && tie.end < rows && tie.hub != tie.end;
            prop_assert!(!room || ties.iter().filter(possible).all(|tie| rails.has(tie)));
        }
    }
}
