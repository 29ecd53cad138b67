//! Finds the beginnings of secrets, all in two passes of vector instructions.
//!
//! The search keeps sixteen groups apart. It looks at four bytes, and at the two halves of each alone: what has each
//! half in common with anything of a group is looked at closely. So groups are made of what looks alike in the halves
//! of its bytes; those here let through one place in fifty thousand of real documents, where groups by the alphabet let
//! through one in a hundred, which takes longer than all the rest. What is searched for is that part of a prefix which
//! fits best.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, Match, Span, packed};

use super::rules::{RULES, Rule};

/// Parts of four bytes and more, by group. A new one goes where it has most in common; the time it takes shows in
/// `cargo bench -p pedigraph-processor --bench decode`.
#[rustfmt::skip]
static GROUPS: [&[&str]; 16] = [
    &["256~", "dor_v1_", "fm1r_", "0csp-", "fo1_"],
    &["slack.com/", "dnkey-", "cbt-", "glffct-", "glagent-", "glsoat-", "glc_", "lbkFJ"],
    &["p8e-", "pul-", "pat_", "LOJARS_", "NRAK-", "pnu_", "LTAI"],
    &["ub_pat_", "sgp_", "plx-", "glrt-"],
    &["R1348941", "oas-", "k-us-", "_v1_", "ghu_"],
    &["_live_", "lasv1.", "lsa_", ":\\/\\/", "m1a_", "ppa_", "ghp_"],
    &["imt-", "hvs.", "hvb.", "lft-", "ghs_", "fm2_", "ops_eyJ", "ckr_oat_"],
    &["AIza", "pi-AgE", "pi-key-", "pat.", "0atp-", "untKey=", ".pt.", "sat."],
    &["EGIN ", "essKey=", "ET-KEY-1", "ACCA", "EZAK"],
    &["ico-", "MAK-", "dapi", "glpat-", "glptt-"],
    &["a29.", "ASIA", "API-", "%2F%2F", "%2f%2f", "o-u-", "U-AA", "c01."],
    &["\\u00", "tuOj", "tryu_", "ubygems_", ".eyJ", "_eyJ", "ABIA", "AKIA"],
    &["squ_", "sqp_", "pca_", "pss_", "CSPX-", "xkeysib-", "ABSK"],
    &["bhook.office.com/webhookb2/", "ata_base64\"", "ntn_", "dme_", "lin_api_", "npm_", "sqa_", "pi_org_"],
    &["gldt-", "1.0-", "ale_", "app-", "gho_", "ghr_"],
    &["ATBB", "sk-ant-", "s4t2", "ATATT3", "AKCp", "sk_test_", "rk_test_"],
];

/// What is shorter: alone it can be found as fast.
const SHORT: [&str; 6] = ["://", "xox", "hf_", "SG.", "A3-", "\\\\/"];

/// Name of the member of an event that is data in base64.
const DATA_BASE64: &str = "\"data_base64\"";
/// Where one of these stands, a secret may be written with escapes.
const ESCAPES: [&str; 5] = [":\\/\\/", "\\\\/", "\\u00", "%2F%2F", "%2f%2f"];

/// What was found.
#[derive(Clone, Copy)]
pub(super) enum Needle {
    /// The prefix of a rule.
    Prefix(&'static Rule),
    /// [`DATA_BASE64`].
    DataBase64,
    /// One of [`ESCAPES`].
    Escape,
}

/// A needle that has a pattern in it, and how far before the pattern it begins.
struct Holder {
    needle: Needle,
    text: &'static str,
    back: usize,
}

struct Search {
    searcher: Searcher,
    /// By the number of the pattern.
    holders: Vec<Vec<Holder>>,
}

enum Searcher {
    /// With vector instructions.
    Packed(packed::Searcher),
    /// On processors without them.
    General(AhoCorasick),
    /// Cannot be: there are patterns, and they are few.
    None,
}

static SEARCHES: LazyLock<[Search; 2]> = LazyLock::new(|| [Search::of(grouped()), Search::of(SHORT.to_vec())]);

/// In the order in which the search deals them out to its groups, one to each in turn. What a group lacks is made up for
/// by repeating its last.
fn grouped() -> Vec<&'static str> {
    let longest = GROUPS.iter().map(|group| group.len()).max().unwrap_or_default();
    let row = |n: usize| GROUPS.iter().filter_map(move |group| group.get(n).or(group.last()).copied());
    (0..longest).flat_map(row).collect()
}

impl Search {
    fn of(patterns: Vec<&'static str>) -> Search {
        let mut config = packed::Config::new();
        // It would decline so many, which is right where they are not grouped.
        let packed = config.heuristic_pattern_limits(false).builder().extend(&patterns).build().map(Searcher::Packed);
        let general = || AhoCorasick::new(&patterns).map_or(Searcher::None, Searcher::General);
        let holders = patterns.iter().map(|pattern| holders(pattern)).collect();
        Search { searcher: packed.unwrap_or_else(general), holders }
    }

    fn for_each(&self, bytes: &[u8], found: &mut impl FnMut(Needle, usize, usize)) {
        let mut from = 0;
        while let Some(hit) = self.searcher.find(bytes, from) {
            for Holder { needle, text, back } in &self.holders[hit.pattern().as_usize()] {
                let start = hit.start().checked_sub(*back).filter(|start| bytes[*start..].starts_with(text.as_bytes()));
                if let Some(start) = start {
                    found(*needle, start, start + text.len());
                }
            }
            // Not its end: the beginning of another may overlap it.
            from = hit.start() + 1;
        }
    }
}

fn holders(pattern: &str) -> Vec<Holder> {
    let needles = needles().filter_map(|(needle, text)| Some(Holder { needle, text, back: text.find(pattern)? }));
    needles.collect()
}

fn needles() -> impl Iterator<Item = (Needle, &'static str)> {
    let rules = RULES.iter().map(|rule| (Needle::Prefix(rule), rule.prefix));
    let escapes = ESCAPES.iter().map(|escape| (Needle::Escape, *escape));
    rules.chain([(Needle::DataBase64, DATA_BASE64)]).chain(escapes)
}

impl Searcher {
    fn find(&self, bytes: &[u8], from: usize) -> Option<Match> {
        match self {
            Searcher::Packed(searcher) => searcher.find_in(bytes, Span { start: from, end: bytes.len() }),
            Searcher::General(searcher) => searcher.find(Input::new(bytes).span(from..bytes.len())),
            Searcher::None => None,
        }
    }
}

/// Calls for each needle with where it begins and ends.
pub(super) fn for_needles(bytes: &[u8], mut found: impl FnMut(Needle, usize, usize)) {
    SEARCHES.iter().for_each(|search| search.for_each(bytes, &mut found));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_needle_is_found_wherever_it_stands() {
        for (_, text) in needles() {
            for before in ["", "hvs", "x.y_z-", &" ".repeat(50)] {
                let bytes = format!("{before}{text}{before}");
                let mut places = Vec::new();
                for_needles(bytes.as_bytes(), |_, start, end| places.push((start, end)));
                assert!(places.contains(&(before.len(), before.len() + text.len())), "{text} after {before:?}");
            }
        }
        assert!(grouped().iter().all(|pattern| pattern.len() >= 4 && !holders(pattern).is_empty()));
    }
}
