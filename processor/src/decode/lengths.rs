//! How long the texts of an event may be. What names a thing is never cut, since two things could become one: a longer
//! one refuses the event. What people read is cut.

use pedigraph_proto::event;
use pedigraph_proto::fact::change::{Artifact, Evidence, Family};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::{Event, PURL_BYTES_MAX};

use super::read::{FACT_TEXT_BYTES_MAX, clip_to};

/// What a text is; see [`Is::bytes_max`] for how long it may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    /// Names a thing: an environment, a service, a run, a person, a digest in whatever form.
    Name,
    /// An id that others give, often a URI, or what counts such ids.
    Id,
    /// A purl, a reference or a URL.
    Reference,
    /// What people read in lists.
    Text,
    /// What people read by itself, and signatures.
    Long,
}

impl Is {
    /// Most bytes.
    #[inline]
    fn bytes_max(self) -> usize {
        match self {
            Is::Name => 1_024,
            // As for ids and names of attributes (SPEC §2.4).
            Is::Id => 2_048,
            Is::Reference => PURL_BYTES_MAX,
            Is::Text => 4_096,
            Is::Long => FACT_TEXT_BYTES_MAX,
        }
    }

    fn is_cut(self) -> bool {
        matches!(self, Is::Text | Is::Long)
    }
}

/// An event, or an item of one, whose texts have lengths.
pub(super) trait Fit {
    /// Cuts what may be cut, and refuses names that are too long.
    fn fit(&mut self) -> Result<(), Reject>;
}

/// A text, or a list of texts.
trait Texts {
    fn fit_as(&mut self, is: Is, event: &str, field: &str) -> Result<(), Reject>;
}

impl Texts for String {
    #[inline]
    fn fit_as(&mut self, is: Is, event: &str, field: &str) -> Result<(), Reject> {
        // Nearly always, and for each text of each event.
        if self.len() <= is.bytes_max() { Ok(()) } else { make_fit(self, is, event, field) }
    }
}

#[cold]
fn make_fit(text: &mut String, is: Is, event: &str, field: &str) -> Result<(), Reject> {
    if is.is_cut() {
        *text = clip_to(text, is.bytes_max()).to_owned();
        return Ok(());
    }
    let (field, bytes, bytes_max) = (camel_case(field), text.len(), is.bytes_max());
    let reason = format!(
        "{field} of {event} has {bytes} bytes, at most {bytes_max} are taken: names are not cut; send a shorter one"
    );
    Err(Reject::new(Code::TooLarge, reason))
}

impl Texts for Vec<String> {
    fn fit_as(&mut self, is: Is, event: &str, field: &str) -> Result<(), Reject> {
        self.iter_mut().try_for_each(|text| text.fit_as(is, event, field))
    }
}

/// The name of a field in JSON.
fn camel_case(field: &str) -> String {
    let mut words = field.trim_start_matches("r#").split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        name + &initial.to_ascii_uppercase() + rest
    })
}

macro_rules! fit {
    ($($name:ident { $($is:ident: $($field:ident)+;)* })*) => {
        $(impl Fit for event::$name {
            fn fit(&mut self) -> Result<(), Reject> {
                $($(self.$field.fit_as(Is::$is, stringify!($name), stringify!($field))?;)+)*
                Ok(())
            }
        })*
    };
}

/// The table: what each text of each event is.
macro_rules! events {
    ($($name:ident $fields:tt)*) => {
        fit! { $($name $fields)* }

        impl Fit for Event {
            fn fit(&mut self) -> Result<(), Reject> {
                match self { $(Event::$name(event) => event.fit(),)* }
            }
        }
    };
}

events! {
    ChangeMerged { Name: commit target_branch author; Id: change_id repository; Reference: url; Text: title; }
    RefUpdated { Name: r#ref commit previous_commit; Id: repository; }
    RepositoryObserved { Name: name owner; Id: repository; Reference: url; }
    RunStarted {
        Name: run pipeline parent_run commit; Id: repository builder run_source parent_run_source; Reference: url;
    }
    RunFinished {
        Name: run pipeline parent_run commit artifact_digests; Id: repository builder run_source parent_run_source;
        Reference: url artifact_refs; Text: errors;
    }
    StepFinished { Name: step run name; Id: run_source; Reference: url; Text: errors; }
    ArtifactPackaged {
        Name: artifact_digest platform commit run pipeline parent_digests base_digest;
        Id: repository change_id builder run_source; Reference: artifact_ref purl sbom_uri base_ref;
    }
    ArtifactPublished {
        Name: artifact_digest platform run actor; Id: run_source; Reference: artifact_ref purl sbom_uri;
    }
    ArtifactSigned { Name: artifact_digest key_id signer; Reference: artifact_ref; Long: signature; }
    ArtifactDeleted { Name: artifact_digest actor; Reference: artifact_ref; }
    ArtifactDownloaded { Name: artifact_digest actor; Reference: artifact_ref; }
    TagObserved { Name: tag digest; Reference: repository; }
    ImageObserved {
        Name: digest tags platform config_digest layer_digests diff_ids base_digest commit version subject_digest
            artifact_type parent_digests;
        Id: repository; Reference: artifact_ref base_ref; Text: created;
    }
    AliasObserved { Name: digests; }
    SbomAttached {
        Name: artifact_digest sbom_digest format spec_version tool component_set root_name root_version;
        Id: serial_number; Reference: artifact_ref purl uri;
    }
    ComponentsListed { Name: component_set; }
    AttestationAttached {
        Name: artifact_digests subject_names statement_digest commit;
        Id: predicate_type builder build_type invocation repository; Reference: key_ids;
        Text: started_on finished_on summary;
    }
    ScanCompleted { Name: artifact_digest scanner scanner_version scan_id; Reference: artifact_ref target; }
    AdvisoryPublished { Name: id aliases severity format; Text: modified published withdrawn summary; }
    VexIssued { Name: issuer document_version format; Id: document_id; Text: document_time; }
    TestsFinished {
        Name: artifact_digest run suite environment; Id: run_source; Reference: artifact_ref url; Text: reason;
    }
    ReachabilityAnalyzed { Name: artifact_digest vulnerability status gates tool; }
    RebuildChecked { Name: artifact_digest rebuilt_digest run; Id: run_source; }
    ApprovalDecided { Name: artifact_digest environment decision actor; Text: reason; }
    EnvironmentChanged { Name: environment name; Reference: url; }
    ServiceDeployed {
        Name: service environment cluster region namespace artifact_digest config_digest flags canary_group actor run;
        Id: run_source; Reference: artifact_ref url; Text: reason;
    }
    ServiceRemoved { Name: service environment cluster namespace actor; Text: reason; }
    CanaryChanged {
        Name: service environment cluster namespace artifact_digest canary_group actor; Reference: artifact_ref;
        Text: reason;
    }
    FlagChanged { Name: flag environment service actor; Reference: value; }
    ConfigChanged { Name: service environment config_digest previous_digest actor; }
    FreezeChanged { Name: environment service actor; Text: reason; }
    OpaqueReceived { Text: event_type media_type; }
    MessageRejected { Name: code format forced_format; Text: reason; }
    KeyRotated { Name: old_key new_key; }
    ViewRootRecorded { Name: root; }
    BodyErased { Name: body_digest actor; Text: reason; }
    GapAccepted { Name: cluster topic; Text: reason; }
    PolicyPublished {}
}

fit! {
    Material { Name: uri digest; }
    PlatformManifest { Name: digest platform artifact_type; }
    HistoryEntry { Text: created_by created; }
    Finding {
        Name: vulnerability aliases package_name installed_version fixed_version severity; Reference: purl;
        Text: status;
    }
    AffectedPackage { Name: ecosystem name versions; Reference: purl; }
    VexStatement {
        Name: vulnerability aliases product_digests; Reference: product subcomponents;
        Text: raw_status justification time; Long: impact action;
    }
}

/// The same for the items of an event of our own. Those of other documents are cut by their readers, since one long
/// name among many must not cost the rest (SPEC §2.4).
pub(super) fn fit_items(event: &mut Event) -> Result<(), Reject> {
    match event.family_mut() {
        Family::Evidence(Evidence::ScanCompleted(scan)) => fit_all(&mut scan.findings),
        Family::Evidence(Evidence::VexIssued(vex)) => fit_all(&mut vex.statements),
        Family::Evidence(Evidence::AdvisoryPublished(advisory)) => fit_all(&mut advisory.affected),
        Family::Evidence(Evidence::AttestationAttached(statement)) => fit_all(&mut statement.materials),
        Family::Artifact(Artifact::ArtifactPackaged(packaged)) => fit_all(&mut packaged.materials),
        Family::Artifact(Artifact::ImageObserved(image)) => {
            fit_all(&mut image.manifests).and_then(|()| fit_all(&mut image.history))
        }
        Family::Source(_)
        | Family::Work(_)
        | Family::Artifact(_)
        | Family::Evidence(_)
        | Family::Deploy(_)
        | Family::Control(_) => Ok(()),
    }
}

fn fit_all(items: &mut [impl Fit]) -> Result<(), Reject> {
    items.iter_mut().try_for_each(Fit::fit)
}
