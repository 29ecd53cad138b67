//! What a secret looks like: the fixed beginning that one kind of token has, and the strict shape of what follows.
//!
//! The kinds and their lengths are taken, as facts, from the rules that gitleaks keeps: those which tell a token by a
//! beginning of its own. Rules that need a word such as `password` in front are left out, since they would change what
//! somebody signed on suspicion; so are those of one or two fixed characters, and public keys.

use std::ops::{Range, RangeInclusive};

/// Version of these rules, in the leaf of each entry that they changed. They follow gitleaks v8.30.0 and what came
/// after it until commit b58d3f10 of 22 July 2026 (`config/gitleaks.toml`). 1: sixteen prefixes, of received bytes only.
pub(crate) const VERSION: u32 = 2;

/// Longest secret, bytes: a private key with its lines.
pub(super) const SECRET_BYTES_MAX: usize = 16 << 10;
/// How far after an AWS key id its secret may stand, bytes.
const AWS_PAIR_BYTES_MAX: usize = 300;
/// Longest part of a JSON web token, bytes.
const JWT_PART_BYTES_MAX: usize = 8_192;
/// Longest user and password of a URL, bytes.
const USERINFO_BYTES_MAX: usize = 512;

/// One kind of secret.
pub(super) struct Rule {
    /// What is searched for.
    pub(super) prefix: &'static str,
    /// What may stand before it.
    pub(super) before: Before,
    /// What must follow it.
    pub(super) shape: Shape,
}

/// What may stand before a prefix.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing that could belong to a longer token in base64, or to a word.
    NoToken,
    /// Nothing that could belong to base64url, or to a word: the prefix itself cannot stand in plain base64.
    NoWord,
    /// Anything: the shape looks at it itself.
    Anything,
}

/// What follows a prefix.
pub(super) enum Shape {
    /// Runs of characters, each with the text that must follow it. All of it is secret.
    Parts(&'static [Part]),
    /// Whatever this finds: `(bytes, end of the prefix)` to the range to overwrite.
    Found(fn(&[u8], usize) -> Option<Range<usize>>),
}

/// Characters, how many, and what follows.
type Part = (Alphabet, RangeInclusive<usize>, &'static str);
type Alphabet = fn(u8) -> bool;

const HEX: Alphabet = |byte| byte.is_ascii_hexdigit();
const ALNUM: Alphabet = |byte| byte.is_ascii_alphanumeric();
const UPPER: Alphabet = |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit();
const UPPER_DASH: Alphabet = |byte| UPPER(byte) || byte == b'-';
const LOWER: Alphabet = |byte| byte.is_ascii_lowercase();
const WORD: Alphabet = |byte| ALNUM(byte) || byte == b'_';
const ALNUM_DASH: Alphabet = |byte| ALNUM(byte) || byte == b'-';
const URL64: Alphabet = |byte| WORD(byte) || byte == b'-';
const URL64_PAD: Alphabet = |byte| URL64(byte) || byte == b'=';
const URL64_DOT: Alphabet = |byte| URL64_PAD(byte) || byte == b'.';
const BASE64: Alphabet = |byte| ALNUM(byte) || byte == b'+' || byte == b'/';
const BASE64_PAD: Alphabet = |byte| BASE64(byte) || byte == b'=';
const BASE64_WORD: Alphabet = |byte| BASE64_PAD(byte) || byte == b'_';

const fn parts(prefix: &'static str, before: Before, parts: &'static [Part]) -> Rule {
    Rule { prefix, before, shape: Shape::Parts(parts) }
}

const fn found(prefix: &'static str, before: Before, find: fn(&[u8], usize) -> Option<Range<usize>>) -> Rule {
    Rule { prefix, before, shape: Shape::Found(find) }
}

/// Every rule; no prefix begins like another.
#[rustfmt::skip]
pub(super) static RULES: &[Rule] = {
    use Before::{Anything, NoToken, NoWord};
    &[
        // Found by more than a run of characters.
        found("://", Anything, url_password),
        found("-----BEGIN ", NoWord, private_key),
        found(".eyJ", Anything, json_web_token),
        found("T3BlbkFJ", Anything, openai_key),
        found("xox", NoToken, slack_token),
        found("hooks.slack.com/", NoToken, slack_webhook),
        found("sgp_", NoWord, sourcegraph_token),
        found("AKIA", NoToken, aws_key_id),
        found("ASIA", NoToken, aws_key_id),
        found("ABIA", NoToken, aws_key_id),
        found("ACCA", NoToken, aws_key_id),
        // Clouds.
        parts("ABSK", NoToken, &[(BASE64_PAD, 109..=271, "")]),
        parts("bedrock-api-key-", NoWord, &[(BASE64_PAD, 28..=8_192, "")]),
        parts("AIza", NoToken, &[(URL64, 35..=35, "")]),
        parts("ya29.", NoWord, &[(URL64, 30..=2_048, "")]),
        parts("GOCSPX-", NoWord, &[(URL64, 28..=28, "")]),
        parts("AccountKey=", NoToken, &[(BASE64_PAD, 88..=88, "")]),
        parts("SharedAccessKey=", NoToken, &[(BASE64_PAD, 44..=44, "")]),
        parts("LTAI", NoToken, &[(ALNUM, 20..=20, "")]),
        parts("dop_v1_", NoWord, &[(HEX, 64..=64, "")]),
        parts("doo_v1_", NoWord, &[(HEX, 64..=64, "")]),
        parts("dor_v1_", NoWord, &[(HEX, 64..=64, "")]),
        parts("HRKU-AA", NoWord, &[(URL64, 58..=58, "")]),
        parts("fo1_", NoWord, &[(URL64, 43..=43, "")]),
        parts("fm1a_", NoWord, &[(BASE64_PAD, 100..=8_192, "")]),
        parts("fm1r_", NoWord, &[(BASE64_PAD, 100..=8_192, "")]),
        parts("fm2_", NoWord, &[(BASE64_PAD, 100..=8_192, "")]),
        parts("v1.0-", NoWord, &[(HEX, 24..=24, "-"), (HEX, 146..=146, "")]),
        parts("tk-us-", NoWord, &[(URL64, 48..=48, "")]),
        parts("sha256~", NoWord, &[(URL64, 43..=43, "")]),
        // Source code, builds and packages.
        parts("ghp_", NoWord, &[(ALNUM, 36..=255, "")]),
        parts("gho_", NoWord, &[(ALNUM, 36..=255, "")]),
        parts("ghu_", NoWord, &[(ALNUM, 36..=255, "")]),
        parts("ghs_", NoWord, &[(ALNUM, 36..=255, "")]),
        parts("ghr_", NoWord, &[(ALNUM, 36..=255, "")]),
        parts("github_pat_", NoWord, &[(WORD, 60..=255, "")]),
        parts("glpat-", NoWord, &[(URL64, 20..=300, "")]),
        parts("gldt-", NoWord, &[(URL64, 20..=300, "")]),
        parts("glrt-", NoWord, &[(URL64, 20..=300, "")]),
        parts("glft-", NoWord, &[(URL64, 20..=300, "")]),
        parts("glffct-", NoWord, &[(URL64, 20..=300, "")]),
        parts("glsoat-", NoWord, &[(URL64, 20..=300, "")]),
        parts("glcbt-", NoWord, &[(URL64, 22..=300, "")]),
        parts("glptt-", NoWord, &[(HEX, 40..=40, "")]),
        parts("glimt-", NoWord, &[(URL64, 25..=300, "")]),
        parts("glagent-", NoWord, &[(URL64, 50..=300, "")]),
        parts("gloas-", NoWord, &[(URL64, 64..=300, "")]),
        parts("GR1348941", NoToken, &[(URL64, 20..=20, "")]),
        parts("ATATT3", NoToken, &[(URL64_PAD, 186..=186, "")]),
        parts("ATBB", NoToken, &[(ALNUM, 32..=32, "")]),
        parts("npm_", NoWord, &[(ALNUM, 36..=36, "")]),
        parts("pypi-AgE", NoWord, &[(URL64, 50..=1_000, "")]),
        parts("rubygems_", NoWord, &[(HEX, 48..=48, "")]),
        parts("CLOJARS_", NoWord, &[(ALNUM, 60..=60, "")]),
        parts("dckr_pat_", NoWord, &[(URL64, 26..=64, "")]),
        parts("dckr_oat_", NoWord, &[(URL64, 26..=64, "")]),
        parts("AKCp", NoToken, &[(ALNUM, 69..=69, "")]),
        parts("cmVmdGtuOj", NoToken, &[(ALNUM, 54..=54, "")]),
        parts("pul-", NoWord, &[(HEX, 40..=40, "")]),
        parts(".atlasv1.", Anything, &[(URL64_PAD, 60..=70, "")]),
        parts("hvs.", NoWord, &[(URL64, 90..=300, "")]),
        parts("hvb.", NoWord, &[(URL64, 138..=300, "")]),
        parts("dp.pt.", NoWord, &[(ALNUM, 43..=43, "")]),
        parts("pat.", NoWord, &[(URL64, 22..=22, "."), (ALNUM, 24..=24, "."), (ALNUM, 20..=20, "")]),
        parts("sat.", NoWord, &[(URL64, 22..=22, "."), (ALNUM, 24..=24, "."), (ALNUM, 20..=20, "")]),
        parts("API-", NoWord, &[(UPPER, 26..=26, "")]),
        parts("pnu_", NoWord, &[(ALNUM, 36..=36, "")]),
        parts("ico-", NoWord, &[(ALNUM, 32..=32, "")]),
        parts("squ_", NoWord, &[(HEX, 40..=40, "")]),
        parts("sqp_", NoWord, &[(HEX, 40..=40, "")]),
        parts("sqa_", NoWord, &[(HEX, 40..=40, "")]),
        parts("AGE-SECRET-KEY-1", NoWord, &[(UPPER, 58..=58, "")]),
        parts("ops_eyJ", NoWord, &[(BASE64_PAD, 250..=8_192, "")]),
        parts("A3-", NoWord, &[(UPPER_DASH, 30..=37, "")]),
        // Services.
        parts("xapp-", NoWord, &[(ALNUM_DASH, 40..=255, "")]),
        parts("webhook.office.com/webhookb2/", NoToken, &[(|byte| ALNUM_DASH(byte) || byte == b'@', 73..=73, "/"),
            (ALNUM, 15..=15, "/"), (ALNUM, 32..=32, "/"), (ALNUM_DASH, 36..=36, "")]),
        parts("sk-ant-", NoWord, &[(URL64, 90..=128, "")]),
        parts("pplx-", NoWord, &[(ALNUM, 48..=48, "")]),
        parts("hf_", NoWord, &[(ALNUM, 34..=34, "")]),
        parts("api_org_", NoWord, &[(ALNUM, 34..=34, "")]),
        parts("sk_live_", NoWord, &[(ALNUM, 24..=247, "")]),
        parts("rk_live_", NoWord, &[(ALNUM, 24..=247, "")]),
        parts("sk_test_", NoWord, &[(ALNUM, 24..=247, "")]),
        parts("rk_test_", NoWord, &[(ALNUM, 24..=247, "")]),
        parts("sq0atp-", NoWord, &[(URL64, 22..=60, "")]),
        parts("sq0csp-", NoWord, &[(URL64, 43..=60, "")]),
        parts("shpat_", NoWord, &[(HEX, 32..=32, "")]),
        parts("shpca_", NoWord, &[(HEX, 32..=32, "")]),
        parts("shppa_", NoWord, &[(HEX, 32..=32, "")]),
        parts("shpss_", NoWord, &[(HEX, 32..=32, "")]),
        parts("SG.", NoWord, &[(URL64, 22..=22, "."), (URL64, 43..=43, "")]),
        parts("xkeysib-", NoWord, &[(HEX, 64..=64, "-"), (ALNUM, 16..=16, "")]),
        parts("glsa_", NoWord, &[(ALNUM, 32..=32, "_"), (HEX, 8..=8, "")]),
        parts("glc_", NoWord, &[(BASE64_PAD, 32..=400, "")]),
        parts("dapi", NoToken, &[(HEX, 32..=32, "")]),
        parts("dt0c01.", NoWord, &[(ALNUM, 24..=24, "."), (ALNUM, 64..=64, "")]),
        parts("NRAK-", NoWord, &[(UPPER, 27..=27, "")]),
        parts("sntryu_", NoWord, &[(HEX, 64..=64, "")]),
        parts("sntrys_eyJ", NoWord, &[(BASE64_WORD, 80..=500, "")]),
        parts("PMAK-", NoWord, &[(HEX, 24..=24, "-"), (HEX, 34..=34, "")]),
        parts("rdme_", NoWord, &[(ALNUM, 70..=70, "")]),
        parts("lin_api_", NoWord, &[(ALNUM, 40..=40, "")]),
        parts("ntn_", NoWord, &[(ALNUM, 46..=46, "")]),
        parts("pscale_", NoWord, &[(LOWER, 2..=5, "_"), (URL64_DOT, 32..=64, "")]),
        parts("p8e-", NoWord, &[(ALNUM, 32..=32, "")]),
        parts("dnkey-", NoWord, &[(URL64_PAD, 79..=79, "")]),
        parts("shippo_live_", NoWord, &[(HEX, 40..=40, "")]),
        parts("EZAK", NoToken, &[(ALNUM, 54..=54, "")]),
        parts("duffel_live_", NoWord, &[(URL64_PAD, 43..=43, "")]),
        parts("fio-u-", NoWord, &[(URL64_PAD, 64..=64, "")]),
        parts("s-s4t2", NoWord, &[(LOWER, 2..=2, "-"), (HEX, 64..=64, "")]),
    ]
};

impl Rule {
    /// What is secret after the prefix, if it is such a thing.
    pub(super) fn secret(&self, bytes: &[u8], prefix_end: usize) -> Option<Range<usize>> {
        match &self.shape {
            Shape::Parts(parts) => follow(bytes, prefix_end, parts),
            Shape::Found(find) => find(bytes, prefix_end),
        }
    }

    /// Whether what follows may be a secret, in bytes where the end of a text does not show, such as an encoded
    /// message.
    pub(super) fn may_follow(&self, bytes: &[u8], prefix_end: usize) -> bool {
        let at_least =
            |least: usize, belongs: Alphabet| bytes[prefix_end..].iter().take(least).all(|byte| belongs(*byte));
        match &self.shape {
            Shape::Parts(parts) => {
                parts.first().is_some_and(|(alphabet, lengths, _)| at_least(*lengths.start(), *alphabet))
            }
            Shape::Found(_) if self.prefix == "://" => {
                let host = bytes[prefix_end..].iter().take(USERINFO_BYTES_MAX).take_while(|byte| **byte != b'/');
                host.take_while(|byte| **byte > b' ').any(|byte| *byte == b'@')
            }
            Shape::Found(_) if self.is_aws() => at_least(16, UPPER),
            Shape::Found(_) => true,
        }
    }

    fn is_aws(&self) -> bool {
        matches!(self.prefix, "AKIA" | "ASIA" | "ABIA" | "ACCA")
    }

    /// What belongs to it and stands apart.
    pub(super) fn pair(&self, bytes: &[u8], prefix_end: usize) -> Option<Range<usize>> {
        if self.is_aws() { aws_secret(bytes, prefix_end) } else { None }
    }

    /// Whether a prefix at this place is the beginning of something: as [`Before`] says, where an escape such as `\n`,
    /// `\u003d` or `%3D` is no letter, nor is the length before a text in a protobuf message.
    pub(super) fn begins(&self, bytes: &[u8], at: usize, end: usize) -> bool {
        let Some(before) = at.checked_sub(1).map(|before| bytes[before]) else { return true };
        let belongs = match self.before {
            Before::NoToken => ALNUM(before) || b"+/_-".contains(&before),
            Before::NoWord => URL64(before),
            Before::Anything => false,
        };
        !belongs || ends_escape(&bytes[..at]) || is_length(&bytes[..at], end - at)
    }
}

fn ends_escape(before: &[u8]) -> bool {
    let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match before {
        [.., b'\\', b'n' | b'r' | b't'] => true,
        [.., b'%', a, b] => hex(&[*a, *b]),
        [.., b'\\', b'u', a, b, c, d] => hex(&[*a, *b, *c, *d]),
        _ => false,
    }
}

/// A field's tag for bytes, then a length that reaches at least as far.
fn is_length(before: &[u8], length: usize) -> bool {
    let Some([tag, stated]) = before.last_chunk::<2>() else { return false };
    tag & 7 == 2 && usize::from(*stated) >= length
}

fn follow(bytes: &[u8], from: usize, parts: &[Part]) -> Option<Range<usize>> {
    let mut end = from;
    for (alphabet, lengths, then) in parts {
        let part = run(bytes, end, lengths.clone(), *alphabet)?;
        if !bytes[part.end..].starts_with(then.as_bytes()) {
            return None;
        }
        end = part.end + then.len();
    }
    Some(from..end)
}

/// The run of an alphabet from `from` on, if its length is allowed.
fn run(bytes: &[u8], from: usize, lengths: RangeInclusive<usize>, belongs: Alphabet) -> Option<Range<usize>> {
    let length = bytes[from..].iter().take(lengths.end() + 1).take_while(|byte| belongs(**byte)).count();
    lengths.contains(&length).then_some(from..from + length)
}

/// Where the run of base64url begins that ends before `end`.
fn run_back(bytes: &[u8], end: usize, length_max: usize) -> usize {
    end - bytes[..end].iter().rev().take(length_max).take_while(|byte| URL64(**byte)).count()
}

fn aws_key_id(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let id = run(bytes, from, 16..=16, UPPER)?;
    // In a signed URL a slash follows.
    let goes_on = |next: &u8| ALNUM(*next) || b"+_-".contains(next);
    (!bytes.get(id.end).is_some_and(goes_on)).then_some(id)
}

/// The secret that stands near after a key id: 40 characters of base64 that are not the hex of a commit.
fn aws_secret(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let near = &bytes[from..bytes.len().min(from + AWS_PAIR_BYTES_MAX)];
    let mut start = 0;
    for run in near.split(|byte| !BASE64(*byte)) {
        let mixed = run.iter().any(u8::is_ascii_uppercase) && run.iter().any(u8::is_ascii_lowercase);
        if run.len() == 40 && mixed && !run.iter().all(u8::is_ascii_hexdigit) {
            return Some(from + start..from + start + 40);
        }
        start += run.len() + 1;
    }
    None
}

/// `xox`, a letter for the kind, perhaps `.xoxb`, then numbers and letters.
fn slack_token(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let kind = bytes.get(from).filter(|kind| b"abcdeoprs".contains(kind))?;
    let skipped = if *kind == b'e' && bytes[from + 1..].starts_with(b".xox") { 6 } else { 1 };
    if bytes.get(from + skipped) != Some(&b'-') {
        return None;
    }
    run(bytes, from + skipped + 1, 10..=255, ALNUM_DASH)
}

fn slack_webhook(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    const KINDS: [&[u8]; 3] = [b"services/", b"workflows/", b"triggers/"];
    let kind = KINDS.iter().find(|kind| bytes[from..].starts_with(kind))?;
    run(bytes, from + kind.len(), 40..=80, BASE64)
}

fn sourcegraph_token(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let instance = run(bytes, from, 5..=16, ALNUM).filter(|part| bytes.get(part.end) == Some(&b'_'));
    let token = run(bytes, instance.map_or(from, |part| part.end + 1), 40..=40, HEX)?;
    Some(from..token.end)
}

/// What stands in the middle of every key that begins with `sk-`.
fn openai_key(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let start = run_back(bytes, from, 256);
    let end = run(bytes, from, 20..=128, URL64)?.end;
    (bytes[start..].starts_with(b"sk-") && from - start >= 20).then_some(start + 3..end)
}

/// From after `-----BEGIN … PRIVATE KEY-----` to before `-----END` in the same text, or as far as it looks like a key.
fn private_key(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    const LABEL_ENDS: [&[u8]; 2] = [b"PRIVATE KEY-----", b"PRIVATE KEY BLOCK-----"];
    let label = &bytes[from..bytes.len().min(from + 60)];
    let start = from + LABEL_ENDS.iter().find_map(|end| position(label, end).map(|at| at + end.len()))?;
    let rest = &bytes[start..bytes.len().min(start + SECRET_BYTES_MAX)];
    let text = &rest[..rest.iter().position(|byte| *byte == b'"').unwrap_or(rest.len())];
    let in_key = |byte: &u8| ALNUM(*byte) || b"+/=\\\r\n\t :,".contains(byte);
    let length = position(text, b"-----END").unwrap_or_else(|| text.iter().take_while(|byte| in_key(byte)).count());
    (length >= 32).then_some(start..start + length)
}

fn position(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// Two base64url parts that begin like JSON and a signature, joined by dots: base64 of anything has no dots. It is
/// found by its second part, since the first one begins as the base64 of any JSON.
fn json_web_token(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    const PART_MIN: usize = 10;
    let dot = from - ".eyJ".len();
    let header = run_back(bytes, dot, JWT_PART_BYTES_MAX);
    // What stands before without a separator, as the n of a line break in JSON, is no part of it.
    let header = header + bytes[header..dot].windows(3).take(3).position(|three| three == b"eyJ")?;
    let payload = run(bytes, dot + 1, PART_MIN..=JWT_PART_BYTES_MAX, URL64)?;
    if dot - header < PART_MIN + 3 || bytes.get(payload.end) != Some(&b'.') {
        return None;
    }
    let signature = run(bytes, payload.end + 1, PART_MIN..=JWT_PART_BYTES_MAX, URL64)?;
    Some(header + 3..signature.end)
}

/// Bytes that no user or password of a URL has; in a table, since URLs are many.
static ENDS_USERINFO: [bool; 256] = {
    let (mut ends, mut n, list) = ([false; 256], 0, b"/?#@\"'<>\\ \t\r\n,;");
    while n < list.len() {
        ends[list[n] as usize] = true;
        n += 1;
    }
    ends
};

/// `user:password@` right after `://`: the password, unless a variable stands for it.
fn url_password(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let in_userinfo = |byte: &&u8| !ENDS_USERINFO[usize::from(**byte)];
    let length = bytes[from..].iter().take(USERINFO_BYTES_MAX).take_while(in_userinfo).count();
    if bytes.get(from + length) != Some(&b'@') {
        return None;
    }
    let colon = bytes[from..from + length].iter().position(|byte| *byte == b':')?;
    let password = from + colon + 1..from + length;
    (!password.is_empty() && !is_variable(&bytes[password.clone()])).then_some(password)
}

/// `$NAME`, `${NAME}`, `$(…)`, `{{ … }}`: what a template says, as in a recipe of a build.
fn is_variable(text: &[u8]) -> bool {
    let name = |text: &[u8]| text.iter().all(|byte| WORD(*byte));
    match text {
        [b'$', b'{', .., b'}'] | [b'$', b'(', .., b')'] | [b'{', b'{', .., b'}', b'}'] => true,
        [b'$', first, rest @ ..] => (first.is_ascii_uppercase() || *first == b'_') && name(rest),
        _ => false,
    }
}
