//! Versions as lanes: which column each one stands in, and how the lines to its parents run (SPEC §8).
//!
//! A pure function from versions to rows of cells, and one from rows to text. The command line draws by both; whoever
//! draws otherwise takes the cells. Columns are those of `sapling-renderdag`, which draws any graph whose children stand
//! above their parents. What is not so, or would make the picture too wide, is kept from it here and told by its row.

use std::collections::BTreeMap;

use renderdag::pipeline::types::{Ancestor, GraphRowShape, PrefixLine, PrefixLineKind, PrefixLinePart};
use renderdag::pipeline::{BoxDrawing, GraphRowShaper, PrefixLineRenderer};

use crate::rails::Rails;

/// Lanes that stand beside each other; a version that nothing leads to has one more for its row.
pub const LANES_MAX: usize = 16;

/// A version, and what it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version<'a> {
    /// Its name, such as a digest. Of versions with one name, lines lead to the first.
    pub id: &'a str,
    /// The names of its parents, in any order.
    pub parents: Vec<&'a str>,
}

/// A version in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row<'a> {
    /// Which of the versions it is, from 0.
    pub version: usize,
    /// Its cells, and those of the lines below it.
    pub cells: GraphRowShape<usize>,
    /// Parents without a line, by name: they are not among the versions or stand above, or all lanes are taken.
    pub undrawn: Vec<&'a str>,
}

/// A row for each version. Those that parents join stand together, in the order given: first those with `first`, then
/// the others by their first one. Each parent is drawn or undrawn once, whatever the graph: names may be missing or
/// double, parents in circles.
pub fn rows<'a>(versions: &[Version<'a>], first: &str) -> Vec<Row<'a>> {
    let mut positions = BTreeMap::new();
    for (position, version) in versions.iter().enumerate() {
        positions.entry(version.id).or_insert(position);
    }
    let order = order(versions, &positions, first);
    let mut places = vec![0; versions.len()];
    for (place, position) in order.iter().enumerate() {
        places[*position] = place;
    }
    let mut shaper = GraphRowShaper::new();
    // One line of text a version, and as many as the lines to its parents need.
    shaper.options_mut().min_row_height = 1;
    let row = |position: usize| {
        let mut parents = versions[position].parents.clone();
        parents.sort_unstable();
        parents.dedup();
        let (mut drawn, mut undrawn) = (Vec::new(), Vec::new());
        for parent in parents {
            let below = positions.get(parent).filter(|of_parent| places[**of_parent] > places[position]);
            drawn.extend(below.map(|of_parent| Ancestor::Parent(*of_parent)));
            if below.is_some() && shaper.width(Some(&position), Some(&drawn)) <= LANES_MAX as u64 {
                continue;
            }
            if below.is_some() {
                drawn.pop();
            }
            undrawn.push(parent);
        }
        Row { version: position, cells: shaper.next_row_shape(position, drawn), undrawn }
    };
    order.into_iter().map(row).collect()
}

/// Positions in the order of their rows.
fn order(versions: &[Version<'_>], positions: &BTreeMap<&str, usize>, first: &str) -> Vec<usize> {
    let mut joined: Vec<usize> = (0..versions.len()).collect();
    for (position, version) in versions.iter().enumerate() {
        for parent in version.parents.iter().filter_map(|parent| positions.get(parent)) {
            let (a, b) = (root(&mut joined, position), root(&mut joined, *parent));
            joined[a.max(b)] = a.min(b);
        }
    }
    let group_of_first = positions.get(first).map(|position| root(&mut joined, *position));
    let mut order: Vec<usize> = (0..versions.len()).collect();
    order.sort_by_key(|position| {
        let group = root(&mut joined, *position);
        (Some(group) != group_of_first, group, *position)
    });
    order
}

/// The least position of those that are joined with one; the ways there get shorter.
fn root(joined: &mut [usize], mut position: usize) -> usize {
    while joined[position] != position {
        joined[position] = joined[joined[position]];
        position = joined[position];
    }
    position
}

/// Rows as text, line by line, without an end of line after the last; `rails` stand to the right of the lanes. `label` is
/// given a row and the columns that are taken to the left of what it says, and gives the sign of the version, one column
/// wide, and one line of text.
pub fn text(
    rows: &[Row<'_>],
    rails: &Rails,
    mut label: impl FnMut(&Row<'_>, usize) -> (&'static str, String),
) -> String {
    let mut lanes: BoxDrawing = BoxDrawing::new();
    let mut lines: Vec<String> = Vec::new();
    let mut lines_of_last = 0;
    // Two columns a cell; with rails all lanes are as wide as the widest, so that these stand below each other.
    let widest = rows.iter().map(|row| 2 * row.cells.node_line.len().max(row.cells.ancestry_line.len())).max();
    let width = widest.filter(|_| rails.columns() > 0).unwrap_or(0);
    let beside = 2 * rails.columns();
    for (place, row) in rows.iter().enumerate() {
        // And a space.
        let (sign, said) = label(row, (2 * row.cells.node_line.len()).max(width) + beside + 1);
        let mut node = lines.len();
        for line in lanes.next_prefix_lines(&row.cells) {
            let shown = match line.kind {
                // Right below a version that nothing comes from, another would look like its parent.
                PrefixLineKind::PreNode => row.cells.separator_line && lines_of_last == 1,
                PrefixLineKind::Node | PrefixLineKind::Link | PrefixLineKind::Term | PrefixLineKind::Ancestry => true,
                PrefixLineKind::Separator | PrefixLineKind::PostNode | PrefixLineKind::PostAncestry => false,
            };
            if shown {
                node += usize::from(line.kind == PrefixLineKind::PreNode);
                let (rails, said) = match line.kind {
                    PrefixLineKind::Node => (rails.node_text(place), said.as_str()),
                    // It stands above its row.
                    PrefixLineKind::PreNode => {
                        (place.checked_sub(1).map(|above| rails.below_text(above)).unwrap_or_default(), "")
                    }
                    PrefixLineKind::Separator
                    | PrefixLineKind::PostNode
                    | PrefixLineKind::Link
                    | PrefixLineKind::Term
                    | PrefixLineKind::Ancestry
                    | PrefixLineKind::PostAncestry => (rails.below_text(place), ""),
                };
                let lanes = prefix(&line, sign);
                lines.push(format!("{lanes:width$}{rails:beside$} {said}").trim_end().to_owned());
            }
        }
        lines_of_last = lines.len() - node;
    }
    lines.join("\n")
}

fn prefix(line: &PrefixLine, sign: &str) -> String {
    let part = |part: &PrefixLinePart| match part {
        PrefixLinePart::Text(text) => text.clone(),
        PrefixLinePart::NodeGlyph => sign.to_owned(),
    };
    line.parts.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;
    use crate::rails::{Kind, Tie, rails};

    fn versions<'a>(graph: &'a str) -> Vec<Version<'a>> {
        let version = |line: &'a str| {
            let mut names = line.split_whitespace();
            Some(Version { id: names.next()?, parents: names.collect() })
        };
        graph.lines().filter_map(version).collect()
    }

    /// Each line of the graph is a version and its parents.
    fn check(graph: &str, first: &str, expected: &Expect) {
        let versions = versions(graph);
        let label = |row: &Row<'_>, _| {
            let id = versions[row.version].id;
            let undrawn = row.undrawn.iter().map(|parent| format!(" ({parent})")).collect::<String>();
            (if id == first { "@" } else { "o" }, format!("{id}{undrawn}"))
        };
        expected.assert_eq(&text(&rows(&versions, first), &Rails::default(), label));
    }

    #[test]
    fn lines_run_down_to_parents() {
        check("", "", &expect![[""]]);
        check(
            "c b\nb a\na",
            "b",
            &expect![[r#"
            o  c
            @  b
            o  a"#]],
        );
        check(
            "e d\nd b\nc b\nb a\na",
            "e",
            &expect![[r#"
            @  e
            o  d
            │ o  c
            ├─╯
            o  b
            o  a"#]],
        );
        check(
            "m a b c\nc r\nb r\na r\nr",
            "m",
            &expect![[r#"
            @      m
            ├─┬─╮
            │ │ o  c
            │ o │  b
            │ ├─╯
            o │  a
            ├─╯
            o  r"#]],
        );
        check(
            "f d e\ne a\nd b\nc b\nb a\na",
            "a",
            &expect![[r#"
            o    f
            ├─╮
            │ o  e
            o │  d
            │ │ o  c
            ├───╯
            o │  b
            ├─╯
            @  a"#]],
        );
    }

    #[test]
    fn what_is_not_joined_stands_apart_and_the_one_asked_for_first() {
        check(
            "x3 x2\ny9 y8\nx2\nz\ny8",
            "y8",
            &expect![[r#"
            o  y9
            @  y8

            o  x3
            o  x2

            o  z"#]],
        );
    }

    #[test]
    fn a_lane_goes_on_beside_what_stands_apart() {
        check(
            "t r\nx t\ny t\nr",
            "t",
            &expect![[r#"
            @  t
            │ o  x (t)
            │
            │ o  y (t)
            o  r"#]],
        );
    }

    #[test]
    fn what_cannot_be_a_line_is_told() {
        check("a a", "a", &expect!["@  a (a)"]);
        check(
            "c a b b\nb gone\na c",
            "a",
            &expect![[r#"
            o    c
            ├─╮
            │ o  b (gone)
            @  a (c)"#]],
        );
        check(
            "a b\na c\nb\nc",
            "a",
            &expect![[r#"
            @  a
            o  b

            @  a
            o  c"#]],
        );
        let many: Vec<String> = (0..LANES_MAX + 3).map(|n| format!("p{n:02}")).collect();
        check(
            &format!("m {}\n{}", many.join(" "), many.join("\n")),
            "m",
            &expect![[r#"
            @                                m (p16) (p17) (p18)
            ├─┬─┬─┬─┬─┬─┬─┬─┬─┬─┬─┬─┬─┬─┬─╮
            o │ │ │ │ │ │ │ │ │ │ │ │ │ │ │  p00
              o │ │ │ │ │ │ │ │ │ │ │ │ │ │  p01
                o │ │ │ │ │ │ │ │ │ │ │ │ │  p02
                  o │ │ │ │ │ │ │ │ │ │ │ │  p03
                    o │ │ │ │ │ │ │ │ │ │ │  p04
                      o │ │ │ │ │ │ │ │ │ │  p05
                        o │ │ │ │ │ │ │ │ │  p06
                          o │ │ │ │ │ │ │ │  p07
                            o │ │ │ │ │ │ │  p08
                              o │ │ │ │ │ │  p09
                                o │ │ │ │ │  p10
                                  o │ │ │ │  p11
                                    o │ │ │  p12
                                      o │ │  p13
                                        o │  p14
                                          o  p15
            o  p16

            o  p17

            o  p18"#]],
        );
    }

    #[test]
    fn rails_stand_below_each_other_whatever_the_lanes() {
        let versions = versions("m a b c\nc r\nb r\na r\nr");
        let of = |kind, hub, end| Tie { kind, hub, end };
        let rails = rails(5, &[of(Kind::Base, 4, 0), of(Kind::Build, 2, 1)]);
        let drawn = text(&rows(&versions, "m"), &rails, |row, _| ("o", versions[row.version].id.to_owned()));
        expect![[r#"
            o     ╌╮   m
            ├─┬─╮  ╎
            │ │ o ┈┼┈╮ c
            │ o │ ┈┼┈╯ b
            │ ├─╯  ╎
            o │    ╎   a
            ├─╯    ╎
            o     ╌╯   r"#]]
        .assert_eq(&drawn);
    }

    /// What the lines lead to from the version in a row: down, to the sides, never up.
    fn reached(rows: &[Row<'_>]) -> Vec<BTreeSet<usize>> {
        let drawn = text(rows, &Rails::default(), |row, _| ("o", format!("={}", row.version)));
        let grid: Vec<Vec<char>> =
            drawn.lines().map(|line| line.split('=').next().unwrap().chars().collect()).collect();
        let of_line = |line: &str| line.split_once('=').map(|(_, version)| version.parse::<usize>().unwrap());
        let of_line: Vec<Option<usize>> = drawn.lines().map(of_line).collect();
        let at = |line: usize, column: usize| grid.get(line).and_then(|row| row.get(column)).copied().unwrap_or(' ');
        let mut found = vec![BTreeSet::new(); rows.len()];
        for (line, version) in of_line.iter().enumerate().filter_map(|(line, version)| Some((line, (*version)?))) {
            let start = grid[line].iter().position(|cell| *cell == 'o').unwrap();
            let (mut seen, mut todo) = (BTreeSet::new(), vec![(line + 1, start)]);
            while let Some((y, x)) = todo.pop() {
                let cell = at(y, x);
                if cell == ' ' || !seen.insert((y, x)) {
                    continue;
                }
                if cell == 'o' {
                    found[version].extend(of_line[y]);
                    continue;
                }
                // A lane that is crossed goes on below.
                if "│├┤┬┼╮╭─".contains(cell) {
                    todo.push((y + 1, x));
                }
                if "─├╭╰┬┴┼".contains(cell) {
                    todo.push((y, x + 1));
                }
                if x > 0 && "─┤╮╯┬┴┼".contains(cell) {
                    todo.push((y, x - 1));
                }
            }
        }
        found
    }

    /// Any graph: circles, loops, double and absent names.
    fn graphs() -> impl Strategy<Value = Vec<(usize, Vec<usize>)>> {
        (1_usize..40).prop_flat_map(|count| {
            prop::collection::vec((0..count, prop::collection::vec(0..count + 2, 0..4)), 0..count)
        })
    }

    proptest! {
        #[test]
        fn every_parent_is_drawn_or_told_and_no_cell_is_of_two(graph in graphs()) {
            let names: Vec<String> = (0..50).map(|n| n.to_string()).collect();
            let version = |(id, parents): &(usize, Vec<usize>)| Version {
                id: &names[*id],
                parents: parents.iter().map(|parent| names[*parent].as_str()).collect(),
            };
            let versions: Vec<Version<'_>> = graph.iter().map(version).collect();
            let rows = rows(&versions, "0");
            let positions: BTreeSet<usize> = rows.iter().map(|row| row.version).collect();
            prop_assert_eq!((rows.len(), positions.len()), (versions.len(), versions.len()));
            let reached = reached(&rows);
            for row in &rows {
                let undrawn: BTreeSet<&str> = row.undrawn.iter().copied().collect();
                prop_assert_eq!(undrawn.len(), row.undrawn.len());
                let parents: BTreeSet<&str> = versions[row.version].parents.iter().copied().collect();
                let drawn: BTreeSet<&str> = parents.difference(&undrawn).copied().collect();
                prop_assert!(undrawn.is_subset(&parents));
                prop_assert_eq!(drawn.len(), row.cells.parent_columns.len(), "a column for each");
                for parent in drawn {
                    let first = versions.iter().position(|version| version.id == parent).unwrap();
                    prop_assert!(reached[row.version].contains(&first), "{} to {parent}", row.version);
                }
                prop_assert!(row.cells.node_line.len() <= LANES_MAX + 1);
            }
        }
    }

    #[test]
    fn ten_thousand_versions_are_drawn_in_any_shape() {
        const COUNT: usize = 10_000;
        let names: Vec<String> = (0..COUNT).map(|n| n.to_string()).collect();
        let shapes: [&dyn Fn(usize) -> Vec<usize>; 5] = [
            &|n| vec![n + 1],
            &|_| vec![COUNT - 1],
            &|n| if n == 0 { (0..COUNT).collect() } else { vec![] },
            &|n| vec![(n * 7 + 1) % COUNT, (n * 31 + 5) % COUNT],
            &|n| vec![COUNT - 1 - n],
        ];
        for shape in shapes {
            let parents =
                |n: usize| shape(n).iter().filter_map(|parent| names.get(*parent)).map(String::as_str).collect();
            let versions: Vec<_> = (0..COUNT).map(|n| Version { id: &names[n], parents: parents(n) }).collect();
            let drawn =
                text(&rows(&versions, "77"), &Rails::default(), |row, _| ("o", versions[row.version].id.to_owned()));
            assert!(drawn.lines().count() >= COUNT);
            assert!(drawn.lines().all(|line| line.chars().count() <= 2 * (LANES_MAX + 1) + 6));
        }
    }
}
