//! The check that stands before the handler of every route.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pedigraph_proto::TenantId;

use crate::access::scope::{Access, TokenScope};
use crate::access::sessions::{Key, key_of};
use crate::access::tokens::{Token, Tokens};
use crate::app::App;
use crate::problem::{Code, Problem};
use crate::rates::{Class, Whom};
use crate::serve::{Peer, network_of};
use crate::shares::Share;
use crate::tenant::Tenant;

/// Whose token came with the request; among its extensions where there are tokens.
#[derive(Clone)]
pub struct Caller {
    pub(crate) token: Arc<Token>,
    /// The session that stands for it, of a browser that signed in.
    pub(crate) session: Option<Key>,
}

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
    let caller = admit(&app, asks.access, request.method(), request.headers()).await.map_err(refused)?;
    let counted = Counted::of(&app, asks.class, caller.as_ref().map(|caller| &*caller.token), &request);
    let held = counted.admit(&app).map_err(refused)?;
    if let Some(caller) = caller {
        request.extensions_mut().insert(Tenant(caller.token.tenant.clone()));
        request.extensions_mut().insert(caller);
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

/// Who asks, of a request that may pass; `None` where no token is needed and none was looked at.
async fn admit(app: &App, access: Access, method: &Method, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
    let Some(tokens) = &app.config.tokens else { return Ok(None) };
    let says = Says::of(headers);
    let scope = match access {
        Access::Public => return Ok(None),
        Access::Hashes if says.is_none() => return Ok(None),
        Access::Bundles if app.config.public_ledger => return Ok(None),
        Access::Hashes | Access::Token => None,
        Access::Needs(scope) => Some(scope),
        Access::Bundles => Some(TokenScope::LedgerRead),
    };
    let says = says.ok_or_else(missing)?;
    tokens.refresh(app.now()).await;
    let caller = says.caller(app, tokens)?;
    if caller.session.is_some() && !method.is_safe() && !is_said_to_be_ours(headers) {
        return Err(Problem::new(Code::OriginNotAllowed, "with a session only pages of this server may send this"));
    }
    match scope {
        Some(scope) if !caller.token.scopes.contains(&scope) => Err(scope_missing(scope)),
        Some(_) | None => Ok(Some(caller)),
    }
}

/// By what a request says who asks.
enum Says {
    /// A token; `None` for a header that has none.
    Token(Option<String>),
    /// A session.
    Session(Key),
}

impl Says {
    /// The token that a request carries; only without one its session.
    fn of(headers: &HeaderMap) -> Option<Says> {
        if headers.contains_key(header::AUTHORIZATION) {
            return Some(Says::Token(given(headers)));
        }
        key_of(headers).map(Says::Session)
    }

    fn caller(self, app: &App, tokens: &Tokens) -> Result<Caller, Problem> {
        match self {
            Says::Token(given) => {
                let token = tokens.find(&given.ok_or_else(missing)?, app.now()).ok_or_else(unknown)?;
                Ok(Caller { token, session: None })
            }
            Says::Session(key) => {
                let token = app.sessions.find(&key, tokens, app.now()).ok_or_else(ended)?;
                Ok(Caller { token, session: Some(key) })
            }
        }
    }
}

/// A browser adds the cookie by itself, so it must also say whose page made it send this: [`host::check`] refused others.
///
/// [`host::check`]: crate::host::check
fn is_said_to_be_ours(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin")
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

fn ended() -> Problem {
    Problem::new(Code::Unauthenticated, "the session has ended, or its token was taken away; sign in again")
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

/// A person is asked on the page itself; a challenge that makes the browser ask for a password would cover it.
fn refused(problem: Problem) -> Response {
    let is_unauthenticated = problem.status() == axum::http::StatusCode::UNAUTHORIZED;
    let mut response = problem.into_response();
    if is_unauthenticated {
        let challenge = HeaderValue::from_static("Bearer realm=\"pedigraph\"");
        response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
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
