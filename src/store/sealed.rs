//! Small files of the store: JSON whose last field, `check`, is the BLAKE3 digest of all bytes before it. So a file that was
//! damaged in any bit, or cut off anywhere, is known to be damaged, as a blob is by its name.
//!
//! Versions before the field wrote the same JSON without it. Such a file is read as it was, but strictly: what reads it
//! refuses a field that it does not know. So a damaged `check` never passes for an old file. The field is written for the
//! bytes and not for the values, and whoever edits such a file by hand deletes that line.
//! Must not know: what the files say.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;
use crate::error::{Error, Result};

const BEFORE: &[u8] = b"  \"check\": \"";
const AFTER: &[u8] = b"\"\n}\n";
const DIGITS: usize = 64;

/// What a text's seal says of it.
enum Seal {
    /// The JSON without its seal.
    Right(Vec<u8>),
    /// There is none, as in files of older versions.
    None,
    Broken,
}

/// The JSON object of a value, sealed.
pub(super) fn seal(value: &impl Serialize) -> Result<Vec<u8>> {
    let no_object =
        |cause: &dyn std::fmt::Display| Error::fault(format!("a file of the store is no JSON object: {cause}"));
    let mut text = serde_json::to_vec_pretty(value).map_err(|cause| no_object(&cause))?;
    if !text.ends_with(b"\n}") {
        return Err(no_object(&"it has no fields"));
    }
    text.truncate(text.len() - 2);
    text.extend_from_slice(b",\n");
    let check = Digest::of(&text).to_string();
    text.extend_from_slice(BEFORE);
    text.extend_from_slice(check.as_bytes());
    text.extend_from_slice(AFTER);
    Ok(text)
}

/// The value in a sealed text, or in one of an older version; otherwise the reason why there is none.
pub(super) fn open<T: DeserializeOwned>(text: &[u8]) -> std::result::Result<T, String> {
    sealed(text).unwrap_or_else(|| parsed(text))
}

/// As [`open`], for whoever needs a part only. A text without a seal is read as the `Whole`, whose fields are all known.
pub(super) fn open_part<Part, Whole>(text: &[u8]) -> std::result::Result<Part, String>
where
    Part: DeserializeOwned,
    Whole: DeserializeOwned,
{
    sealed(text).unwrap_or_else(|| parsed::<Whole>(text).and_then(|_| parsed(text)))
}

fn parsed<T: DeserializeOwned>(text: &[u8]) -> std::result::Result<T, String> {
    serde_json::from_slice(text).map_err(|cause| cause.to_string())
}

/// What is in a text with a seal; `None` if it has none.
fn sealed<T: DeserializeOwned>(text: &[u8]) -> Option<std::result::Result<T, String>> {
    match seal_of(text) {
        Seal::Right(json) => Some(parsed(&json)),
        Seal::Broken => Some(Err("its bytes are not those that its `check` was made of".into())),
        Seal::None if text.is_empty() => Some(Err("it is empty, or not a file".into())),
        Seal::None => None,
    }
}

fn seal_of(text: &[u8]) -> Seal {
    let Some(at) = text.len().checked_sub(BEFORE.len() + DIGITS + AFTER.len()) else { return Seal::None };
    let (body, tail) = text.split_at(at);
    let digits = tail.strip_prefix(BEFORE).and_then(|rest| rest.strip_suffix(AFTER));
    let Some(digits) = digits else { return Seal::None };
    match body.strip_suffix(b",\n") {
        Some(json) if Digest::of(body).to_string().as_bytes() == digits => Seal::Right([json, b"}"].concat()),
        _ => Seal::Broken,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Small {
        name: String,
        number: u32,
        #[serde(default)]
        extra: Option<u32>,
    }

    fn small() -> Small {
        Small { name: "marks".into(), number: 7, extra: None }
    }

    #[test]
    fn what_was_sealed_is_read_again_by_us_and_by_any_reader_of_json() {
        let text = seal(&small()).unwrap();
        assert_eq!(open::<Small>(&text).unwrap(), small());
        let json: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&json["name"], json["check"].as_str().unwrap().len()), (&json!("marks"), DIGITS));
        assert!(seal(&json!({})).is_err() && seal(&json!([1])).is_err());
    }

    #[test]
    fn no_bit_can_turn_over_and_no_end_be_lost_unseen() {
        let text = seal(&small()).unwrap();
        for bit in 0..text.len() * 8 {
            let mut damaged = text.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open::<Small>(&damaged).is_err(), "bit {bit} of {}", String::from_utf8_lossy(&damaged));
        }
        for length in 0..text.len() {
            assert!(open::<Small>(&text[..length]).is_err(), "cut off after {length} bytes");
        }
    }

    #[test]
    fn a_file_of_an_older_version_is_read_but_not_with_fields_that_nobody_knows() {
        let old = serde_json::to_vec_pretty(&small()).unwrap();
        assert_eq!(open::<Small>(&old).unwrap(), small());
        assert!(open::<Small>(b"{\"name\": \"a\", \"number\": 1, \"chack\": \"\"}").is_err());
        let part = |text: &[u8]| open_part::<Value, Small>(text).map(|value| value["number"].clone());
        assert_eq!((part(&old), part(&seal(&small()).unwrap())), (Ok(json!(7)), Ok(json!(7))));
        assert!(part(b"{\"number\": 1}").is_err() && part(b"").unwrap_err().contains("empty"));
    }
}
