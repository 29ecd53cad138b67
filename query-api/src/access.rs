//! Who may ask what: the scopes, what each route asks for, and the check that stands before its handler (SPEC §8).
//!
//! A route cannot be registered without its [`Access`], so nothing is open because somebody forgot it. Tenant and
//! scopes come from the token and from nowhere else. A server without a token file serves loopback only
//! ([`host`](crate::host)), and there every request has all scopes of the tenant `default`.

pub mod check;
pub mod scope;
pub(crate) mod sessions;
pub mod tokens;
