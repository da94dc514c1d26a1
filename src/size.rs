//! Sizes of memory: how a budget is spelled, and how bytes are shown.
//!
//! Must not know: how much memory there is, what is done with it.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How much memory something may take. Spelled `auto`, a whole number of bytes, or a size. Never part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// What is available on the device that computes.
    Auto,
    /// This many bytes, at least one.
    Bytes(u64),
}

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

impl Budget {
    /// Reads `auto`, `8 GiB` or `1.5GB`. `None` for anything else, for less than one byte, and for more than fits.
    pub fn of_text(text: &str) -> Option<Self> {
        if text == "auto" {
            return Some(Self::Auto);
        }
        let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, unit) = text.split_at(end);
        let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit.trim_start())?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        if decimals.is_empty() || decimals.len() > 9 {
            return None;
        }
        let parts = 10_u128.pow(u32::try_from(decimals.len()).ok()?);
        let (whole, decimals): (u64, u64) = (whole.parse().ok()?, decimals.parse().ok()?);
        let bytes = u128::from(whole) * u128::from(scale) + u128::from(decimals) * u128::from(scale) / parts;
        // TOML's whole numbers end at 2^63.
        let bytes = i64::try_from(bytes).ok()?;
        u64::try_from(bytes).ok().filter(|bytes| *bytes > 0).map(Self::Bytes)
    }
}

impl Serialize for Budget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Bytes(bytes) => bytes.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Spelled)
    }
}

struct Spelled;

impl Visitor<'_> for Spelled {
    type Value = Budget;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"auto\", a size such as \"8 GiB\" or \"500 MB\", or a whole number of bytes")
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<Budget, E> {
        if bytes > 0 { Ok(Budget::Bytes(bytes)) } else { Err(E::invalid_value(Unexpected::Unsigned(0), &"at least 1")) }
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<Budget, E> {
        Err(E::invalid_value(Unexpected::Signed(bytes), &"at least 1"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Budget, E> {
        Budget::of_text(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// `17 B`, `1.2 KiB`, `34 MiB`.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for next in units {
        if value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        let read = |text| match Budget::of_text(text) {
            Some(Budget::Bytes(bytes)) => Some(bytes),
            _ => None,
        };
        assert_eq!(Budget::of_text("auto"), Some(Budget::Auto));
        assert_eq!(
            ["8 GiB", "1.5GB", "512 MiB", "1B", "0.0005 KB", "2 TB"].map(read),
            [Some(8 << 30), Some(1_500_000_000), Some(512 << 20), Some(1), None, Some(2_000_000_000_000)]
        );
        for bad in ["", "8", "GiB", "8 Gib", "-1 GB", "1e3 MB", "1. GB", ".5 GB", "1.2.3 GB", "0 GB", "Auto", "8 GiB "]
        {
            assert_eq!(Budget::of_text(bad), None, "{bad}");
        }
        assert_eq!(["9999999 TiB", "99999999999999999999 B", "1.0000000001 GB"].map(read), [None; 3]);
    }

    #[test]
    fn sizes_survive_the_file_of_a_run() {
        for budget in [Budget::Auto, Budget::Bytes(1 << 33)] {
            let text = serde_json::to_string(&budget).unwrap();
            assert_eq!(serde_json::from_str::<Budget>(&text).unwrap(), budget, "{text}");
        }
        assert!(serde_json::from_str::<Budget>("\"much\"").is_err());
    }

    #[test]
    fn sizes_have_binary_units() {
        let shown = [0, 1023, 1024, 1_258_291, 35_651_584, 1_048_575, u64::MAX].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.2 MiB", "34 MiB", "1.0 MiB", "16 EiB"]);
    }
}
