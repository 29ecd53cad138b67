//! Stub.

use pedigraph_proto::message::{Code, Reject};

use super::{Found, Given};

pub(super) fn decode(_: &str, _: &Given<'_>) -> Result<Found, Reject> {
    Err(Reject::new(Code::UnsupportedFormat, "not yet"))
}
pub(super) fn decode_lines(_: &str, _: &Given<'_>) -> Result<Found, Reject> {
    Err(Reject::new(Code::UnsupportedFormat, "not yet"))
}
