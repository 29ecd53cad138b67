//! The lanes beside a list of versions, drawn as SVG from the cells of [`crate::lanes`]: for each row a part of fixed
//! height with its sign and what leads to its parents, and below it a part that is as high as the row is when it is open.

use std::fmt::Write as _;

use maud::{Markup, html};
use renderdag::pipeline::types::{LinkLine, NodeLine, PadLine};

use crate::lanes::Row;
use crate::rails::{Cell, Kind, Rails};

/// Units of the part of fixed height: user units of SVG, which the stylesheet has as pixels.
const HEIGHT: usize = 34;
/// Where the sign stands, from above.
const NODE_Y: usize = 13;
/// Where lines to parents leave the sign's line, run, and end.
const LINK_TOP: usize = 19;
const LINK_MIDDLE: usize = 26;
/// Radius of the sign.
const RADIUS: usize = 5;
/// Units to the right of the lanes, into which what is no lane leads.
const STUB: usize = 12;
/// Units of a rail, and to the left of the first.
const RAIL: usize = 8;
/// Lanes up to which they stand far apart.
const FEW_LANES: usize = 6;

/// Kinds of rails, and the classes of their lines.
const RAILS: [(Kind, &str); 2] = [(Kind::Base, "base"), (Kind::Build, "build")];

/// What a row shows beside its lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Signs {
    /// It is the version that the page is about.
    pub here: bool,
    /// It has a base to which no rail leads.
    pub base: bool,
    /// It was built with others to which no rail leads.
    pub build: bool,
    /// It has parents that are not among the rows.
    pub goes_on: bool,
}

/// How wide the lanes of some rows are; all of them have the same width.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gutter {
    lanes: usize,
    step: usize,
    rails: usize,
}

impl Gutter {
    /// For rows that stand below each other.
    pub fn of(rows: &[Row<'_>], rails: &Rails) -> Gutter {
        let widest = rows.iter().map(|row| row.cells.node_line.len().max(row.cells.ancestry_line.len())).max();
        let lanes = widest.unwrap_or(0).max(1);
        Gutter { lanes, step: if lanes <= FEW_LANES { 16 } else { 9 }, rails: rails.columns() }
    }

    fn x(self, lane: usize) -> usize {
        self.step / 2 + 2 + lane * self.step
    }

    fn width(self) -> usize {
        self.lanes * self.step + self.rails * RAIL + STUB
    }

    fn x_of_rail(self, rail: usize) -> usize {
        self.lanes * self.step + RAIL / 2 + rail * RAIL
    }

    /// The lanes of one row. What they say stands in the row as text, so they are hidden from who cannot see them.
    pub fn draw(self, row: &Row<'_>, rails: &[Option<Cell>], signs: Signs) -> Markup {
        let (width, x) = (self.width(), self.x(row.cells.node_column));
        let below = self.below(row);
        let rail = |kind: Kind| self.rail(rails, kind, x);
        let rail_below = |kind: Kind| self.rail_below(rails, kind);
        let has_below = !below.is_empty() || rails.iter().flatten().any(|cell| cell.down);
        html! {
            div .gutter aria-hidden="true" {
                svg .lane width=(width) height=(HEIGHT) viewBox={ "0 0 " (width) " " (HEIGHT) } {
                    path .parent d=(self.lines(row)) {}
                    @for (kind, class) in RAILS {
                        @let line = rail(kind);
                        @if !line.is_empty() { path class=(class) d=(line) {} }
                    }
                    @if signs.base { path .base d=(self.stub(x, node_y(Kind::Base))) {} }
                    @if signs.build { path .build d=(self.stub(x, node_y(Kind::Build))) {} }
                    @if signs.goes_on { path .on d={ "M" (x) " " (NODE_Y) "V" (HEIGHT) } {} }
                    circle class=[signs.here.then_some("here")] cx=(x) cy=(NODE_Y) r=(RADIUS) {}
                }
                @if has_below {
                    svg .lane .rest width=(width) viewBox={ "0 0 " (width) " 1" } preserveAspectRatio="none" {
                        @if !below.is_empty() { path .parent d=(below) {} }
                        @for (kind, class) in RAILS {
                            @let line = rail_below(kind);
                            @if !line.is_empty() { path class=(class) d=(line) {} }
                        }
                    }
                }
            }
        }
    }

    /// The rails of a kind in the part of fixed height, and from the sign to those that the row joins.
    fn rail(self, rails: &[Option<Cell>], kind: Kind, node_x: usize) -> String {
        let mut path = String::new();
        let y = node_y(kind);
        for (column, cell) in rails.iter().enumerate() {
            let Some(cell) = cell.filter(|cell| cell.kind == kind) else { continue };
            let x = self.x_of_rail(column);
            let (from, to) = if cell.joins {
                (if cell.up { 0 } else { y }, if cell.down { HEIGHT } else { y })
            } else {
                (0, HEIGHT)
            };
            vertical(&mut path, x, from, to);
            if cell.joins {
                let _ = write!(path, "M{node_x} {y}H{x}");
            }
        }
        path
    }

    /// Those that go on below.
    fn rail_below(self, rails: &[Option<Cell>], kind: Kind) -> String {
        let mut path = String::new();
        for (column, _) in
            rails.iter().enumerate().filter(|(_, cell)| cell.is_some_and(|cell| cell.kind == kind && cell.down))
        {
            vertical(&mut path, self.x_of_rail(column), 0, 1);
        }
        path
    }

    /// From the sign to the right edge.
    fn stub(self, x: usize, y: usize) -> String {
        format!("M{x} {y}H{}", self.width())
    }

    /// The lines of the part of fixed height.
    fn lines(self, row: &Row<'_>) -> String {
        let (cells, mut path) = (&row.cells, String::new());
        let linked = cells.link_line.is_some();
        let end = if linked { LINK_TOP } else { HEIGHT };
        for (lane, cell) in cells.node_line.iter().enumerate() {
            let x = self.x(lane);
            let (from, to) = match cell {
                NodeLine::Blank => continue,
                NodeLine::Ancestor | NodeLine::Parent => (0, end),
                NodeLine::Node => (if cells.is_head { NODE_Y } else { 0 }, if cells.is_root { NODE_Y } else { end }),
            };
            vertical(&mut path, x, from, to);
        }
        for (lane, cell) in cells.link_line.iter().flatten().enumerate() {
            self.link(&mut path, self.x(lane), *cell);
        }
        path
    }

    /// One cell of the line between a version and its parents.
    fn link(self, path: &mut String, x: usize, cell: LinkLine) {
        let half = self.step.div_ceil(2);
        let (left, right) = (x.saturating_sub(half), x + half);
        if cell.intersects(LinkLine::VERTICAL) {
            vertical(path, x, LINK_TOP, HEIGHT);
        }
        if cell.intersects(LinkLine::HORIZONTAL) {
            let _ = write!(path, "M{left} {LINK_MIDDLE}H{right}");
        }
        let bends = [
            (LinkLine::LEFT_FORK, left, HEIGHT),
            (LinkLine::RIGHT_FORK, right, HEIGHT),
            (LinkLine::LEFT_MERGE, left, LINK_TOP),
            (LinkLine::RIGHT_MERGE, right, LINK_TOP),
        ];
        for (_, side, y) in bends.iter().filter(|(bend, ..)| cell.intersects(*bend)) {
            let _ = write!(path, "M{side} {LINK_MIDDLE}Q{x} {LINK_MIDDLE} {x} {y}");
        }
    }

    /// The lanes that go on below, in a part that is one unit high.
    fn below(self, row: &Row<'_>) -> String {
        let mut path = String::new();
        for (lane, _) in row.cells.ancestry_line.iter().enumerate().filter(|(_, cell)| **cell != PadLine::Blank) {
            vertical(&mut path, self.x(lane), 0, 1);
        }
        path
    }
}

/// Where lines of a kind leave the sign.
fn node_y(kind: Kind) -> usize {
    match kind {
        Kind::Base => NODE_Y - 2,
        Kind::Build => NODE_Y + 2,
    }
}

fn vertical(path: &mut String, x: usize, from: usize, to: usize) {
    if from < to {
        // Writing to a text cannot fail.
        let _ = write!(path, "M{x} {from}V{to}");
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::lanes::{Version, rows};
    use crate::rails::{Tie, rails};

    fn check(graph: &[(&'static str, &[&'static str])], expected: &Expect) {
        let versions: Vec<Version<'_>> =
            graph.iter().map(|(id, parents)| Version { id, parents: parents.to_vec() }).collect();
        let rows = rows(&versions, graph[0].0);
        let gutter = Gutter::of(&rows, &Rails::default());
        let drawn = rows
            .iter()
            .map(|row| format!("{} {} | {}\n", versions[row.version].id, gutter.lines(row), gutter.below(row)));
        expected.assert_eq(&drawn.collect::<String>());
    }

    #[test]
    fn lanes_are_lines_that_meet_at_the_edges_of_rows() {
        check(
            &[("c", &["b"]), ("b", &["a"]), ("a", &[])],
            &expect![[r#"
                c M10 13V34 | M10 0V1
                b M10 0V34 | M10 0V1
                a M10 0V13 | 
            "#]],
        );
        check(
            &[("m", &["a", "b"]), ("b", &["r"]), ("a", &["r"]), ("r", &[])],
            &expect![[r#"
                m M10 13V19M10 19V34M18 26Q10 26 10 19M18 26Q26 26 26 34 | M10 0V1M26 0V1
                b M10 0V34M26 0V34 | M10 0V1M26 0V1
                a M10 0V19M26 0V19M10 19V34M18 26Q10 26 10 34M18 26Q26 26 26 19 | M10 0V1
                r M10 0V13 | 
            "#]],
        );
    }

    #[test]
    fn rails_run_from_sign_to_sign_and_through_the_rows_between() {
        let versions: Vec<Version<'_>> = ["a", "b", "c"].map(|id| Version { id, parents: vec![] }).into();
        let rows = rows(&versions, "a");
        let rails = rails(3, &[Tie { kind: Kind::Base, hub: 2, end: 0 }]);
        let gutter = Gutter::of(&rows, &rails);
        let draw = |row: usize| gutter.draw(&rows[row], rails.of(row), Signs::default()).into_string();
        assert!(draw(0).contains("<path class=\"base\" d=\"M20 11V34M10 11H20\"></path>"), "{}", draw(0));
        assert!(draw(1).contains("d=\"M20 0V34\"") && draw(1).contains("d=\"M20 0V1\""), "{}", draw(1));
        assert!(draw(2).contains("d=\"M20 0V11M10 11H20\"") && !draw(2).contains("rest"), "{}", draw(2));
    }

    #[test]
    fn what_is_no_lane_is_a_stub() {
        let versions = [Version { id: "a", parents: vec![] }];
        let rows = rows(&versions, "a");
        let drawn = Gutter::of(&rows, &Rails::default())
            .draw(&rows[0], &[], Signs { here: true, base: true, ..Signs::default() })
            .into_string();
        assert!(drawn.contains("class=\"base\"") && !drawn.contains("class=\"build\""), "{drawn}");
        assert!(drawn.contains("aria-hidden") && !drawn.contains("style="), "{drawn}");
    }
}
