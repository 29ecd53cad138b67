//! Answers that wait for their clients, bounded in sum.
//!
//! Each answer has a limit of its own, but one whose client is slow, or takes nothing, stays in memory until it is sent or
//! the connection ends. So the bytes of all of them have a limit, too, of which no tenant takes another's part.

use axum::body::Body;
use bytes::Bytes;
use pedigraph_proto::TenantId;

use crate::app::App;
use crate::problem::{Code, Problem};
use crate::shares::Share;

/// What a client that takes its answers needs at most for them.
const RETRY_SECONDS: u32 = 5;

/// The bytes of an answer. They count for as long as they are in memory: hyper may have them when the body is at its end.
struct Counted {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl App {
    /// The body of a tenant's answer; a problem when too much waits to be taken.
    pub(crate) fn body_of(&self, tenant: &TenantId, bytes: impl Into<Bytes>) -> Result<Body, Problem> {
        let bytes = bytes.into();
        let share = self.unread.take_many(tenant, bytes.len(), self.has_several_tenants());
        let share = share.ok_or_else(|| self.too_much_unread())?;
        Ok(Body::from(Bytes::from_owner(Counted { bytes, _share: share })))
    }

    /// A problem if no answer of this tenant would have room: before it is made.
    pub(crate) fn has_room_for_answers(&self, tenant: &TenantId) -> Result<(), Problem> {
        let room = self.share(&self.unread, tenant);
        room.map(drop).ok_or_else(|| self.too_much_unread())
    }

    fn too_much_unread(&self) -> Problem {
        self.metrics.unread_refused.inc();
        let mib = self.limits().unread_bytes_max >> 20;
        let detail = format!(
            "your share of {mib} MiB of answers that wait to be taken is used up; read the answers to what you asked \
             before, or close those connections, and ask again"
        );
        Problem::new(Code::Overloaded, detail).retry_after(RETRY_SECONDS)
    }
}
