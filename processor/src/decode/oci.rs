//! Stub.

use pedigraph_proto::message::{Code, Reject};

use super::{Found, Given};

pub(super) fn decode(_: super::detect::Format, _: &str, _: &Given<'_>) -> Result<Found, Reject> {
    Err(Reject::new(Code::UnsupportedFormat, "not yet"))
}
