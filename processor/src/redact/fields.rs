//! Members of JSON documents whose values are overwritten whatever they hold: an operator knows what a rule cannot.
//!
//! A value keeps its length and its kind of place, so that the document stays JSON and all other bytes stay where they
//! were: a text becomes `*`, a number `0` and spaces, `true` and `false` become `null`, and all of that within an object
//! or a list. What is no JSON is looked at as far as it reads like it.

use aho_corasick::AhoCorasick;
use std::sync::Arc;

/// Fields that may be configured.
const FIELDS_MAX: usize = 256;
/// Longest name of a field, and of a member that is compared with it, bytes as written.
const NAME_BYTES_MAX: usize = 1_024;
/// Levels whose names are remembered: more than a document may have.
const LEVELS_MAX: usize = 160;

/// Names of members, or the names on the way to them joined by dots.
#[derive(Clone, Debug, Default)]
pub struct Fields(Option<Arc<Known>>);

#[derive(Debug)]
struct Known {
    /// In lower case.
    names: Vec<String>,
    /// Finds the last part of each, and what may hide one.
    search: AhoCorasick,
}

impl Fields {
    /// From what is configured: `password`, `customData.deploy.token`. A member is meant when the names on the way to it,
    /// joined by dots, end with the field; upper and lower case are one.
    ///
    /// # Errors
    /// Says which one cannot be the name of a field.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Fields, String> {
        let names: Vec<String> = names.into_iter().map(str::to_ascii_lowercase).collect();
        let is_name = |name: &&String| {
            let parts = name.split('.').all(|part| !part.is_empty());
            parts && name.len() <= NAME_BYTES_MAX && !name.contains(['"', '\\']) && !name.contains(char::is_control)
        };
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            return Err(format!("{name:?} cannot be the name of a field: parts joined by dots, without quotes"));
        }
        match names.len() {
            0 => return Ok(Fields::default()),
            count if count > FIELDS_MAX => return Err(format!("{count} fields, at most {FIELDS_MAX} are taken")),
            _ => {}
        }
        let last_part = |name: &String| name.rsplit('.').next().unwrap_or_default().to_owned();
        let hiding = ["\\u", "\\/"].map(str::to_owned);
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(names.iter().map(last_part).chain(hiding))
            .map_err(|error| error.to_string())?;
        Ok(Fields(Some(Arc::new(Known { names, search }))))
    }

    /// Whether there are none.
    pub(crate) fn are_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a name, as of a header, is a field by itself.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.0.iter().flat_map(|known| &known.names).any(|field| field.eq_ignore_ascii_case(name))
    }

    /// The bytes without the values of these members, and how many were overwritten; `None` when there are none.
    pub(super) fn overwritten(&self, bytes: &[u8]) -> Option<(Vec<u8>, u32)> {
        let known = self.0.as_deref().filter(|known| known.search.is_match(bytes))?;
        let mut kept = bytes.to_vec();
        let mut scan = Scan::new(known);
        scan.feed(&mut kept).then_some((kept, scan.overwritten))
    }

    /// A pass over a document in pieces.
    pub(super) fn scan(&self) -> Option<Scan<'_>> {
        self.0.as_deref().map(Scan::new)
    }
}

/// An object or a list that is open.
struct Level {
    is_object: bool,
    /// Length of the path to it.
    path: usize,
}

/// What is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Between,
    Name,
    Text,
    /// A number or a word: how many bytes of it were read, and whether it is a number.
    Plain(usize, bool),
}

/// One pass over a document, which may come in pieces.
pub(super) struct Scan<'a> {
    known: &'a Known,
    levels: Vec<Level>,
    /// Levels beyond those that are remembered.
    beyond: usize,
    /// Names on the way, joined by dots, in lower case.
    path: Vec<u8>,
    /// The name that is being read, as written.
    name: Vec<u8>,
    at: At,
    is_escaped: bool,
    name_comes: bool,
    /// The level of the member whose value is being overwritten.
    until: Option<usize>,
    /// Whether anything of the present value was changed.
    is_changed: bool,
    /// Whether anything of the present piece was.
    is_touched: bool,
    /// Bytes that tell nothing: what Confluent's framing puts in front.
    skip: Option<usize>,
    /// Values that were overwritten.
    pub(super) overwritten: u32,
}

impl<'a> Scan<'a> {
    fn new(known: &'a Known) -> Scan<'a> {
        Scan {
            known,
            levels: Vec::new(),
            beyond: 0,
            path: Vec::new(),
            name: Vec::new(),
            at: At::Between,
            is_escaped: false,
            name_comes: false,
            until: None,
            is_changed: false,
            is_touched: false,
            skip: None,
            overwritten: 0,
        }
    }

    /// Overwrites in place; whether anything was changed.
    pub(super) fn feed(&mut self, bytes: &mut [u8]) -> bool {
        self.is_touched = false;
        let framed = |bytes: &[u8]| if bytes.first() == Some(&0) { 5 } else { 0 };
        let skip = self.skip.unwrap_or_else(|| framed(bytes));
        let here = skip.min(bytes.len());
        self.skip = Some(skip - here);
        bytes[here..].iter_mut().for_each(|byte| self.byte(byte));
        self.is_touched
    }

    fn byte(&mut self, byte: &mut u8) {
        match self.at {
            At::Between => self.between(byte),
            At::Name => self.in_name(*byte),
            At::Text => self.in_text(byte),
            At::Plain(..) if b" \t\r\n,:{}[]\"".contains(byte) => {
                self.at = At::Between;
                self.between(byte);
            }
            At::Plain(read, is_number) => self.in_plain(byte, read, is_number),
        }
    }

    fn between(&mut self, byte: &mut u8) {
        match *byte {
            b'"' if self.name_comes => {
                self.name.clear();
                self.at = At::Name;
            }
            b'"' => self.value(At::Text),
            b'{' => self.open(true),
            b'[' => self.open(false),
            b'}' | b']' => self.close(),
            b',' => {
                self.until = self.until.filter(|level| *level != self.level());
                self.name_comes = self.beyond == 0 && self.levels.last().is_some_and(|level| level.is_object);
            }
            b':' => self.name_comes = false,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            first => {
                let is_number = first == b'-' || first.is_ascii_digit();
                self.value(At::Plain(0, is_number));
                self.in_plain(byte, 0, is_number);
            }
        }
    }

    fn value(&mut self, at: At) {
        (self.at, self.is_changed) = (at, false);
    }

    fn level(&self) -> usize {
        self.levels.len() + self.beyond
    }

    fn open(&mut self, is_object: bool) {
        if self.levels.len() < LEVELS_MAX {
            self.levels.push(Level { is_object, path: self.path.len() });
        } else {
            self.beyond += 1;
        }
        self.name_comes = is_object && self.beyond == 0;
    }

    fn close(&mut self) {
        self.until = self.until.filter(|level| *level != self.level());
        self.name_comes = false;
        if self.beyond > 0 {
            self.beyond -= 1;
        } else if let Some(level) = self.levels.pop() {
            self.path.truncate(level.path);
        }
    }

    /// Whether the byte belongs to a text that goes on.
    fn goes_on(&mut self, byte: u8) -> bool {
        if std::mem::take(&mut self.is_escaped) {
            return true;
        }
        self.is_escaped = byte == b'\\';
        byte != b'"'
    }

    fn in_name(&mut self, byte: u8) {
        if self.goes_on(byte) {
            if self.name.len() <= NAME_BYTES_MAX {
                self.name.push(byte);
            }
            return;
        }
        self.at = At::Between;
        self.name_comes = false;
        self.path.truncate(self.levels.last().map_or(0, |level| level.path));
        if !self.path.is_empty() {
            self.path.push(b'.');
        }
        self.path.append(&mut plain(&self.name).to_ascii_lowercase());
        if self.until.is_none() && self.is_meant() {
            self.until = Some(self.level());
        }
    }

    fn is_meant(&self) -> bool {
        self.known.names.iter().any(|field| {
            let before = self.path.strip_suffix(field.as_bytes());
            before.is_some_and(|before| before.last().is_none_or(|last| *last == b'.'))
        })
    }

    fn in_text(&mut self, byte: &mut u8) {
        if !self.goes_on(*byte) {
            self.at = At::Between;
        } else if self.until.is_some() {
            self.put(byte, b'*');
        }
    }

    fn in_plain(&mut self, byte: &mut u8, read: usize, is_number: bool) {
        self.at = At::Plain(read + 1, is_number);
        if self.until.is_some() {
            let instead: &[u8] = if is_number { b"0" } else { b"null" };
            self.put(byte, instead.get(read).copied().unwrap_or(b' '));
        }
    }

    fn put(&mut self, byte: &mut u8, instead: u8) {
        if *byte != instead {
            *byte = instead;
            self.overwritten = self.overwritten.saturating_add(u32::from(!self.is_changed));
            (self.is_changed, self.is_touched) = (true, true);
        }
    }
}

/// A name without its escapes; one that is too long or none is no field's.
fn plain(name: &[u8]) -> Vec<u8> {
    match name.len() {
        length if length > NAME_BYTES_MAX => Vec::new(),
        _ if !name.contains(&b'\\') => name.to_vec(),
        _ => serde_json::from_slice::<String>(&[b"\"", name, b"\""].concat()).unwrap_or_default().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn fields(names: &[&str]) -> Fields {
        Fields::new(names.iter().copied()).unwrap()
    }

    #[track_caller]
    fn check(names: &[&str], document: &str, want: &str) {
        let fields = fields(names);
        let (got, count) = fields.overwritten(document.as_bytes()).unwrap_or((document.into(), 0));
        assert_eq!(std::str::from_utf8(&got).unwrap(), want);
        assert_eq!(count > 0, document != want);
        assert_eq!(fields.overwritten(&got), None, "what is kept is kept as it is");
        for piece in 1..4 {
            let mut in_pieces = document.as_bytes().to_vec();
            let mut scan = fields.scan().unwrap();
            for piece in in_pieces.chunks_mut(piece) {
                scan.feed(piece);
            }
            assert_eq!((in_pieces, scan.overwritten), (got.clone(), count), "in pieces of {piece}");
        }
    }

    #[test]
    fn values_keep_their_length_and_the_document_stays_json() {
        check(&["pin"], r#"{"pin":"a\"é\\","b":"pin"}"#, r#"{"pin":"*******","b":"pin"}"#);
        check(&["pin"], r#"{"pin": -12.5e3,"pin2":7}"#, r#"{"pin": 0      ,"pin2":7}"#);
        check(&["pin"], r#"[{"pin":true},{"pin":false},{"pin":null}]"#, r#"[{"pin":null},{"pin":null },{"pin":null}]"#);
        check(
            &["env"],
            r#"{"env":{"A":"x","B":["y",1,{"C":true}],"":""},"after":"x"}"#,
            r#"{"env":{"A":"*","B":["*",0,{"C":null}],"":""},"after":"x"}"#,
        );
        check(
            &["pin"],
            "{\"pin\" :\n\"1\"}\n{\"a\":\"1\"} {\"pin\":22}",
            "{\"pin\" :\n\"*\"}\n{\"a\":\"1\"} {\"pin\":0 }",
        );
    }

    #[test]
    fn a_field_is_a_name_or_the_end_of_a_way() {
        let document =
            r#"{"a":{"token":"1","b":[{"token":"2"},["x",{"token":"3"}]],"tokens":"4"},"token":"5","A.Token":"6"}"#;
        check(
            &["Token"],
            document,
            r#"{"a":{"token":"*","b":[{"token":"*"},["x",{"token":"*"}]],"tokens":"4"},"token":"*","A.Token":"*"}"#,
        );
        check(
            &["a.token"],
            document,
            r#"{"a":{"token":"*","b":[{"token":"2"},["x",{"token":"3"}]],"tokens":"4"},"token":"5","A.Token":"*"}"#,
        );
        check(&["a.b.token"], document, &document.replace(['2', '3'], "*"));
        check(&["x", "b.x"], document, document);
    }

    #[test]
    fn a_name_is_known_however_it_is_written() {
        check(&["password"], r#"{"pass\u0077ord":"x","pass\nword":"x"}"#, r#"{"pass\u0077ord":"*","pass\nword":"x"}"#);
        check(&["example.com/pin"], r#"{"example.com\/pin":"x"}"#, r#"{"example.com\/pin":"*"}"#);
        check(&["größe"], r#"{"größe":1}"#, r#"{"größe":0}"#);
        check(&["pin"], "\u{feff}{\"pin\":\"x\"}", "\u{feff}{\"pin\":\"*\"}");
        check(&["pin"], "\0\0\0\"\0{\"pin\":\"x\"}", "\0\0\0\"\0{\"pin\":\"*\"}");
    }

    #[test]
    fn what_is_no_json_is_looked_at_as_far_as_it_reads_like_it() {
        check(&["pin"], r#"{"pin":"never ends"#, r#"{"pin":"**********"#);
        check(&["pin"], r#"}]{"a":[1,}},{"pin":'x' 2}"#, r#"}]{"a":[1,}},{"pin":nul 0}"#);
        let deep = format!("{}{}", "[{\"a\":".repeat(400), "{\"pin\":\"x\"}");
        check(&["pin"], &deep, &deep);
        check(&["a"], "{\"a\":[{\"b\":\"x\"}}]", "{\"a\":[{\"b\":\"*\"}}]");
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for name in ["", ".", "a.", "a..b", "a\"", "a\\", "a\n", &"x".repeat(1_025)] {
            assert!(Fields::new([name]).is_err(), "{name:?}");
        }
        assert!(Fields::new(vec!["a"; 257]).is_err());
        assert!(Fields::new([]).unwrap().are_none());
        assert!(fields(&["Build.Token", "pin"]).names("PIN") && !fields(&["a.pin"]).names("pin"));
    }

    fn document() -> impl Strategy<Value = Value> {
        let text = prop::sample::select(vec!["", "a", "pin", "x\"y\\", "é\u{1}", "[{", "a.pin"]);
        let leaf = prop_oneof![
            any::<i32>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
            Just(Value::Null)
        ];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            let member = (text.clone().prop_map(str::to_owned), inner.clone());
            prop_oneof![
                prop::collection::vec(inner, 0..5).prop_map(Value::from),
                prop::collection::vec(member, 0..5).prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The plain way.
    fn blank(value: &mut Value, is_meant: bool) {
        match value {
            Value::Null => {}
            Value::Bool(_) if is_meant => *value = Value::Null,
            Value::Number(_) if is_meant => *value = 0.into(),
            Value::String(text) if is_meant => *text = "*".into(),
            Value::Array(elements) => elements.iter_mut().for_each(|element| blank(element, is_meant)),
            Value::Object(members) => members.iter_mut().for_each(|(name, member)| {
                blank(member, is_meant || name == "pin" || name == "a.pin");
            }),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    proptest! {
        #[test]
        fn every_document_stays_json_and_equals_the_plain_way(document in document()) {
            let text = document.to_string();
            let got = fields(&["pin"]).overwritten(text.as_bytes()).map_or(text.clone(), |(got, _)| String::from_utf8(got).unwrap());
            prop_assert_eq!(got.len(), text.len());
            let mut got: Value = serde_json::from_str(&got).unwrap();
            let mut want = document;
            blank(&mut want, false);
            shorten(&mut got);
            shorten(&mut want);
            prop_assert_eq!(got, want);
        }
    }

    /// Stars are as many as there were bytes; here their number does not count.
    fn shorten(value: &mut Value) {
        match value {
            Value::String(text) if text.bytes().all(|byte| byte == b'*') => *text = String::new(),
            Value::Array(elements) => elements.iter_mut().for_each(shorten),
            Value::Object(members) => members.values_mut().for_each(shorten),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
