//! For every rule a sample that is overwritten and one that is left alone. They are put together here, so that nothing
//! in this file looks like a secret.

use std::collections::BTreeSet;
use std::path::Path;

use super::rules::{Before, RULES};
use super::text;

fn cycle(letters: &str, length: usize) -> String {
    letters.chars().cycle().take(length).collect()
}

fn hex(length: usize) -> String {
    cycle("0a1b2c3d4e5f", length)
}

fn upper(length: usize) -> String {
    cycle("K2L3M4N", length)
}

fn mixed(length: usize) -> String {
    cycle("a1B2c3D", length)
}

fn url64(length: usize) -> String {
    cycle("a1_B2-c", length)
}

fn base64(length: usize) -> String {
    cycle("a1+B2/c", length)
}

/// What follows the prefix: once a secret, once not.
struct Sample(&'static str, String, String);

fn clouds() -> Vec<Sample> {
    vec![
        Sample("AKIA", upper(16), upper(15)),
        Sample("ASIA", upper(16), upper(17)),
        Sample("ABIA", upper(16), mixed(16)),
        Sample("ACCA", upper(16), upper(12)),
        Sample("ABSK", base64(120), base64(90)),
        Sample("bedrock-api-key-", base64(40), base64(20)),
        Sample("AIza", url64(35), url64(36)),
        Sample("ya29.", url64(60), url64(12)),
        Sample("GOCSPX-", url64(28), url64(27)),
        Sample("AccountKey=", base64(86) + "==", base64(60) + "=="),
        Sample("SharedAccessKey=", base64(43) + "=", base64(20) + "="),
        Sample("LTAI", mixed(20), mixed(19)),
        Sample("dop_v1_", hex(64), hex(63)),
        Sample("doo_v1_", hex(64), hex(65)),
        Sample("dor_v1_", hex(64), hex(32)),
        Sample("HRKU-AA", url64(58), url64(50)),
        Sample("fo1_", url64(43), url64(42)),
        Sample("fm1a_", base64(120), base64(80)),
        Sample("fm1r_", base64(120), base64(80)),
        Sample("fm2_", base64(120), base64(80)),
        Sample("v1.0-", hex(24) + "-" + &hex(146), hex(24) + "-" + &hex(100)),
        Sample("tk-us-", url64(48), url64(40)),
        Sample("sha256~", url64(43), url64(64)),
    ]
}

fn builds() -> Vec<Sample> {
    let harness = |last| format!("{}.{}.{}", url64(22), mixed(24), mixed(last));
    vec![
        Sample("ghp_", mixed(36), mixed(35)),
        Sample("gho_", mixed(36), mixed(20)),
        Sample("ghu_", mixed(36), mixed(20)),
        Sample("ghs_", mixed(40), mixed(20)),
        Sample("ghr_", mixed(76), mixed(20)),
        Sample("github_pat_", mixed(22) + "_" + &mixed(59), mixed(22)),
        Sample("glpat-", url64(20), url64(19)),
        Sample("gldt-", url64(20), url64(12)),
        Sample("glrt-", url64(27), url64(12)),
        Sample("glft-", url64(20), url64(12)),
        Sample("glffct-", url64(20), url64(12)),
        Sample("glsoat-", url64(20), url64(12)),
        Sample("glcbt-", mixed(2) + "_" + &url64(20), url64(12)),
        Sample("glptt-", hex(40), hex(39)),
        Sample("glimt-", url64(25), url64(20)),
        Sample("glagent-", url64(50), url64(40)),
        Sample("gloas-", url64(64), url64(60)),
        Sample("GR1348941", url64(20), url64(10)),
        Sample("ATATT3", url64(177) + "=" + &upper(8), url64(100)),
        Sample("ATBB", mixed(32), mixed(31)),
        Sample("npm_", mixed(36), "config_registry".to_owned()),
        Sample("pypi-AgE", url64(150), url64(20)),
        Sample("rubygems_", hex(48), hex(40)),
        Sample("CLOJARS_", mixed(60), mixed(20)),
        Sample("dckr_pat_", url64(27), url64(20)),
        Sample("dckr_oat_", url64(32), url64(20)),
        Sample("AKCp", mixed(69), mixed(60)),
        Sample("cmVmdGtuOj", mixed(54), mixed(50)),
        Sample("pul-", hex(40), hex(39)),
        Sample(".atlasv1.", url64(67), url64(20)),
        Sample("hvs.", url64(95), url64(24)),
        Sample("hvb.", url64(150), url64(90)),
        Sample("dp.pt.", mixed(43), mixed(40)),
        Sample("pat.", harness(20), harness(19)),
        Sample("sat.", harness(20), harness(21)),
        Sample("API-", upper(26), upper(8)),
        Sample("pnu_", mixed(36), mixed(30)),
        Sample("ico-", mixed(32), mixed(8)),
        Sample("squ_", hex(40), hex(32)),
        Sample("sqp_", hex(40), hex(32)),
        Sample("sqa_", hex(40), hex(32)),
        Sample("AGE-SECRET-KEY-1", upper(58), upper(20)),
        Sample("ops_eyJ", base64(300), base64(100)),
        Sample("A3-", [6, 6, 5, 5, 5].map(upper).join("-"), upper(6) + "-" + &upper(6)),
    ]
}

fn services() -> Vec<Sample> {
    let uuid = |digits: &str| [8, 4, 4, 4, 12].map(|length| cycle(digits, length)).join("-");
    let teams = format!("{0}@{0}/IncomingWebhook/{1}/{0}", uuid("a1b2"), mixed(32));
    vec![
        Sample("xapp-", format!("1-{}-{}-{}", upper(11), cycle("123", 13), hex(64)), "1-A0".to_owned()),
        Sample("webhook.office.com/webhookb2/", teams, uuid("a1b2")),
        Sample("sk-ant-", "api03-".to_owned() + &url64(93) + "AA", url64(20)),
        Sample("pplx-", mixed(48), mixed(20)),
        Sample("hf_", mixed(34), "transformers_cache".to_owned()),
        Sample("api_org_", mixed(34), mixed(20)),
        Sample("sk_live_", mixed(24), mixed(12)),
        Sample("rk_live_", mixed(99), mixed(12)),
        Sample("sk_test_", mixed(24), "integration".to_owned()),
        Sample("rk_test_", mixed(24), mixed(12)),
        Sample("sq0atp-", url64(22), url64(12)),
        Sample("sq0csp-", url64(43), url64(22)),
        Sample("shpat_", hex(32), hex(31)),
        Sample("shpca_", hex(32), hex(33)),
        Sample("shppa_", hex(32), hex(16)),
        Sample("shpss_", hex(32), hex(16)),
        Sample("SG.", url64(22) + "." + &url64(43), url64(22)),
        Sample("xkeysib-", hex(64) + "-" + &mixed(16), hex(64)),
        Sample("glsa_", mixed(32) + "_" + &hex(8), mixed(32)),
        Sample("glc_", base64(80), base64(12)),
        Sample("dapi", hex(32), hex(31)),
        Sample("dt0c01.", mixed(24) + "." + &mixed(64), mixed(24)),
        Sample("NRAK-", upper(27), upper(20)),
        Sample("sntryu_", hex(64), hex(32)),
        Sample("sntrys_eyJ", base64(120) + "_" + &base64(43), base64(40)),
        Sample("PMAK-", hex(24) + "-" + &hex(34), hex(24)),
        Sample("rdme_", mixed(70), mixed(20)),
        Sample("lin_api_", mixed(40), mixed(20)),
        Sample("ntn_", cycle("123", 11) + &mixed(35), mixed(20)),
        Sample("pscale_", "tkn_".to_owned() + &url64(43), "tkn_".to_owned() + &url64(8)),
        Sample("p8e-", mixed(32), mixed(8)),
        Sample("dnkey-", url64(26) + "-" + &url64(52), url64(26)),
        Sample("shippo_live_", hex(40), hex(20)),
        Sample("EZAK", mixed(54), mixed(20)),
        Sample("duffel_live_", url64(43), url64(20)),
        Sample("fio-u-", url64(64), url64(20)),
        Sample("s-s4t2", "ud-".to_owned() + &hex(64), "ud-".to_owned() + &hex(32)),
        Sample("xox", "b-".to_owned() + &cycle("123", 12) + "-" + &mixed(24), "b-12".to_owned()),
        Sample("hooks.slack.com/", "services/".to_owned() + &base64(44), "services/docs".to_owned()),
        Sample("sgp_", hex(16) + "_" + &hex(40), hex(20)),
    ]
}

/// Those whose shape looks at what stands before the prefix too: a text with a secret, and one without.
fn whole() -> Vec<Sample> {
    let token = |signature: usize| format!("{}J{}.{}J{}.{}", "ey", mixed(20), "ey", mixed(30), url64(signature));
    let key =
        |name: &str| format!("-----{} {name}-----\\nVersion: 1.4\\n{}\\n-----END {name}-----", "BEGIN", base64(64));
    let openai = |front: usize| format!("sk-{}{}{}", url64(front), "T3BlbkFJ", url64(74));
    vec![
        Sample(".eyJ", token(43), token(4)),
        Sample("-----BEGIN ", key("EC PRIVATE KEY"), key("CERTIFICATE")),
        Sample("-----BEGIN ", key("PGP PRIVATE KEY BLOCK"), key("PUBLIC KEY")),
        Sample("T3BlbkFJ", openai(74), openai(4)),
        Sample(
            "://",
            format!("https://bot:{}@git.example/a", mixed(12)),
            "https://bot@git.example:8080/a@b".to_owned(),
        ),
        Sample("://", format!("redis://:{}@cache", mixed(12)), "https://x:${GITHUB_TOKEN}@git.example".to_owned()),
    ]
}

/// What may stand right before a token: assignments, quotes, paths, escapes.
const BEFORE: [&str; 8] = ["", "GITHUB_TOKEN=", "?token=", "\"", "x:", "line\\n", "a%3D", "a\\u003d"];

#[test]
fn every_rule_has_a_sample_that_is_overwritten_and_one_that_is_not() {
    let samples = [clouds(), builds(), services()].into_iter().flatten();
    let mut seen = BTreeSet::new();
    for Sample(prefix, secret, other) in samples {
        let rule = RULES.iter().find(|rule| rule.prefix == prefix).unwrap();
        for before in BEFORE {
            let (redacted, count) =
                text(&format!("{before}{prefix}{secret} end")).unwrap_or_else(|| panic!("{prefix}"));
            let stars = redacted.strip_prefix(before).and_then(|rest| rest.strip_prefix(prefix)).expect(&redacted);
            assert_eq!((stars.len(), count), (secret.len() + " end".len(), 1), "{redacted}");
            assert!(stars.trim_end_matches(" end").ends_with("********") && !redacted.contains(&secret), "{redacted}");
            assert_eq!(text(&redacted), None, "what is kept is kept as it is");
            assert_eq!(text(&format!("{before}{prefix}{other} end")), None, "{prefix}{other}");
        }
        let within = text(&format!("a{prefix}{secret} end"));
        assert_eq!(within.is_some(), rule.before == Before::Anything, "{prefix} in a longer word");
        seen.insert(prefix);
    }
    for Sample(prefix, secret, other) in whole() {
        let (redacted, count) = text(&format!("={secret}\"")).unwrap_or_else(|| panic!("{secret}"));
        assert!(count == 1 && redacted.contains("*******") && redacted.len() == secret.len() + 2, "{redacted}");
        assert_eq!((text(&redacted), text(&other)), (None, None), "{prefix}: {other}");
        seen.insert(prefix);
    }
    assert!(RULES.iter().all(|rule| seen.contains(rule.prefix)), "a rule has no sample");
}

#[test]
fn escapes_do_not_hide_a_secret() {
    let token = mixed(36);
    let stars = "*".repeat(36);
    let check = |given: &str, want: &str| assert_eq!(text(given).map(|(text, _)| text).as_deref(), Some(want));
    check(&format!(r#""gh{}u0070_{token}""#, '\\'), &format!(r#""gh{}u0070_{stars}""#, '\\'));
    check(&format!(r#""ghp{}u005f{token}""#, '\\'), &format!(r#""ghp{}u005f{stars}""#, '\\'));
    // An escape inside of it is overwritten with it.
    let (a, b) = token.split_at(20);
    check(&format!(r#"ghp_{a}\u0061{}"#, &b[1..]), &format!("ghp_{}", "*".repeat(41)));
    check(r"https:\/\/bot:hunter2@git.example\/a", r"https:\/\/bot:*******@git.example\/a");
    check(
        r#"{"text":"{\"u\":\"https:\\\/\\\/bot:hunter2@h\"}"}"#,
        r#"{"text":"{\"u\":\"https:\\\/\\\/bot:*******@h\"}"}"#,
    );
    check("vcs_url=git+https:%2F%2Fbot:hunter2%40git.example", "vcs_url=git+https:%2F%2Fbot:*******%40git.example");
    check("https%3A%2f%2fbot%3Ahunter2%40h", "https%3A%2f%2fbot%3A*******%40h");
    assert_eq!(text(r"https:\/\/git.example:8080\/a@b"), None);
    assert_eq!(text("pkg:npm/%40acme/cart?repository_url=https:%2F%2Fnpm.example%2F"), None);
}

#[test]
fn the_data_of_an_event_is_overwritten_in_base64() {
    use ::base64::Engine as _;
    let encode = |text: &str| ::base64::engine::general_purpose::STANDARD.encode(text);
    let event = |data: &str| format!(r#"{{"id":"1","data_base64": "{}","subject":"x"}}"#, encode(data));
    let data = |token: &str| format!(r#"{{"env":"NPM_TOKEN=npm_{token}"}}"#);
    let (redacted, count) = text(&event(&data(&mixed(36)))).unwrap();
    assert_eq!((redacted.as_str(), count), (event(&data(&"*".repeat(36))).as_str(), 1));
    assert_eq!(text(&redacted), None);
    // Elsewhere base64 may be what somebody signed.
    assert_eq!(text(&event(&data(&mixed(36))).replace("data_base64", "payload")), None);
    assert_eq!(
        text(&event(&data(&mixed(36))).replace("=\"", "?\"")).is_some(),
        !encode(&data(&mixed(36))).ends_with('=')
    );
}

/// Real documents, as far as they are here: what is overwritten in them was looked at, and is what it seems to be.
#[test]
fn real_documents_are_changed_only_where_they_hold_a_secret() {
    let Some(corpora) = std::env::var_os("PEDIGRAPH_CORPORA") else { return };
    let (mut hits, mut bytes) = (Vec::new(), 0);
    look_through(Path::new(&corpora), &mut |path, document| {
        bytes += document.len();
        for edit in super::edits(document, &super::Fields::default()) {
            let around = &document[edit.at.saturating_sub(40)..document.len().min(edit.at + 40)];
            hits.push(format!("{}: {}", path.display(), String::from_utf8_lossy(around)));
        }
    });
    assert!(bytes > 10_000_000, "{bytes} bytes are not what is meant");
    assert!(hits.is_empty(), "{hits:#?}");
}

fn look_through(dir: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            look_through(&path, look);
        } else {
            look(&path, &std::fs::read(&path).unwrap());
        }
    }
}
