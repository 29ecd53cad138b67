//! What forms send, and the form that takes a token: it stands on the page of its own and wherever a page needs one.

use axum::body::Body;
use maud::{Markup, html};

use crate::access::tokens::TOKEN_BYTES_MAX;
use crate::params::Params;
use crate::problem::{Code, Problem};

/// Longest address that a browser is sent back to, bytes.
const NEXT_BYTES_MAX: usize = 2_048;

/// The form; it leads on to `next`.
pub fn sign_in(next: &str) -> Markup {
    html! {
        form .fields action="/sign-in" method="post" aria-label="Sign in" {
            label { "Token" input name="token" type="password" autocomplete="current-password" required maxlength=(TOKEN_BYTES_MAX); }
            input name="next" type="hidden" value=(local(next));
            button type="submit" { "Sign in" }
        }
        p {
            "The operator makes a token with " code { "pedigraph token new" } ". It is exchanged for a session of 12 hours, "
            "and kept neither in addresses nor in the browser's storage."
        }
    }
}

/// The values of a form that a browser sent; none where it cannot be read.
pub(crate) async fn values(body: Body, bytes_max: usize) -> Result<Params, Problem> {
    let bytes = axum::body::to_bytes(body, bytes_max).await;
    let bytes = bytes.map_err(|_| Problem::new(Code::TooLarge, format!("a form has at most {bytes_max} bytes")))?;
    Ok(std::str::from_utf8(&bytes).ok().and_then(Params::of_form).unwrap_or_default())
}

/// An address of this server, whatever was given: nobody is sent elsewhere.
pub fn local(address: &str) -> &str {
    let plain =
        address.len() <= NEXT_BYTES_MAX && address.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b'\\');
    if plain && address.starts_with('/') && !address.starts_with("//") { address } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for good in ["/", "/environments/prod?at=2h", "/search?q=a%20b"] {
            assert_eq!(local(good), good);
        }
        for bad in [
            "",
            "//evil.test",
            "https://evil.test",
            "/\\evil.test",
            "/a b",
            "/\n",
            "javascript:1",
            &format!("/{}", "x".repeat(2_048)),
        ] {
            assert_eq!(local(bad), "/", "{bad}");
        }
    }
}
