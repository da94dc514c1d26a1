//! Names for bytes: BLAKE3 digests, canonical JSON, and the key of a stage.
//!
//! Everything in the store is found through the functions of this file, so they must never change
//! their meaning. No I/O here: callers bring the bytes. Must not know: files, stages, the store.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::error::{Error, Result};

/// A BLAKE3 digest, shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of the canonical JSON of a value.
    pub fn of_json(value: &Value) -> Self {
        Self::of(canonical_json(value).as_bytes())
    }

    /// Finishes an incremental hasher.
    pub fn finish(hasher: &blake3::Hasher) -> Self {
        Self(*hasher.finalize().as_bytes())
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight digits: enough for a person to tell variants apart.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A BLAKE3 digest.", "pattern": "^[0-9a-f]{64}$" })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        blake3::Hash::from_hex(text)
            .ok()
            .filter(|_| !text.bytes().any(|byte| byte.is_ascii_uppercase()))
            .map(|hash| Self(*hash.as_bytes()))
            .ok_or_else(|| Error::user(format!("`{text}` is not a digest (64 lower-case hexadecimal digits)")))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// JSON with sorted keys, no spaces, and one spelling per number (5e-7 and 0.0000005 are the same text).
pub fn canonical_json(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let fields: Vec<String> = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical_json(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical_json).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// What a stage key is made of; kept in every record, so that `explain` can compare two of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub stage: String,
    pub version: u32,
    pub params: Value,
    /// Input name to content digest, and never to an upstream key: if outputs are equal, nothing below is computed again.
    pub inputs: BTreeMap<String, Digest>,
}

impl Manifest {
    /// `blake3::derive_key("dean <stage> key v1", canonical JSON)`.
    pub fn key(&self) -> Digest {
        let value = serde_json::json!({
            "stage": self.stage, "version": self.version, "params": self.params, "inputs": self.inputs,
        });
        Digest(blake3::derive_key(&format!("dean {} key v1", self.stage), canonical_json(&value).as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(params: Value) -> Manifest {
        Manifest {
            stage: "select".into(),
            version: 1,
            params,
            inputs: BTreeMap::from([("a".into(), Digest::of(b"a"))]),
        }
    }

    #[test]
    fn spelling_and_order_do_not_change_a_key_but_values_do() {
        let typed: Value = serde_json::from_str(r#"{"q":0.0000005,"p":1e-5}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"p":0.00001,"q":5e-7}"#).unwrap();
        assert_eq!(manifest(typed.clone()).key(), manifest(other).key());
        assert_ne!(manifest(typed).key(), manifest(json!({"p": 1e-5, "q": 6e-7})).key());
    }

    #[test]
    fn every_part_of_a_manifest_enters_the_key() {
        let base = manifest(json!({}));
        let mut others = [base.clone(), base.clone(), base.clone()];
        others[0].stage = "score".into();
        others[1].version = 2;
        others[2].inputs.insert("a".into(), Digest::of(b"b"));
        assert!(others.iter().all(|other| other.key() != base.key()));
    }

    #[test]
    fn digests_survive_text() {
        let digest = Digest::of(b"dean");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("zz".parse::<Digest>().is_err());
        assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
    }
}
