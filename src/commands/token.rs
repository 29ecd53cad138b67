//! `pedigraph token …`: the file of static tokens. A server that runs reads it again by itself.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use pedigraph_proto::{Nanos, TenantId};
use pedigraph_query_api::TokenScope;
use pedigraph_query_api::access::tokens::{self, SECRET_BYTES, Token};
use serde_json::{Value, json};

use crate::arguments::no_tenant;
use crate::files::Draft;
use crate::node::now_ns;
use crate::output::{Exit, Failure, Format, answer, put, say};

/// The file.
#[derive(Args, Debug)]
pub(crate) struct TokenFile {
    /// The server's file of tokens.
    #[arg(long, env = "PEDIGRAPH_TOKENS", value_name = "FILE")]
    tokens: PathBuf,
}

/// `pedigraph token …`
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Make a token and print it, once: the file keeps its hash only.
    New {
        /// Who gets it.
        #[arg(long)]
        name: String,
        /// What it allows: lineage:read, lineage:export, events:write, ledger:read, admin. None implies another; give
        /// several.
        #[arg(long = "scope", required = true, value_parser = scope)]
        scopes: Vec<TokenScope>,
        /// Whose data.
        #[arg(long, default_value = "default")]
        tenant: String,
        /// From when on it is worth nothing (RFC 3339); without it: never.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        #[command(flatten)]
        file: TokenFile,
    },
    /// Names, tenants and scopes.
    List {
        #[command(flatten)]
        file: TokenFile,
        /// How to print.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Take a token away. A server that runs refuses it within a second.
    Remove {
        /// Whose.
        name: String,
        #[command(flatten)]
        file: TokenFile,
    },
}

fn scope(word: &str) -> Result<TokenScope, String> {
    let known = TokenScope::ALL.map(TokenScope::as_str).join(", ");
    TokenScope::parse(word).ok_or_else(|| format!("one of {known}"))
}

impl Command {
    /// Does what was asked.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Command::New { name, scopes, tenant, expires, file } => {
                let tenant = TenantId::new(&tenant).ok_or_else(|| no_tenant(&tenant))?;
                let expires = expires.as_deref().map(expiry).transpose()?;
                let scopes = scopes.into_iter().collect();
                file.add(Token { name, tenant, scopes, sha256: [0; 32], expires })
            }
            Command::List { file, output } => file.list(output),
            Command::Remove { name, file } => file.remove(&name),
        }
    }
}

fn expiry(text: &str) -> anyhow::Result<Nanos> {
    let wrong = || {
        Failure::error(
            Exit::Usage,
            format!("--expires {text}: a time to come in RFC 3339, such as 2027-01-01T00:00:00Z"),
        )
    };
    Nanos::parse(text).filter(|at| at.0 > now_ns()).ok_or_else(wrong)
}

impl TokenFile {
    fn add(&self, mut token: Token) -> anyhow::Result<()> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).context("no randomness")?;
        let text = tokens::text_of(secret);
        token.sha256 = tokens::hash(&text);
        self.replace(|old| {
            if self.parsed(old)?.iter().any(|other| other.name == token.name) {
                let what = format!("{:?} has a token already: remove it, or take another name", token.name);
                return Err(Failure::error(Exit::Usage, what));
            }
            let space = if old.is_empty() { "" } else { "\n" };
            let end = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
            Ok(format!("{old}{end}{space}{}", token.to_toml()))
        })?;
        put(&text);
        say(&format!("the token of {:?}; it cannot be shown again", token.name));
        Ok(())
    }

    fn list(&self, output: Format) -> anyhow::Result<()> {
        let row = |token: &Token| {
            let scopes: BTreeSet<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
            let mut row = json!({ "name": token.name, "tenant": token.tenant.as_str(), "scopes": scopes });
            if let Some(at) = token.expires {
                row["expires"] = at.to_string().into();
            }
            row
        };
        let rows: Vec<Value> = self.parsed(&self.text()?)?.iter().map(row).collect();
        let body = json!({ "tokens": rows });
        if output != Format::Table {
            answer(output, &body, &rows, &[]);
            return Ok(());
        }
        let mut rows = rows;
        for row in &mut rows {
            let scopes: Vec<_> = row["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            row["scopes"] = scopes.join(",").into();
        }
        let columns = [("NAME", "/name"), ("TENANT", "/tenant"), ("SCOPES", "/scopes"), ("EXPIRES", "/expires")];
        answer(output, &body, &rows, &columns);
        Ok(())
    }

    fn remove(&self, name: &str) -> anyhow::Result<()> {
        if !self.tokens.exists() {
            return Err(Failure::error(Exit::NotFound, format!("there is no file {}", self.tokens.display())));
        }
        self.replace(|old| {
            let all = self.parsed(old)?;
            let none = || Failure::error(Exit::NotFound, format!("nobody named {name:?} has a token"));
            let position = all.iter().position(|token| token.name == name).ok_or_else(none)?;
            let new = without_table(old, position);
            let kept = tokens::parse(&new).is_ok_and(|left| {
                left.len() + 1 == all.len() && left.iter().all(|token| token.name != name && all.contains(token))
            });
            // Written by hand in another way than tables, where lines do not tell where one ends.
            let advice = || format!("{}: remove {name:?} with an editor", self.tokens.display());
            if kept { Ok(new) } else { Err(Failure::error(Exit::Error, advice())) }
        })?;
        say(&format!("{name:?} has no token any more"));
        Ok(())
    }

    fn parsed(&self, text: &str) -> anyhow::Result<Vec<Token>> {
        tokens::parse(text).map_err(|why| Failure::error(Exit::Usage, format!("{}: {why}", self.tokens.display())))
    }

    fn text(&self) -> anyhow::Result<String> {
        fs::read_to_string(&self.tokens).with_context(|| format!("cannot read {}", self.tokens.display()))
    }

    /// The file has another text, in one step. Who has it and who may read it stays; a new one is its maker's alone.
    fn replace(&self, change: impl FnOnce(&str) -> anyhow::Result<String>) -> anyhow::Result<()> {
        let target = if self.tokens.exists() { fs::canonicalize(&self.tokens)? } else { self.tokens.clone() };
        let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = fs::File::open(dir).with_context(|| format!("cannot open {}", dir.display()))?;
        // Of two commands at the same time one waits, instead of losing what the other did. A killed one leaves no
        // lock.
        dir.lock().context("cannot lock the file's directory")?;
        let old = if target.exists() { self.text()? } else { String::new() };
        let new = change(&old)?;
        self.parsed(&new)?;
        let mut draft = Draft::beside(&target)?;
        let set = || format!("cannot set owner and mode of {}", target.display());
        if let Ok(now) = fs::metadata(&target) {
            fchown(&draft.file, Some(now.uid()), Some(now.gid())).with_context(set)?;
            draft.file.set_permissions(now.permissions()).with_context(set)?;
        } else {
            draft.file.set_permissions(Permissions::from_mode(0o600)).with_context(set)?;
        }
        draft.file.write_all(new.as_bytes())?;
        draft.become_file(&target)?;
        // A token that was taken away must not come back with a power cut.
        Ok(dir.sync_all()?)
    }
}

/// The text without its n-th `[[token]]` table: from its head to its last line. What stands before the next one is said
/// of that.
fn without_table(text: &str, position: usize) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut heads = (0..lines.len()).filter(|n| lines[*n].trim_start().starts_with('[')).skip(position);
    let Some(begin) = heads.next() else { return text.to_owned() };
    let next = heads.next().unwrap_or(lines.len());
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let end = (begin..next).rev().find(|n| is_content(lines[*n])).map_or(next, |last| last + 1);
    [&lines[..begin], &lines[end..]].concat().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_cut_out_and_all_comments_stay() {
        let a = "# ours\n\n[[token]]\nname = \"a\"\nscopes = [\n  \"admin\",\n]\n\n";
        let text = &format!("{a}# of b\n[[token]]\nname = \"b\" # b\n# end\n");
        assert_eq!(without_table(text, 0), "# ours\n\n\n# of b\n[[token]]\nname = \"b\" # b\n# end\n");
        let without_second = text.replace("[[token]]\nname = \"b\" # b\n", "");
        assert_eq!(without_table(text, 1), without_second);
        assert_eq!(without_table(text, 2), *text);
    }
}
