//! The settings whose values come from a closed list: one enum each, whose spelling in
//! pipeline.toml is written once and serves the schema, the parser and the run file.
//!
//! Must not know: where a value was typed, nor what a stage does with it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::choice::choices;
use crate::error::{Error, Result};

choices! {
    /// The number format that the model computes in.
    Dtype {
        /// 32-bit floats, on every device.
        F32 = "f32",
    }
}

choices! {
    /// What happens to a selected weight.
    Action {
        /// It becomes zero.
        Zero = "zero",
    }
}

/// The length of a perplexity window. Spelled as a whole number, or `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// This many tokens, at least two.
    Tokens(usize),
    /// As many tokens as the model's context holds.
    Max,
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Tokens(tokens) => tokens.serialize(serializer),
            Self::Max => serializer.serialize_str("max"),
        }
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Typed {
            Tokens(usize),
            Word(String),
        }
        match Typed::deserialize(deserializer)? {
            Typed::Tokens(tokens) => Ok(Self::Tokens(tokens)),
            Typed::Word(word) if word == "max" => Ok(Self::Max),
            Typed::Word(word) => Err(serde::de::Error::custom(format!("`{word}` is no window"))),
        }
    }
}

/// How a prompt is dressed before it is tokenised. Spelled `none`, `model`, or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// Not at all.
    None,
    /// In the chat template that comes with the model; an error where there is none.
    Model,
    /// In the chat template of a file (absolute path).
    File(PathBuf),
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Model => serializer.serialize_str("model"),
            Self::File(path) => path.serialize(serializer),
        }
    }
}

/// Where tensors live. Never part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The first GPU where there is one, else the CPU.
    Auto,
    Cpu,
    /// The NVIDIA GPU of this index; `cuda` alone means the first.
    Cuda(usize),
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            other => other
                .strip_prefix("cuda:")
                .filter(|index| index.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| {
                    Error::user(format!(
                        "`device` must be \"auto\", \"cpu\", \"cuda\" or \"cuda:N\", found \"{other}\""
                    ))
                    .hint("`dean doctor` lists the devices of this machine")
                }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_survive_text() {
        for device in [Device::Auto, Device::Cpu, Device::Cuda(0), Device::Cuda(3)] {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for bad in ["gpu", "cuda:", "cuda:+1", "cuda:99999999999999999999999", "CPU", ""] {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
    }

    #[test]
    fn windows_and_choices_have_the_spelling_of_the_file() {
        fn text(value: impl Serialize) -> String {
            serde_json::to_string(&value).unwrap()
        }
        assert_eq!(text(Window::Tokens(2048)), "2048");
        assert_eq!(text(Window::Max), "\"max\"");
        assert_eq!(text(Template::File("/t.jinja".into())), "\"/t.jinja\"");
        assert_eq!(text(Template::None), "\"none\"");
    }
}
