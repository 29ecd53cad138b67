//! No question reads more than its answer: every kind of question is asked over a small history and over one of ten
//! times its size, and the rows that it was read from stay within what the kind allows for what it shows.
//!
//! History and questions are those of `cargo bench --bench questions`. Rows are exact where time is noisy.

#[path = "../../benches/questions/kinds.rs"]
#[expect(dead_code, reason = "what only the bench needs: how long a question may take")]
mod kinds;
#[path = "../../benches/questions/mix.rs"]
#[expect(dead_code, reason = "what only the bench needs: events that flow in meanwhile")]
mod mix;
#[path = "../../benches/questions/said.rs"]
mod said;
#[path = "../../benches/questions/up.rs"]
#[expect(clippy::disallowed_methods, reason = "a process of its own is waited for")]
#[expect(dead_code, reason = "what only the bench needs: sizes on the disk, memory, folding anew")]
mod up;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kinds::{KINDS, Kind};
use mix::Mix;
use up::Up;

const SEED: u64 = 11;
const SMALL: u64 = 200;
const LARGE: u64 = 2_000;
/// Of each kind.
const QUESTIONS: u64 = 25;
const BATCH: usize = 2_000;

/// A server with the history of so many artifacts, all of which it shows.
fn filled(dir: &std::path::Path, mix: Mix) -> Up {
    let up = Up::start(&dir.join(format!("{}", mix.artifacts)), &[]);
    let lines: Vec<String> = mix.filling().collect();
    lines.chunks(BATCH).for_each(|lines| up.send(lines));
    up.wait_visible();
    up
}

/// The answer that reads most above what is allowed: (rows, rows that it shows, its question).
fn costliest(up: &Up, mix: Mix, kind: &Kind) -> (u64, u64, String) {
    let asked = (0..QUESTIONS).map(|n| {
        let path = (kind.path)(mix, n);
        let answer = up.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.bytes));
        assert!(answer.rows > 0, "{path} says nothing of what it read");
        (answer.rows, (kind.shown)(&answer.bytes) as u64, path)
    });
    asked.max_by_key(|(rows, shown, _)| rows.saturating_sub(kind.rows.each * shown)).expect("asked")
}

#[test]
fn no_question_reads_more_than_its_answer() {
    println!("seed {SEED}");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut too_much = String::new();
    for artifacts in [SMALL, LARGE] {
        let mix = Mix { seed: SEED, artifacts };
        let up = filled(dir.path(), mix);
        for kind in KINDS {
            let (rows, shown, path) = costliest(&up, mix, kind);
            let allowed = kind.rows.fixed.saturating_add(kind.rows.each * shown);
            println!(
                "{artifacts:>5} artifacts  {:<30} {rows:>7} rows, allowed {allowed:>7} for {shown:>4} shown",
                kind.name
            );
            if rows > allowed {
                writeln!(too_much, "{artifacts} artifacts, {}: {rows} rows, allowed {allowed}: {path}", kind.name)
                    .expect("text");
            }
        }
    }
    assert!(too_much.is_empty(), "questions that read more than their answer:\n{too_much}");
}

#[test]
fn the_history_is_laid_out_as_it_says() {
    let mix = Mix { seed: SEED, artifacts: 150_000 };
    let places: BTreeSet<_> =
        (0..mix.artifacts).map(|n| mix.place(n)).map(|place| (place.line, place.version)).collect();
    assert_eq!(places.len() as u64, mix.artifacts, "each artifact has a place of its own");
    let of = |line: u64| places.range((line, 0)..(line + 1, 0)).count() as u64;
    assert_eq!((of(0), of(mix.lines())), (20_000, mix.bases()));
    assert!((1..mix.lines()).all(|line| (50..=100).contains(&of(line))), "all others have about as many");
    assert!((0..30_000).all(|n| mix.place(mix.of_long_line(n)).line == 0));
    let lanes: BTreeSet<_> = (mix.bases()..mix.artifacts).map(|n| mix.lane(n)).collect();
    assert!(lanes.len() > 5_000 && lanes.len() as u64 <= mix::ENVIRONMENTS * mix.services(), "{}", lanes.len());
    let sent: Vec<String> = Mix { seed: SEED, artifacts: 300 }.filling().collect();
    assert_eq!(sent, Mix { seed: SEED, artifacts: 300 }.filling().collect::<Vec<_>>());
    let (different, repeated) = (sent.iter().collect::<BTreeSet<_>>().len(), sent.len());
    assert!((1..30).contains(&(repeated - different)), "{repeated} sent, {different} different");
}
