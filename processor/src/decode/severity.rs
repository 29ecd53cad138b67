//! How severe a vulnerability is: words, scores, and vectors of CVSS 3.0, 3.1 and 4.0 (FIRST, "Qualitative Severity
//! Rating Scale", CVSS v3.1 §5 and v4.0 §6). Vectors of CVSS 2 say nothing here: it has no such scale.

use cvss::Cvss;

/// Longest vector that is read, bytes; one of CVSS 4.0 with every metric has less.
const VECTOR_BYTES_MAX: usize = 256;

/// How severe something is; the more severe is the greater.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Severity {
    #[default]
    Unsaid,
    None,
    Negligible,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// Of a word, or of a score that is written as text; a vector is neither.
    pub(super) fn of_word(text: &str) -> Severity {
        match text.trim().to_ascii_lowercase().as_str() {
            "critical" => Severity::Critical,
            "high" | "important" => Severity::High,
            "medium" | "moderate" => Severity::Medium,
            "low" => Severity::Low,
            "negligible" => Severity::Negligible,
            "none" => Severity::None,
            number => number.parse().map_or(Severity::Unsaid, Severity::of_score),
        }
    }

    /// Of a score from 0 to 10 of CVSS 3 or 4.
    pub(super) fn of_score(score: f64) -> Severity {
        match score {
            score if !(0.0..=10.0).contains(&score) => Severity::Unsaid,
            score if score >= 9.0 => Severity::Critical,
            score if score >= 7.0 => Severity::High,
            score if score >= 4.0 => Severity::Medium,
            score if score > 0.0 => Severity::Low,
            _ => Severity::None,
        }
    }

    /// Of a vector that names its version; what is none that can be scored says nothing.
    pub(super) fn of_vector(text: &str) -> Severity {
        let text = text.trim();
        if text.len() > VECTOR_BYTES_MAX {
            return Severity::Unsaid;
        }
        let scored = text.parse::<Cvss>().map_or(Severity::Unsaid, |vector| Severity::of_score(vector.score()));
        if text.starts_with("CVSS:3.") && !has_base(text) { Severity::Unsaid } else { scored }
    }

    /// As facts have it; empty where it is not said.
    pub(super) fn word(self) -> &'static str {
        match self {
            Severity::Unsaid => "",
            Severity::None => "none",
            Severity::Negligible => "negligible",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// This, unless it is not said.
    pub(super) fn or(self, other: Severity) -> Severity {
        if self == Severity::Unsaid { other } else { self }
    }
}

/// Whether a vector of version 3 has every base metric (§6, "Vector String"): the reader scores it without as well.
fn has_base(vector: &str) -> bool {
    let has = |name: &&str| vector.split('/').any(|metric| metric.split(':').next() == Some(*name));
    ["AV", "AC", "PR", "UI", "S", "C", "I", "A"].iter().all(has)
}

/// The word of a scanner, in lower case; where it has none, or says that it does not know, what its ratings come to.
pub(super) fn said_or(word: &str, rated: impl FnOnce() -> Severity) -> String {
    let word = word.to_ascii_lowercase();
    let rated = if matches!(word.as_str(), "" | "unknown") { rated() } else { Severity::Unsaid };
    if rated == Severity::Unsaid { word } else { rated.word().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_has_the_score_that_its_examples_have() {
        // FIRST, CVSS v3.1 and v4.0 examples, and the ends of the scale.
        for (vector, severity) in [
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", Severity::Critical),
            ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", Severity::Critical),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", Severity::Medium),
            ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", Severity::Low),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", Severity::High),
            ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N", Severity::None),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", Severity::Critical),
            ("CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", Severity::High),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:H/UI:N/VC:L/VI:L/VA:N/SC:N/SI:N/SA:N", Severity::Medium),
            ("CVSS:4.0/AV:P/AC:H/AT:P/PR:H/UI:A/VC:N/VI:N/VA:N/SC:N/SI:N/SA:N", Severity::None),
            // CVSS 2 has no such scale.
            ("AV:N/AC:L/Au:N/C:P/I:P/A:P", Severity::Unsaid),
            ("CVSS:2.0/AV:N/AC:L/Au:N/C:P/I:P/A:P", Severity::Unsaid),
        ] {
            assert_eq!(Severity::of_vector(vector), severity, "{vector}");
        }
    }

    #[test]
    fn what_is_no_vector_says_nothing() {
        let whole = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N";
        let no_metric = whole.len() - "/SA:N".len();
        for text in [
            "",
            "/",
            ":",
            "CVSS:",
            "CVSS:4.0",
            "CVSS:4.0/",
            "CVSS:9.9/AV:N",
            "9.8",
            "high",
            &whole[..no_metric],
            "CVSS:3.1/AV:N",
            "CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H",
            "CVSS:3.1/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        ] {
            assert_eq!(Severity::of_vector(text), Severity::Unsaid, "{text}");
        }
        for doubled in [format!("{whole}/AV:N"), format!("{whole}/XX:N"), format!("{whole}{}", "/E:A".repeat(1 << 20))]
        {
            assert_eq!(Severity::of_vector(&doubled), Severity::Unsaid);
        }
    }

    /// Every value of every metric that 4.0 must have, each with what may be there besides drawn by turns: its tables
    /// are looked up by what comes of them.
    #[test]
    fn every_vector_of_4_0_can_be_scored() {
        let must: [(&str, &str); 11] = [
            ("AV", "NALP"),
            ("AC", "LH"),
            ("AT", "NP"),
            ("PR", "NLH"),
            ("UI", "NPA"),
            ("VC", "HLN"),
            ("VI", "HLN"),
            ("VA", "HLN"),
            ("SC", "HLN"),
            ("SI", "HLN"),
            ("SA", "HLN"),
        ];
        let may: [(&str, &str); 15] = [
            ("E", "XAPU"),
            ("CR", "XHML"),
            ("IR", "XHML"),
            ("AR", "XHML"),
            ("MAV", "XNALP"),
            ("MAC", "XLH"),
            ("MAT", "XNP"),
            ("MPR", "XNLH"),
            ("MUI", "XNPA"),
            ("MVC", "XHLN"),
            ("MVI", "XHLN"),
            ("MVA", "XHLN"),
            ("MSC", "XHLN"),
            ("MSI", "XSHLN"),
            ("MSA", "XSHLN"),
        ];
        let all: usize = must.iter().map(|(_, values)| values.len()).product();
        let mut dice = 1_u64;
        for n in 0..all {
            let mut rest = n;
            let mut vector = "CVSS:4.0".to_owned();
            for (name, values) in must {
                vector += &format!("/{name}:{}", &values[rest % values.len()..][..1]);
                rest /= values.len();
            }
            assert_ne!(Severity::of_vector(&vector), Severity::Unsaid, "{vector}");
            for (name, values) in may {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let drawn = usize::try_from(dice >> 33).expect("fits") % values.len();
                vector += &format!("/{name}:{}", &values[drawn..][..1]);
            }
            assert_ne!(Severity::of_vector(&vector), Severity::Unsaid, "{vector}");
        }
    }

    #[test]
    fn a_word_goes_before_what_ratings_come_to() {
        assert_eq!(said_or("HIGH", || Severity::Critical), "high");
        assert_eq!(said_or("UNKNOWN", || Severity::Critical), "critical");
        assert_eq!(said_or("Unknown", || Severity::Unsaid), "unknown");
        assert_eq!(said_or("", || Severity::Low), "low");
    }

    proptest::proptest! {
        #[test]
        fn no_text_ends_the_reader(text in "(CVSS:[234]\\.[01])?(/[A-Z]{1,3}:[A-Z]){0,40}|\\PC{0,300}") {
            let _severity = Severity::of_vector(&text);
        }
    }
}
