//! The check that stands before the handler of every route.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pedigraph_proto::TenantId;

use crate::access::scope::{Access, TokenScope};
use crate::access::tokens::Token;
use crate::app::App;
use crate::browser::prefers_html;
use crate::problem::{Code, Problem};
use crate::rates::{Class, Whom};
use crate::serve::{Peer, network_of};
use crate::shares::Share;
use crate::tenant::Tenant;

/// Whose token came with the request; among its extensions where there are tokens.
#[derive(Clone)]
pub struct Caller(pub(crate) Arc<Token>);

/// What a route asks for, and what kind of work it is.
#[derive(Clone, Copy, Debug)]
pub struct Asks {
    /// Who may ask.
    pub access: Access,
    /// What is counted.
    pub class: Class,
}

/// Stands before the handler of every route: who asks, how often, how much at once.
pub async fn check(
    State((app, asks)): State<(App, Asks)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Response> {
    let token = admit(&app, asks.access, request.headers()).await.map_err(|problem| refused(problem, &request))?;
    let counted = Counted::of(&app, asks.class, token.as_deref(), &request);
    let held = counted.admit(&app).map_err(|problem| refused(problem, &request))?;
    if let Some(token) = token {
        request.extensions_mut().insert(Tenant(token.tenant.clone()));
        request.extensions_mut().insert(Caller(token));
    }
    let response = next.run(request).await;
    drop(held);
    Ok(response)
}

/// As what a request is counted.
struct Counted {
    whom: Whom,
    class: Class,
    waits: bool,
}

/// What a request has of its tenant's shares until it is answered.
#[derive(Default)]
struct Held {
    _asking: Option<Share>,
    _waiting: Option<Share>,
}

impl Counted {
    fn of(app: &App, class: Class, token: Option<&Token>, request: &Request) -> Counted {
        Counted { whom: whom(app, class, token, request), class, waits: waits(request) }
    }

    /// Refuses what comes too often or is too much at once.
    fn admit(self, app: &App) -> Result<Held, Problem> {
        if self.class == Class::Probes {
            return Ok(Held::default());
        }
        let classes = [Some(self.class), self.waits.then_some(Class::Waiters)];
        for class in classes.into_iter().flatten() {
            app.limiters.check(class, &self.whom).inspect_err(|_| app.metrics.refused(class))?;
        }
        let Whom::Tenant(tenant) = self.whom else { return Ok(Held::default()) };
        let full = |what: &str| {
            let detail = format!("too many {what} at once; try again");
            Problem::new(Code::Overloaded, detail).retry_after(1)
        };
        let asking = app.share(&app.asking, &tenant).ok_or_else(|| full("requests"))?;
        let waiting = self.waits.then(|| app.share(&app.waiters, &tenant).ok_or_else(|| full("requests that wait")));
        let waiting = waiting.transpose()?;
        Ok(Held { _asking: Some(asking), _waiting: waiting })
    }
}

/// Who is counted: the tenant, or for what anybody may have the address.
fn whom(app: &App, class: Class, token: Option<&Token>, request: &Request) -> Whom {
    match token {
        Some(token) => Whom::Tenant(token.tenant.clone()),
        None if app.config.tokens.is_none() && class != Class::Open => Whom::Tenant(TenantId::default()),
        None => Whom::Address(request.extensions().get::<Peer>().map(|peer| network_of(peer.0))),
    }
}

/// Whether a request asks to be answered only when something is visible.
fn waits(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair.starts_with("minIndex=") || pair == "wait=visible")
}

/// The token of a request that may pass; `None` where none is needed and none was looked at.
async fn admit(app: &App, access: Access, headers: &HeaderMap) -> Result<Option<Arc<Token>>, Problem> {
    let Some(tokens) = &app.config.tokens else { return Ok(None) };
    let scope = match access {
        Access::Public => return Ok(None),
        Access::Hashes if !headers.contains_key(header::AUTHORIZATION) => return Ok(None),
        Access::Bundles if app.config.public_ledger => return Ok(None),
        Access::Hashes | Access::Token => None,
        Access::Needs(scope) => Some(scope),
        Access::Bundles => Some(TokenScope::LedgerRead),
    };
    let given = given(headers).ok_or_else(missing)?;
    tokens.refresh(app.now()).await;
    let token = tokens.find(&given, app.now()).ok_or_else(unknown)?;
    match scope {
        Some(scope) if !token.scopes.contains(&scope) => Err(scope_missing(scope)),
        Some(_) | None => Ok(Some(token)),
    }
}

/// The token, as a bearer's or as the password of any user: browsers and `curl -u` know only that. Never from a URL,
/// which ends up in histories and logs. Several headers are ambiguous and therefore none.
fn given(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, credentials) = only.to_str().ok()?.trim().split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    Some(decoded.split_once(':')?.1.to_owned())
}

fn missing() -> Problem {
    let advice = "send a token: `Authorization: Bearer TOKEN`, any user name with the token as password, or --token \
                  (PEDIGRAPH_TOKEN) of the command line; the operator makes one with `pedigraph token new`";
    Problem::new(Code::Unauthenticated, advice)
}

/// The same text for both: who tries tokens does not learn which was good once.
fn unknown() -> Problem {
    let advice = "the token is unknown or has expired; ask the operator for a new one (`pedigraph token new`)";
    Problem::new(Code::Unauthenticated, advice)
}

fn scope_missing(scope: TokenScope) -> Problem {
    let scope = scope.as_str();
    let advice = format!(
        "this needs a token with the scope {scope}; the operator makes one with `pedigraph token new --scope {scope}`"
    );
    Problem::new(Code::ScopeMissing, advice).member("scope", scope)
}

/// The problem for a token of another tenant. That the log exists everybody may know: its checkpoints are public.
pub(crate) fn other_tenant() -> Problem {
    let scope = TokenScope::LedgerRead.as_str();
    let advice = format!("the entries of this log need a token with {scope} of its own tenant; yours is of another");
    Problem::new(Code::ScopeMissing, advice).member("scope", scope)
}

fn refused(problem: Problem, request: &Request) -> Response {
    let unauthenticated = problem.status() == axum::http::StatusCode::UNAUTHORIZED;
    let mut response = problem.into_response();
    if unauthenticated {
        let headers = response.headers_mut();
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pedigraph\""));
        // Asks a person for a password, which must not happen to who fetches data.
        if prefers_html(request) {
            let basic = HeaderValue::from_static("Basic realm=\"pedigraph\", charset=\"UTF-8\"");
            headers.append(header::WWW_AUTHENTICATE, basic);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_given(values: &[&str]) -> Option<String> {
        let values = values.iter().map(|value| (header::AUTHORIZATION, value.parse().expect("a header value")));
        given(&values.collect())
    }

    #[test]
    fn a_token_is_a_bearer_s_or_a_password() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(check_given(&["Bearer pdg_a"]).as_deref(), Some("pdg_a"));
        assert_eq!(check_given(&["bearer   pdg_a "]).as_deref(), Some("pdg_a"));
        assert_eq!(check_given(&[&basic("me:pdg_a")]).as_deref(), Some("pdg_a"));
        assert_eq!(check_given(&[&basic(":pdg_a:b")]).as_deref(), Some("pdg_a:b"));
        for bad in ["pdg_a", "Bearer", "Digest pdg_a", "Basic pdg_a", "Basic %%%", ""] {
            assert_eq!(check_given(&[bad]), None, "{bad}");
        }
        assert_eq!(check_given(&[&basic("pdg_a")]), None, "a user name is no password");
        assert_eq!(check_given(&["Bearer pdg_a", "Bearer pdg_b"]), None);
        assert_eq!(check_given(&[]), None);
    }
}
