//! The rows of lines: who is a version of which line, in which order, and after whom. Each row says what is true from
//! its entry on; the last one below a bound counts.

use std::collections::BTreeSet;

use pedigraph_proto::{Nanos, TenantId};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::facts::derived_key;
use crate::rows::stamp::Order;
use crate::store::digest;
use crate::store::key::{Key, KeyReader};

/// The view's byte, after that of derived views.
pub(crate) const BYTE: u8 = b'l';
/// Bytes at the end of keys that say since when: index, ordinal.
pub(crate) const SINCE_BYTES: usize = 12;

/// Tables of one line, by what their keys hold. A place is (createdAt, digest), since is (index, ordinal).
pub(crate) mod table {
    /// since → [`super::Head`].
    pub(crate) const HEAD: u8 = b'h';
    /// place, since → [`super::Place`].
    pub(crate) const PLACE: u8 = b'p';
    /// number of a late change → [`super::Late`].
    pub(crate) const LATE: u8 = b'l';
    /// level, number of the run, place and number of the first change in it → [`super::Chunk`].
    pub(crate) const RUN: u8 = b'r';
    /// version, published, place, since → bytes of the version, `None` when it is there no more.
    pub(crate) const VERSION: u8 = b'v';
    /// level, where its first version stands (version, published, place), since → the earliest publication in a block.
    pub(crate) const BLOCK: u8 = b'b';
    /// published, place, since → version, `None` when it is there no more.
    pub(crate) const PUBLISHED: u8 = b'u';
    /// tag, when the artifact was called so, place, since → whether it is there.
    pub(crate) const TAGGED: u8 = b't';
    /// index, its manifest, since → whether it is there.
    pub(crate) const KIN: u8 = b'k';
    /// child, since → its derived parent and how it was found.
    pub(crate) const PARENT: u8 = b'c';
    /// parent, child, since → whether it is its derived parent.
    pub(crate) const CHILD: u8 = b'd';
}

/// Which line: a hash over what makes it one.
pub(crate) type LineId = [u8; 16];
/// Which tag of which repository.
pub(crate) type TagId = [u8; 16];
/// Tags by which a version was called, and when by each first.
pub(crate) type Tags = BTreeSet<(TagId, Order)>;
/// Reads all tags of a version.
pub(crate) type ReadTags<'r> = &'r dyn Fn() -> Result<Tags, Error>;
/// A hash over texts, each after its length.
pub(crate) fn id_of(texts: &[&str]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        hasher.update(&(text.len() as u64).to_be_bytes()).update(text.as_bytes());
    }
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    id
}

/// Where a version stands in its line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Pos {
    pub(crate) time: i64,
    /// Canonical.
    pub(crate) digest: String,
}

/// The beginning of every key of one table of a line.
pub(crate) fn of_line(tenant: &TenantId, line: &LineId, table: u8) -> Key {
    line_key(tenant, line).byte(table)
}

/// The beginning of every key of a line.
pub(crate) fn line_key(tenant: &TenantId, line: &LineId) -> Key {
    derived_key(tenant, BYTE).byte(b'L').bytes(line)
}

/// digest, since → [`Membership`]: what it is a version of.
pub(crate) fn member_key(tenant: &TenantId, digest: &str) -> Key {
    derived_key(tenant, BYTE).byte(b'M').text(digest)
}

/// digest, since → where the rows of tags end that count of it, of more than do: the end of a key.
pub(crate) fn calls_end_key(tenant: &TenantId, digest: &str) -> Key {
    derived_key(tenant, BYTE).byte(b'E').text(digest)
}

/// index, digest → nothing: an entry gave it another derived parent.
pub(crate) fn moved_key(tenant: &TenantId, index: u64) -> Key {
    derived_key(tenant, BYTE).byte(b'C').number(index)
}

/// Keys of this view.
pub(crate) trait InLine: Sized {
    /// A place.
    #[must_use]
    fn pos(self, pos: &Pos) -> Self;
    /// When a fact stands.
    #[must_use]
    fn order(self, order: Order) -> Self;
}

impl InLine for Key {
    fn pos(self, pos: &Pos) -> Key {
        self.time(Nanos(pos.time)).byte(before_sha256(&pos.digest)).text(&pos.digest)
    }

    fn order(self, (time, index, ordinal): Order) -> Key {
        self.time(Nanos(time)).number(index).ordinal(ordinal)
    }
}

/// Reads a place.
pub(crate) fn read_pos(reader: &mut KeyReader<'_>) -> Option<Pos> {
    let time = reader.time()?.0;
    reader.byte()?;
    Some(Pos { time, digest: reader.text()? })
}

/// What keeps digests of several algorithms in the order of their texts, which is that of places: a SHA-256 digest is not
/// written as its text ([`Key::text`]), and would come last.
fn before_sha256(digest: &str) -> u8 {
    match digest.strip_prefix("sha256:") {
        Some(_) => 1,
        None if digest < "sha256:" => 0,
        None => 2,
    }
}

/// How long a line is, and how it came to be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) members: u64,
    /// Changes so far that were not at its end.
    pub(crate) late: u64,
    /// The last place that any version ever had.
    pub(crate) top: Option<Pos>,
}

/// A version came to this place or left it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) there: bool,
    /// Versions before it then.
    pub(crate) below: u64,
    /// Late changes up to then, with this one.
    pub(crate) late: u64,
}

/// A change that was not at the end of its line: ranks above it move.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Late {
    pub(crate) pos: Pos,
    pub(crate) left: bool,
}

/// Some late changes of a run, by place and number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Chunk {
    /// What those before it in the run come to: one that came is 1, one that left -1.
    pub(crate) before: i64,
    pub(crate) changes: Vec<PackedLate>,
}

/// A late change in a run.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct PackedLate {
    pub(crate) time: i64,
    #[serde(with = "crate::rows::text")]
    pub(crate) digest: String,
    pub(crate) number: u64,
    pub(crate) left: bool,
}

impl PackedLate {
    /// Whether it is below a place.
    pub(crate) fn is_below(&self, pos: &Pos) -> bool {
        is_below(self.time, pos, || self.digest < pos.digest)
    }

    /// What it comes to.
    pub(crate) fn weight(&self) -> i64 {
        weight(self.left)
    }
}

/// A [`Chunk`] as it stands in its row: a rank looks at all of its changes, and at the digests of hardly any.
#[derive(Deserialize)]
pub(crate) struct StoredChunk<'a> {
    pub(crate) before: i64,
    #[serde(borrow)]
    pub(crate) changes: Vec<StoredLate<'a>>,
}

/// A [`PackedLate`] of it.
#[derive(Deserialize)]
pub(crate) struct StoredLate<'a> {
    time: i64,
    digest: &'a [u8],
    _number: u64,
    left: bool,
}

impl StoredLate<'_> {
    /// Whether it is below a place.
    pub(crate) fn is_below(&self, pos: &Pos) -> bool {
        is_below(self.time, pos, || digest::unpack(self.digest).is_some_and(|text| text < pos.digest))
    }

    /// What it comes to.
    pub(crate) fn weight(&self) -> i64 {
        weight(self.left)
    }
}

/// By time, then by digest, which is looked at only at one time.
fn is_below(time: i64, pos: &Pos, digest_is: impl FnOnce() -> bool) -> bool {
    time < pos.time || (time == pos.time && digest_is())
}

fn weight(left: bool) -> i64 {
    if left { -1 } else { 1 }
}

/// What an artifact is a version of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Membership {
    /// `None` for what is no version any more.
    pub(crate) line: Option<LineId>,
    /// The indexes above it.
    pub(crate) above: Vec<String>,
}

/// How a parent was found when none was declared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) enum FoundBy {
    Semver,
    Tag,
    Order,
}

/// What decides where a version stands, and after whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    pub(crate) line: LineId,
    pub(crate) pos: Pos,
    pub(crate) published: i64,
    /// [`TagVersion::sort_key`](crate::facts::lineage::tag_order::TagVersion::sort_key).
    pub(crate) version: Option<Vec<u8>>,
    /// Which tags it was called by, and when: of a change of nothing else those that change.
    pub(crate) tags: Tags,
    /// The indexes above it: manifests of one index are one version, and never each other's parents.
    pub(crate) above: BTreeSet<String>,
}

impl Version {
    /// Where it stands, and among which kin.
    pub(crate) fn stands(&self) -> (LineId, &Pos, &BTreeSet<String>) {
        (self.line, &self.pos, &self.above)
    }
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::TenantId;

    use super::*;

    #[test]
    fn keys_of_places_are_in_the_order_of_places() {
        let digests = ["blake3:00", "md5:ff", "sha1:7f"].map(str::to_owned).into_iter();
        let digests = digests.chain(["00", "7f", "ff"].map(|hex| format!("sha256:{}", hex.repeat(32))));
        let digests = digests.chain([format!("sha384:{}", "00".repeat(48)), format!("sha512:{}", "00".repeat(64))]);
        let places: Vec<Pos> = digests.map(|digest| Pos { time: 5, digest }).collect();
        let key = |pos: &Pos| Key::new(&TenantId::default(), BYTE).pos(pos);
        assert!(places.is_sorted() && places.iter().map(key).is_sorted());
        for pos in &places {
            let key = key(pos);
            let mut reader = KeyReader::after_view(key.as_bytes()).expect("a key");
            assert_eq!(read_pos(&mut reader).as_ref(), Some(pos));
        }
    }
}
