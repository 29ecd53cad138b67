//! `/overview`: how well what runs in production is known, and what of it is vulnerable.

mod known;
mod panels;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::{Error, Scope};

use crate::access::scope::{Access, TokenScope};
use crate::answer::environment::environment_of;
use crate::app::App;
use crate::link::encoded;
use crate::pages::frame::{
    Frame, at_moment, environment_link, further, how_to_send, moment_fields, moment_options, next_page, page, quoted,
    rest_of,
};
use crate::pages::overview::known::{Known, Thing};
use crate::pages::overview::panels::panels;
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;

/// Services of one page.
const SERVICES_MAX: usize = 100;
/// Things of one service.
const RUNNING_MAX: usize = 100;
/// Environments among whose names those of production are looked for.
const ENVIRONMENTS_MAX: usize = 100;
/// Words that make an environment one of production.
const PRODUCTION: [&str; 4] = ["prod", "production", "prd", "live"];

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/overview", Access::Needs(TokenScope::LineageRead), overview)
}

/// What is looked at.
#[derive(Default)]
struct Looked {
    things: Vec<Thing>,
    /// The environments.
    environments: Vec<String>,
    /// Those of which more runs than is looked at.
    cut: Vec<String>,
    /// Key of the next page, of one environment.
    next: Option<Vec<u8>>,
    /// There are environments whose names nobody looked at.
    unread: bool,
}

async fn overview(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    app.page(read, |scope, read, fresh| {
        let looked = looked_at(scope, read)?;
        let known = Known::of(scope, &looked.things)?;
        let next = read.next(fresh, looked.next.clone()).map(|token| next_page("/overview", &token, read));
        let one = if let [only] = &looked.environments[..] { Some(only) } else { None };
        let path = one.map_or_else(
            || "/api/v1/environments".to_owned(),
            |name| format!("/api/v1/environments/{}", encoded(name)),
        );
        let name = one.map_or_else(String::new, |name| format!(" {}", quoted(name)));
        let command = format!("pedigraph env{name}{}", moment_options(read));
        let frame = Frame { title: "Overview", json: &at_moment(&path, read), command: &command, read };
        Ok(page(&frame, "", fresh, &content(&looked, &known, next.as_deref(), read)))
    })
    .await
}

/// What runs in the environment that is asked for, else in those whose names say production.
fn looked_at(scope: &Scope, read: &Read) -> Result<Looked, Problem> {
    let mut looked = Looked::default();
    let limit = read.page_size.min(SERVICES_MAX);
    if let Some(name) = read.params.get("environment") {
        let (environment, next) = environment_of(scope, name, false, read.after.as_deref(), limit)?;
        looked.environments.push(name.to_owned());
        looked.add(environment);
        return Ok(Looked { next, ..looked });
    }
    let all = scope.environments_page(None, ENVIRONMENTS_MAX)?;
    looked.unread = all.next.is_some();
    let names = all.rows.into_iter().map(|environment| environment.environment).filter(|name| is_production(name));
    for name in names {
        let left = limit.saturating_sub(looked.things.len());
        let page = if left == 0 { None } else { page_within(scope, &name, left)? };
        match page {
            Some((environment, next)) => {
                looked.cut.extend(next.map(|_| name.clone()));
                looked.add(environment);
            }
            None => looked.cut.push(name.clone()),
        }
        looked.environments.push(name);
    }
    Ok(looked)
}

/// A page of an environment; `None` when one question may not read more.
fn page_within(
    scope: &Scope,
    name: &str,
    limit: usize,
) -> Result<Option<pedigraph_projector::EnvironmentPage>, Problem> {
    match scope.environment_page(name, false, None, limit) {
        Err(Error::TooExpensive { .. }) => Ok(None),
        page => Ok(page?),
    }
}

impl Looked {
    fn add(&mut self, environment: pedigraph_projector::answers::Environment) {
        for service in environment.services {
            let is_cut = rest_of(&service, RUNNING_MAX).is_some();
            if is_cut && !self.cut.contains(&environment.environment) {
                self.cut.push(environment.environment.clone());
            }
            let (environment, service) = (&environment.environment, (service.service, service.running));
            self.things.extend(service.1.into_iter().take(RUNNING_MAX).map(|running| Thing {
                environment: environment.clone(),
                service: service.0.clone(),
                running,
            }));
        }
    }
}

fn is_production(name: &str) -> bool {
    name.split(|letter: char| !letter.is_alphanumeric()).any(|word| PRODUCTION.contains(&word.to_lowercase().as_str()))
}

fn content(looked: &Looked, known: &Known, next: Option<&str>, read: &Read) -> Markup {
    html! {
        h1 { "Overview" }
        p .lead {
            "How well is known what runs in "
            @if looked.environments.is_empty() { "production" }
            @for (n, name) in looked.environments.iter().enumerate() { @if n > 0 { ", " } (environment_link(name, read)) }
            ", and what of it is vulnerable."
        }
        (form(read))
        @if looked.things.is_empty() { (nothing(looked, read)) } @else {
            (scope_of(looked, known, read))
            (panels(known, &looked.things, read))
        }
        (further(next))
    }
}

fn form(read: &Read) -> Markup {
    html! {
        form .fields action="/overview" method="get" aria-label="Another environment" {
            label { "Environment" input name="environment" type="text" value=(read.params.get("environment").unwrap_or_default()) placeholder="all of production" maxlength="1024"; }
            (moment_fields(read))
            button type="submit" { "Show" }
            @if read.params.get("environment").is_some() { a href=(at_moment("/overview", read)) { "All of production" } }
        }
    }
}

fn nothing(looked: &Looked, read: &Read) -> Markup {
    html! {
        @if looked.environments.is_empty() {
            p .empty {
                "No environment is named as one of production (" (PRODUCTION.join(", ")) "). Name another one above, or "
                a href=(at_moment("/environments", read)) { "see all environments" } "."
            }
        } @else { p .empty { "Nothing runs there, as far as was recorded." } }
        (how_to_send())
    }
}

/// Of what the figures are, and what is left out of them.
fn scope_of(looked: &Looked, known: &Known, read: &Read) -> Markup {
    let address = |name: &str| at_moment(&format!("/overview?environment={}", encoded(name)), read);
    html! {
        p {
            @let all = looked.things.len();
            @if looked.cut.is_empty() && looked.next.is_none() && read.after.is_none() && known.seen == all {
                "Of all " (all) @if all == 1 { " thing that runs there." } @else { " things that run there." }
            } @else {
                "Of " (known.seen) " of the things that run there"
                @if known.seen < all { ", since one question may not read more" }
                "."
            }
            @if !looked.cut.is_empty() {
                " More runs in: " @for name in &looked.cut { a href=(address(name)) { (name) } " " }
            }
            @if looked.unread {
                " Environments beyond the first " (ENVIRONMENTS_MAX) " by name were not looked at; name them above."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_production;

    #[test]
    fn production_is_a_word_of_a_name() {
        for name in ["prod", "Production", "eu/prod", "shop-prod-2", "live", "PRD"] {
            assert!(is_production(name), "{name}");
        }
        for name in ["", "staging", "product", "delivery", "preprod"] {
            assert!(!is_production(name), "{name}");
        }
    }
}
