//! OSV documents: real ones compared with what a reader that shares nothing with the decoder finds, and what single
//! documents state.

use serde_json::Value;

use super::*;

/// The advisory of a message: the first fact with all affected packages, in JSON without what is empty.
fn advisory(message: &Message) -> Value {
    let decoded = run(message, &Limits::default());
    let decoded = decoded.unwrap_or_else(|rejected| panic!("{}", rejected.reject.reason));
    assert_eq!(decoded.format, "osv");
    let mut all: Option<Value> = None;
    for fact in &decoded.facts {
        let Some(Event::AdvisoryPublished(advisory)) = &fact.event else { panic!("{fact:?}") };
        let json = Event::AdvisoryPublished(advisory.clone()).to_json().expect("facts serialize");
        match &mut all {
            None => all = Some(json),
            Some(all) => {
                assert_eq!((&json["id"], &json["aliases"]), (&all["id"], &all["aliases"]));
                let packages = json["affected"].as_array().expect("a list").clone();
                let so_far = all["affected"].as_array_mut().expect("a list");
                assert_eq!(json["first"], so_far.len(), "ordinals go on");
                so_far.extend(packages);
            }
        }
    }
    let all = all.expect("a fact");
    assert_eq!(all["affectedCount"], all["affected"].as_array().map_or(0, Vec::len));
    pruned(all).expect("an advisory")
}

fn osv(rest: &str) -> Message {
    message(format!(r#"{{"id":"GHSA-1","modified":"2026-02-03T04:05:06Z","affected":[{rest}]}}"#).as_bytes())
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn every_real_advisory_says_what_its_document_says() {
    let Some(root) = corpora() else { return };
    let (mut count, mut packages, mut without_purl) = (0, 0, 0);
    for path in files(&root.join("osv")) {
        let bytes = std::fs::read(&path).expect("a corpus can be read");
        let document: Value = serde_json::from_slice(&bytes).expect("JSON");
        let found = advisory(&message(&bytes));
        assert_eq!(found["id"], document["id"], "{}", path.display());
        assert_eq!(list(&found, "aliases"), list(&document, "aliases"), "{}", path.display());
        // Fractions of a second are written without zeros at their end; a zero time is none.
        let plain = |time: &Value| {
            let time = time.as_str().filter(|time| !time.starts_with("0001"))?.trim_end_matches('Z');
            let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
            Some((seconds.to_owned(), fraction.trim_end_matches('0').to_owned()))
        };
        let (shown, given) = (|time: &str| plain(&found[time]), |time: &str| plain(&document[time]));
        assert_eq!(
            [shown("modified"), shown("withdrawn")],
            [given("modified"), given("withdrawn")],
            "{}",
            path.display()
        );
        assert_eq!(list(&found, "affected").len(), list(&document, "affected").len(), "{}", path.display());
        for (said, given) in list(&found, "affected").iter().zip(list(&document, "affected")) {
            assert_eq!(said["ecosystem"], given["package"]["ecosystem"]);
            assert_eq!(said["name"], given["package"]["name"]);
            assert_eq!(list(said, "versions"), list(given, "versions"));
            let events = |ranges: &Value, name: &str| -> Vec<Vec<Vec<(String, String)>>> {
                let snake = |name: &str| name.replace("lastAffected", "last_affected");
                let event = |event: &Value| {
                    let members = event.as_object().into_iter().flatten();
                    members.map(|(name, value)| (snake(name), value.as_str().unwrap_or_default().to_owned())).collect()
                };
                list(ranges, name).iter().map(|range| list(range, "events").iter().map(event).collect()).collect()
            };
            assert_eq!(events(said, "ranges"), events(given, "ranges"), "{}", path.display());
            packages += 1;
            without_purl += usize::from(said["purl"].is_null());
        }
        count += 1;
    }
    assert_eq!((count, packages, without_purl), (696, 2_665, 0));
}

#[test]
fn what_an_advisory_says() {
    let document = br#"{"schema_version":"1.7.3","id":"GHSA-jfh8-c2jp-5v3q","modified":"2026-02-03T04:05:06.789Z",
        "published":"2021-12-10T00:40:56Z","withdrawn":"2026-02-04T00:00:00Z","aliases":["CVE-2021-44228"],
        "related":["CVE-2021-45046"],"upstream":["CVE-1-1"],"summary":"Remote code injection in Log4j","details":"long",
        "severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H/E:H"}],
        "affected":[{"package":{"ecosystem":"Maven","name":"org.apache.logging.log4j:log4j-core",
        "purl":"pkg:maven/org.apache.logging.log4j/log4j-core"},"ranges":[{"type":"ECOSYSTEM","events":[
        {"introduced":"2.13.0"},{"fixed":"2.15.0"}]},{"type":"GIT","repo":"https://g/a","events":[{"introduced":"0"}]}]},
        {"package":{"ecosystem":"Debian:12","name":"apache-log4j2","purl":"pkg:deb/debian/apache-log4j2?arch=source"},
        "versions":["2.13.3-1"],"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"last_affected":"2.14"},
        {"limit":"3"},{}]}]}],"references":[{"type":"WEB","url":"https://x"}],"database_specific":{"severity":"CRITICAL",
        "cwe_ids":["CWE-20"]}}"#;
    check(
        &message(document),
        expect![[r#"
            osv document sha256:8c74b1ad411549dfb2b0e30d7159c1ef5a7196ce3174870abbef418b87f14ceb 2026-02-03T04:05:06.789Z Payload
            AdvisoryPublished {"affected":[{"ecosystem":"Maven","name":"org.apache.logging.log4j:log4j-core","purl":"pkg:maven/org.apache.logging.log4j/log4j-core","ranges":[{"events":[{"introduced":"2.13.0"},{"fixed":"2.15.0"}],"type":"ECOSYSTEM"},{"type":"GIT"}]},{"ecosystem":"Debian:12","name":"apache-log4j2","purl":"pkg:deb/debian/apache-log4j2","ranges":[{"events":[{"introduced":"0"},{"lastAffected":"2.14"},{"limit":"3"}],"type":"SEMVER"}],"versions":["2.13.3-1"]}],"affectedCount":2,"aliases":["CVE-2021-44228"],"format":"osv","id":"GHSA-jfh8-c2jp-5v3q","modified":"2026-02-03T04:05:06.789Z","published":"2021-12-10T00:40:56Z","severity":"critical","summary":"Remote code injection in Log4j","withdrawn":"2026-02-04T00:00:00Z"}
        "#]],
    );
}

/// What a document says of how severe it is: a word or score, of the whole before that of packages, before any vector.
#[test]
fn severity_is_a_word_or_empty() {
    let check = |rest: &str, want: &str| {
        let document = format!(r#"{{"id":"A-1","modified":"2026-02-03T04:05:06Z","summary":"s",{rest}}}"#);
        let found = advisory(&message(document.as_bytes()));
        assert_eq!(found["severity"].as_str().unwrap_or_default(), want, "{rest}");
    };
    check(r#""database_specific":{"severity":"MODERATE"}"#, "medium");
    check(r#""database_specific":{"severity":"Critical"}"#, "critical");
    check(r#""database_specific":{"severity":"Unknown"}"#, "");
    check(r#""database_specific":{"severity":7}"#, "");
    check(r#""database_specific":[]"#, "");
    check(r#""severity":[{"type":"Ubuntu","score":"negligible"}]"#, "negligible");
    check(r#""severity":[{"type":"CVSS_V3","score":"9.8"}]"#, "critical");
    check(r#""severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N"}]"#, "");
    check(
        r#""affected":[{"ecosystem_specific":{"severity":"Low"}},{"database_specific":{"severity":"High"}}]"#,
        "high",
    );
    check(r#""database_specific":{"severity":"LOW"},"affected":[{"ecosystem_specific":{"severity":"High"}}]"#, "low");
    check(r#""affected":[{"severity":[{"type":"Ubuntu","score":"medium"}]}]"#, "medium");
    let worst = r#"{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"}"#;
    let less = r#"{"type":"CVSS_V4","score":"CVSS:4.0/AV:N/AC:L/AT:N/PR:H/UI:N/VC:L/VI:L/VA:N/SC:N/SI:N/SA:N"}"#;
    check(&format!(r#""severity":[{worst}]"#), "critical");
    check(&format!(r#""severity":[{less},{worst}]"#), "critical");
    check(&format!(r#""severity":[{less}],"affected":[{{"severity":[{worst}]}}]"#), "medium");
    check(&format!(r#""affected":[{{"severity":[{worst}]}}]"#), "critical");
    check(&format!(r#""severity":[{worst}],"affected":[{{"database_specific":{{"severity":"Low"}}}}]"#), "low");
    check(r#""severity":[{"type":"CVSS_V2","score":"AV:N/AC:L/Au:N/C:P/I:P/A:P"}]"#, "");
}

/// Real advisories that have both a vector and a word: what comes of the vector alone is that word.
#[test]
fn vectors_of_real_advisories_come_to_the_words_beside_them() {
    let Some(root) = corpora() else { return };
    let (mut both, mut other) = (0, Vec::new());
    for path in files(&root.join("osv")) {
        let mut document: Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
        let vectors = list(&document, "affected").iter().any(|package| !list(package, "severity").is_empty());
        let Some(word) = document["database_specific"]["severity"].as_str().map(str::to_lowercase) else { continue };
        if !vectors {
            continue;
        }
        both += 1;
        document["database_specific"]["severity"].take();
        let found = advisory(&message(document.to_string().as_bytes()));
        if found["severity"] != word.as_str() {
            other.push(format!("{}: {word} became {}", path.display(), found["severity"]));
        }
    }
    println!("{} of {both} real advisories with a vector and a word agree", both - other.len());
    assert!(both >= 199 && other.is_empty(), "{both} with both\n{}", other.join("\n"));
}

#[test]
fn packages_have_the_purl_that_others_find_them_by() {
    let check = |package: &str, want: &str| {
        let found = advisory(&osv(&format!(r#"{{"package":{package}}}"#)));
        assert_eq!(found["affected"][0]["purl"].as_str().unwrap_or_default(), want, "{package}");
    };
    check(r#"{"ecosystem":"npm","name":"@a/b"}"#, "pkg:npm/%40a/b");
    check(r#"{"ecosystem":"npm","name":"x","purl":"pkg:npm/x@1.0.0?arch=amd64"}"#, "pkg:npm/x");
    check(r#"{"ecosystem":"npm","name":"x","purl":"no purl"}"#, "pkg:npm/x");
    check(
        r#"{"ecosystem":"PyPI","name":"zope-interface","purl":"pkg:pypi/Zope.Interface"}"#,
        "pkg:pypi/zope-interface",
    );
    check(r#"{"ecosystem":"Rocky Linux:9","name":"bind"}"#, "pkg:rpm/rocky-linux/bind");
    // What follows an `&` in place of a `?` is no part of the name.
    check(
        r#"{"ecosystem":"openEuler:22.03-LTS","name":"booth","purl":"pkg:rpm/openEuler/booth&distro=openEuler-22.03-LTS"}"#,
        "pkg:rpm/openeuler/booth",
    );
    check(r#"{"ecosystem":"Linux","name":"Kernel","purl":"pkg:generic/linux"}"#, "pkg:generic/linux");
    check(r#"{"ecosystem":"SUSE:Package Hub 15","name":"x","purl":"pkg:rpm/suse/x?distro=y"}"#, "pkg:rpm/suse/x");
    check(r#"{"ecosystem":"Android","name":"platform/art"}"#, "");
    check(
        r#"{"ecosystem":"Ubuntu:22.04:LTS","name":"x","purl":"pkg:deb/ubuntu/x@1?arch=source&distro=jammy"}"#,
        "pkg:deb/ubuntu/x",
    );
}

#[test]
fn many_versions_are_said_in_parts() {
    let versions: Vec<String> = (0..60_000).map(|n| format!("\"1.{n}.0\"")).collect();
    let affected = format!(
        r#"{{"package":{{"ecosystem":"npm","name":"x"}},"versions":[{}],"ranges":[{{"type":"SEMVER","events":[{{"introduced":"0"}}]}}]}}"#,
        versions.join(",")
    );
    let found = advisory(&osv(&affected));
    let parts = list(&found, "affected");
    assert!(parts.len() > 1);
    let said: usize = parts.iter().map(|part| list(part, "versions").len()).sum();
    assert_eq!(said, 60_000);
    assert!(parts.iter().all(|part| part["purl"] == "pkg:npm/x"));
    assert_eq!(parts.iter().map(|part| list(part, "ranges").len()).sum::<usize>(), 1, "ranges stand once");
}

#[test]
fn advisories_are_known_by_their_look_and_by_name() {
    let of =
        |message: &Message| run(message, &Limits::default()).map(|decoded| decoded.format).map_err(|r| r.reject.code);
    assert_eq!(of(&message(br#"{"id":"A-1","modified":"2026-01-01T00:00:00Z","details":"d"}"#)), Ok("osv"));
    assert_eq!(of(&message(br#"{"schema_version":"1.0.0","id":"A-1"}"#)), Ok("osv"));
    assert_eq!(of(&message(br#"{"id":"A-1","modified":"2026-01-01T00:00:00Z"}"#)), Err(Code::UnsupportedFormat));
    assert_eq!(of(&Message { format: Some("osv".to_owned()), ..message(br#"{"id":"A-1"}"#) }), Ok("osv"));
    let named =
        br#"{"specversion":"1.0","id":"1","source":"/osv","type":"t","datacontenttype":"application/vnd.osv+json",
        "data":{"id":"A-1"}}"#;
    assert_eq!(of(&message(named)), Ok("osv"));
    let event = br#"{"specversion":"1.0","id":"1","source":"/osv","type":"dev.osv.published",
        "data":{"id":"A-1","modified":"2026-01-01T00:00:00Z","summary":"s"}}"#;
    assert_eq!(of(&with_headers(event, &[("content-type", "application/cloudevents+json")])), Ok("osv"));
}

#[test]
fn what_is_no_advisory_is_rejected_with_the_right_code() {
    let many = r#"{"introduced":"0.0.0.0.0.0.0.0.0.1"},"#.repeat(20_000);
    let long = "n".repeat(2_000);
    let table: Vec<(&str, Code, String)> = vec![
        (
            "no id",
            Code::SchemaViolation,
            r#"{"modified":"2026-01-01T00:00:00Z","schema_version":"1.0","id":""}"#.into(),
        ),
        ("a null id", Code::SchemaViolation, r#"{"schema_version":"1.0","id":null}"#.into()),
        ("an id that is no text", Code::SchemaViolation, r#"{"schema_version":"1.0","id":7}"#.into()),
        ("a long id", Code::TooLarge, format!(r#"{{"schema_version":"1.0","id":"{long}"}}"#)),
        ("affected is an object", Code::SchemaViolation, r#"{"schema_version":"1.0","id":"A","affected":{}}"#.into()),
        ("affected has texts", Code::SchemaViolation, r#"{"schema_version":"1.0","id":"A","affected":["x"]}"#.into()),
        (
            "a package is a text",
            Code::SchemaViolation,
            r#"{"schema_version":"1.0","id":"A","affected":[{"package":"x"}]}"#.into(),
        ),
        (
            "versions are numbers",
            Code::SchemaViolation,
            r#"{"schema_version":"1.0","id":"A","affected":[{"versions":[1]}]}"#.into(),
        ),
        (
            "events are texts",
            Code::SchemaViolation,
            r#"{"schema_version":"1.0","id":"A","affected":[{"ranges":[{"events":["0"]}]}]}"#.into(),
        ),
        ("aliases are a text", Code::SchemaViolation, r#"{"schema_version":"1.0","id":"A","aliases":"CVE-1"}"#.into()),
        ("a newer major version", Code::UnsupportedVersion, r#"{"schema_version":"2.0.0","id":"A"}"#.into()),
        (
            "a range of many events",
            Code::TooManyItems,
            format!(r#"{{"schema_version":"1.0","id":"A","affected":[{{"ranges":[{{"events":[{many}{{}}]}}]}}]}}"#),
        ),
    ];
    for (what, code, document) in table {
        let rejected = run(&message(document.as_bytes()), &Limits::default()).expect_err(what);
        assert_eq!((rejected.reject.code, rejected.format), (code, "osv"), "{what}: {}", rejected.reject.reason);
    }
    let few = Limits { statements_max: 2, ..Limits::default() };
    let rejected = run(&osv("{},{},{}"), &few).expect_err("three packages");
    assert_eq!(rejected.reject.code, Code::TooManyItems);
}

/// What cannot be read of it does not cost the rest.
#[test]
fn odd_parts_are_kept_as_they_are() {
    let long = "9".repeat(5_000);
    let found = advisory(&osv(&format!(
        r#"null,{{"package":{{"ecosystem":"npm","name":"x"}},"versions":["1","{long}",null],
        "ranges":[null,{{"type":"semver","events":[{{"introduced":"0","fixed":null}},{{"fixed":"{long}"}}]}}]}}"#
    )));
    let package = list(&found, "affected").last().expect("a package");
    assert_eq!(list(package, "versions"), ["1"]);
    let range = list(package, "ranges").last().expect("a range");
    assert_eq!(list(range, "events")[1]["fixed"].as_str().map(str::len), Some(1_024), "longer than can be compared");
    assert_eq!(range["type"], "SEMVER");
}
