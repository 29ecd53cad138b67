//! Enums of events in JSON: lower_snake without prefix, absent as the empty string (SPEC §2.1).

macro_rules! enum_as_lower_snake {
    ($module:ident, $enum:path, $prefix:literal) => {
        /// The JSON form of one enum, for `#[serde(with = …)]`.
        pub mod $module {
            use serde::{Deserialize, Deserializer, Serializer};
            use $enum as Enum;

            /// Reads the JSON word; `None` when there is no such value.
            pub fn parse(word: &str) -> Option<Enum> {
                if word.is_empty() {
                    return Some(Enum::default());
                }
                Enum::from_str_name(&format!(concat!($prefix, "{}"), word.to_ascii_uppercase().replace('-', "_")))
            }

            /// The JSON word; empty for the unspecified value.
            pub fn word(value: Enum) -> String {
                match value.as_str_name().strip_prefix($prefix) {
                    None | Some("UNSPECIFIED") => String::new(),
                    Some(name) => name.to_ascii_lowercase(),
                }
            }

            /// Writes the word.
            pub fn serialize<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&word(Enum::try_from(*value).unwrap_or_default()))
            }

            /// Reads the word; `null` is the unspecified value.
            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
                let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(0) };
                let value = parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unknown value {text:?}")))?;
                Ok(value.into())
            }
        }
    };
}

enum_as_lower_snake!(outcome, crate::event::Outcome, "OUTCOME_");
enum_as_lower_snake!(artifact_kind, crate::event::ArtifactKind, "ARTIFACT_KIND_");
enum_as_lower_snake!(digest_kind, crate::event::DigestKind, "DIGEST_KIND_");
enum_as_lower_snake!(verification, crate::event::Verification, "VERIFICATION_");
enum_as_lower_snake!(vex_status, crate::event::VexStatus, "VEX_STATUS_");
enum_as_lower_snake!(strategy, crate::event::Strategy, "STRATEGY_");
enum_as_lower_snake!(status, crate::wire::Status, "STATUS_");
