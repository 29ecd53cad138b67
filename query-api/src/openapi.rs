//! `/openapi.json`: the contract as OpenAPI 3.1, checked in beside this crate and held against the routes by a test.

use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::access::scope::Access;
use crate::respond::JSON;
use crate::route::Routes;

/// The document.
pub const DOCUMENT: &str = include_str!("../openapi.json");

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/openapi.json", Access::Public, openapi)
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, "no-cache")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::access::scope::TokenScope;
    use crate::problem::Code;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).expect("openapi.json is JSON")
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().expect("a path item").keys().map(|method| (method.clone(), path.clone()))
            })
            .filter(|(method, _)| method != "parameters")
            .collect();
        let registered: BTreeSet<(String, String)> = crate::routes::all()
            .listed()
            .iter()
            .map(|route| (route.method.to_owned(), route.path.replace("{*", "{")))
            .collect();
        assert_eq!(described, registered);
    }

    /// What a route asks for, as OpenAPI says it: scopes that are needed, and `{}` for "or nothing".
    fn security(access: Access) -> Value {
        let scheme = |name: &str, scopes: &[&str]| json!({ name: scopes });
        let both = |scopes: &[&str]| vec![scheme("bearer", scopes), scheme("basic", scopes)];
        match access {
            Access::Public => json!([]),
            Access::Hashes => Value::Array([vec![json!({})], both(&[])].concat()),
            Access::Token => Value::Array(both(&[])),
            Access::Needs(scope) => Value::Array(both(&[scope.as_str()])),
            Access::Bundles => Value::Array(both(&[TokenScope::LedgerRead.as_str()])),
        }
    }

    #[test]
    fn every_route_says_who_may_ask() {
        let document = document();
        let schemes = &document["components"]["securitySchemes"];
        assert_eq!((&schemes["bearer"]["scheme"], &schemes["basic"]["scheme"]), (&"bearer".into(), &"basic".into()));
        for route in crate::routes::all().listed() {
            let operation = &document["paths"][route.path.replace("{*", "{")][route.method];
            assert_eq!(operation["security"], security(route.access), "{} {}", route.method, route.path);
            // Whoever signs in brings a token in the form.
            let asks = route.access != Access::Public || (route.method, route.path) == ("post", "/sign-in");
            assert_eq!(operation["responses"]["401"].is_object(), asks, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn every_code_is_described() {
        let document = document();
        let codes = document["components"]["schemas"]["Code"]["enum"].as_array().expect("an enum").clone();
        let described: BTreeSet<&str> = codes.iter().filter_map(Value::as_str).collect();
        let ours = Code::ALL.iter().map(|code| code.as_str());
        let rejects = pedigraph_proto::message::Code::ALL.iter().map(|code| code.as_str());
        assert_eq!(described, ours.chain(rejects).collect());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(document: &Value, value: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let pointer = reference.strip_prefix('#').expect("a local reference");
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    members.values().for_each(|value| check(document, value));
                }
                Value::Array(items) => items.iter().for_each(|value| check(document, value)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let document = document();
        check(&document, &document);
    }
}
