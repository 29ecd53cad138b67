//! `pedigraph deltas`: where verdicts differ from one version to the next.

use clap::Args;

use crate::arguments::{Client, Limit};
use crate::client::escape;
use crate::moment;
use crate::output::{Format, answer, say};

/// `pedigraph deltas`
#[derive(Args, Debug)]
pub(crate) struct Deltas {
    /// A vulnerability, such as CVE-2021-44228: every version in which its verdict changed.
    #[arg(required_unless_present_all = ["from", "to"], conflicts_with_all = ["from", "to"])]
    vulnerability: Option<String>,
    /// The older of two versions: digest or its beginning, image reference, tag, `prod/service`.
    #[arg(long, requires = "to")]
    from: Option<String>,
    /// The next version.
    #[arg(long, requires = "from")]
    to: Option<String>,
    #[command(flatten)]
    limit: Limit,
    /// As it was known then: RFC 3339, how long ago, or a ledger index.
    #[arg(long, value_name = "TIME|INDEX", value_parser = moment::parse_or_index)]
    as_of: Option<String>,
    #[command(flatten)]
    client: Client,
}

impl Deltas {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let query = [("from", self.from.as_deref()), ("to", self.to.as_deref()), ("asOf", self.as_of.as_deref())];
        let path = match &self.vulnerability {
            Some(id) => format!("/api/v1/vulnerabilities/{}/deltas", escape(id)),
            None => "/api/v1/vex-deltas".to_owned(),
        };
        let server = self.client.server();
        let body = server.list(&path, &query, &["deltas"], self.limit.rows())?;
        let rows = body["deltas"].as_array().cloned().unwrap_or_default();
        let columns = [
            ("VULNERABILITY", "/cve"),
            ("FROM VERSION", "/fromArtifactDigest"),
            ("TO VERSION", "/toArtifactDigest"),
            ("FROM", "/fromStatus"),
            ("TO", "/toStatus"),
            ("WHY", "/rationale/reason"),
            ("PROOF", "/rationale/evidenceLink"),
            ("SINCE", "/createdAt"),
        ];
        answer(self.client.output, &body, &rows, &columns);
        if self.client.output == Format::Table {
            say(&format!("{} deltas", rows.len()));
        }
        self.limit.say_if_cut(&body);
        server.up_to_date()
    }
}
