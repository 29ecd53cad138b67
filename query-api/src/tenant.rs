//! Whose data a request is about.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use pedigraph_ledger::LogId;
use pedigraph_proto::TenantId;

use crate::problem::{Code, Problem};

/// Whose data is asked for: the token's tenant, which [`access`](crate::access) puts among the request's extensions. It
/// never comes from a URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tenant(pub TenantId);

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Tenant, Infallible> {
        Ok(parts.extensions.get::<Tenant>().cloned().unwrap_or_else(|| Tenant(TenantId::default())))
    }
}

/// A tenant's log.
pub fn log_of(tenant: &TenantId) -> Result<LogId, Problem> {
    LogId::new(tenant.as_str()).ok_or_else(|| Problem::new(Code::NotFound, "there is no such log"))
}
