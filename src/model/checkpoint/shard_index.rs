//! The index of a sharded checkpoint: `{"weight_map": {tensor: file}}`.
//!
//! It is not trusted: it may name files of its own directory only. Must not know: what is in the shards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::files;

/// Shards and the tensors that they should hold.
pub(in crate::model) type Shares = BTreeMap<String, BTreeSet<String>>;

/// Reads an index whose files end in `ending` (`.safetensors`).
///
/// # Errors
/// It is not such an index, or names a file that is not a plain name here.
pub(in crate::model) fn read(index: &Path, ending: &str) -> Result<Shares> {
    let value: Value = serde_json::from_slice(&files::read(index)?)
        .map_err(|cause| malformed(index, &format!("not JSON: {cause}")))?;
    let map = value.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| malformed(index, "weight_map is missing or not a table"))?;
    let mut shares = Shares::new();
    for (tensor, file) in map {
        let file = file.as_str().filter(|file| is_plain(file, ending)).ok_or_else(|| {
            malformed(
                index,
                &format!("weight_map puts {tensor} into {file}, which is not the name of a {ending} file here"),
            )
        })?;
        shares.entry(file.to_owned()).or_default().insert(tensor.clone());
    }
    Ok(shares)
}

/// The error about a tensor that its shard does not hold.
pub(in crate::model) fn lost(index: &Path, tensor: &str, file: &str) -> Error {
    malformed(index, &format!("weight_map puts {tensor} into {file}, which does not hold it"))
}

fn malformed(index: &Path, why: &str) -> Error {
    Error::user(format!("{}: {why}", index.display())).hint("download the model again")
}

/// A bare file name: no folder, no way up, no drive.
fn is_plain(file: &str, ending: &str) -> bool {
    file.ends_with(ending) && !file.starts_with('.') && !file.contains(['/', '\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_plain_names_of_the_indexs_own_directory() {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("i.json");
        let with = |content: &str| {
            files::write_atomic(&index, content.as_bytes()).unwrap();
            read(&index, ".bin").map_err(|error| error.message().replace(&dir.path().display().to_string(), "DIR"))
        };
        let shares = with(r#"{"metadata": {}, "weight_map": {"a": "1.bin", "b": "2.bin", "c": "1.bin"}}"#).unwrap();
        assert_eq!(shares.keys().collect::<Vec<_>>(), ["1.bin", "2.bin"]);
        assert_eq!(shares["1.bin"].iter().collect::<Vec<_>>(), ["a", "c"]);
        for trick in
            ["../1.bin", "/1.bin", "x/1.bin", "x\\\\1.bin", "c:1.bin", ".bin", "1.bin\\u0000.bin", "1.safetensors", ""]
        {
            let message = with(&format!(r#"{{"weight_map": {{"a": "{trick}"}}}}"#)).unwrap_err();
            assert!(message.ends_with("which is not the name of a .bin file here"), "{trick}: {message}");
        }
        assert_eq!(with("{}").unwrap_err(), "DIR/i.json: weight_map is missing or not a table");
        assert!(with(r#"{"weight_map": {"a": 1}}"#).unwrap_err().contains("puts a into 1"));
        assert!(with("[").unwrap_err().starts_with("DIR/i.json: not JSON"));
    }
}
