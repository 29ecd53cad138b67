//! Finds the beginnings of secrets, all in two passes of vector instructions.
//!
//! Each pass keeps eight groups apart. It looks at three or four bytes, and at the two halves of each alone: what has
//! each half in common with anything of a group is looked at closely. So groups are made of what looks alike in the
//! halves of its bytes; those here let through one place in three hundred of real documents, nearly all of which hold a
//! pattern indeed, where groups by the alphabet let through one in forty, which takes longer than all the rest. What is
//! searched for is that part of a prefix which fits best. Groups were found by trying changes, at random, on real
//! documents.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, Match, Span, packed};

use super::rules::{RULES, Rule};

/// Groups of one pass.
type Groups = [&'static [&'static str]; 8];

/// Parts of which three bytes are looked at. A new one goes where it has most in common; the time it takes shows in
/// `cargo bench -p pedigraph-processor --bench decode`.
#[rustfmt::skip]
static BY_THREE: Groups = [
    &["pat.", "pat_", "ygems_"],
    &["ATT3", "qa_", "s4t2", "sa_", "sat.", "sk_live_", "sk_test_", "sntryu_"],
    &[".eyJ", "/\\/", "8e-", "SG.", "\\\\/", "_eyJ"],
    &["://"],
    &["shpca_", "shpss_", "sq0atp-", "sq0csp-", "sqp_", "xapp-", "xox"],
    &["A3-", "ACCA", "AIza", "AK-", "AKCp", "AKIA", "ASIA", "BIA", "BSK"],
    &["-AgE", "-BEGIN ", "-KEY-1", "TAI", "TBB", "uOj"],
    &["gp_", "hf_", "ho_", "hp_", "hr_", "kr_oat_", "pa_", "po_live_", "rg_", "rk_live_", "rk_test_"],
];

/// Parts of which four are.
#[rustfmt::skip]
static BY_FOUR: Groups = [
    &["ale_", "api_", "dapi", "dme_", "m1a_"],
    &["256~", "OJARS_", "_v1_", "dp.pt.", "fm1r_", "fo1_"],
    &["ghs_", "glagent-", "glc_", "glffct-", "glft-", "gloas-", "glpat-", "glptt-", "glrt-", "glsoat-", "hvb.", "hvs."],
    &["%2F%2F", "%2f%2f", "API-", "EZAK", "a29.", "c01.", "fio-u-", "ico-"],
    &["GR1348941", "\\u00", "key-", "lbkFJ", "pul-", "se64\""],
    &[".slack.com/", "1.0-", "atlasv1.", "l_live_"],
    &["ghu_", "npm_", "ntn_", "sKey=", "squ_", "tKey=", "tk-us-", "xkeysib-"],
    &["RKU-AA", "SPX-", "ant-", "cbt-", "fm2_", "imt-", "kb2/", "ldt-", "plx-", "pnu_"],
];

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

static SEARCHES: LazyLock<[Search; 2]> =
    LazyLock::new(|| [&BY_THREE, &BY_FOUR].map(|groups| Search::of(dealt_out(groups))));

/// In the order in which the search deals them out to its groups, one to each in turn. What a group lacks is made up for
/// by repeating its last.
fn dealt_out(groups: &Groups) -> Vec<&'static str> {
    let longest = groups.iter().map(|group| group.len()).max().unwrap_or_default();
    let row = |n: usize| groups.iter().filter_map(move |group| group.get(n).or(group.last()).copied());
    (0..longest).flat_map(row).collect()
}

impl Search {
    fn of(patterns: Vec<&'static str>) -> Search {
        let mut config = packed::Config::new();
        // It would decline so many, or take sixteen groups at half the speed, which is right where they are not
        // grouped.
        config.heuristic_pattern_limits(false).only_teddy_fat(Some(false));
        let packed = config.builder().extend(&patterns).build().map(Searcher::Packed);
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

/// Whether a text is like a UUID or a digest: no needle is made of such characters alone.
pub(crate) fn is_hex_and_dashes(text: &str) -> bool {
    // To the end in any case, which the compiler does for many bytes at once.
    text.bytes().fold(true, |all, byte| all & matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
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
    }

    #[test]
    fn what_is_hex_and_dashes_is_no_needle() {
        assert!(needles().all(|(_, text)| !is_hex_and_dashes(text)));
        assert!(is_hex_and_dashes("271069a8-fc18-44f1-b38f-9d70a1695819") && !is_hex_and_dashes("ACCA"));
    }

    #[test]
    fn each_pattern_belongs_to_a_needle_and_hides_no_other() {
        for (groups, bytes) in [(&BY_THREE, 3), (&BY_FOUR, 4)] {
            let patterns = groups.concat();
            assert!(patterns.iter().all(|pattern| pattern.len() >= bytes && !holders(pattern).is_empty()));
            assert_eq!(patterns.iter().map(|pattern| pattern.len()).min(), Some(bytes), "so many are looked at");
            let begins = |one: &&str| patterns.iter().filter(|other| other.starts_with(*one)).count();
            assert!(patterns.iter().all(|one| begins(one) == 1), "of those that begin at one place one is told");
        }
    }
}
