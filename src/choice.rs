//! Values that come from a closed list. Each has one spelling, which pipeline.toml, keys, tables and messages share.
//!
//! A short list is an enum, made by `choices!`. If a list is a registry with one file for each member, it is not written a
//! second time: a [`Choice`] is one of the registry's members. Must not know: any list.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::spelling::one_of;

/// An enum with one spelling for each variant.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name { $($(#[$about])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in the order of its declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The spelling.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use choices;

/// A member of a registry, found by its name.
pub trait Member: 'static {
    /// The spelling; no two members have the same.
    fn name(&self) -> &'static str;
    /// The registry.
    fn members() -> &'static [&'static Self];
}

/// One member of a registry, spelled by its name.
pub struct Choice<M: Member + ?Sized>(pub &'static M);

impl<M: Member + ?Sized> Choice<M> {
    /// The member of that name.
    pub fn of(name: &str) -> Option<Self> {
        M::members().iter().find(|member| member.name() == name).map(|member| Self(member))
    }
}

impl<M: Member + ?Sized> Deref for Choice<M> {
    type Target = M;

    fn deref(&self) -> &M {
        self.0
    }
}

impl<M: Member + ?Sized> Clone for Choice<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Member + ?Sized> Copy for Choice<M> {}

impl<M: Member + ?Sized> PartialEq for Choice<M> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl<M: Member + ?Sized> Eq for Choice<M> {}

impl<M: Member + ?Sized> fmt::Display for Choice<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl<M: Member + ?Sized> fmt::Debug for Choice<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl<M: Member + ?Sized> Serialize for Choice<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de, M: Member + ?Sized> Deserialize<'de> for Choice<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Spelled(PhantomData))
    }
}

struct Spelled<M: ?Sized>(PhantomData<M>);

impl<M: Member + ?Sized> Visitor<'_> for Spelled<M> {
    type Value = Choice<M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_of(&names::<M>()))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Choice<M>, E> {
        Choice::of(name).ok_or_else(|| E::invalid_value(Unexpected::Str(name), &self))
    }
}

fn names<M: Member + ?Sized>() -> Vec<&'static str> {
    M::members().iter().map(|member| member.name()).collect()
}

impl<M: Member + ?Sized> JsonSchema for Choice<M> {
    fn schema_name() -> Cow<'static, str> {
        "Choice".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": names::<M>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    choices! {
        /// Fruit.
        Fruit { Apple = "apple", BloodOrange = "blood-orange" }
    }

    struct Tree(&'static str);

    impl Member for Tree {
        fn name(&self) -> &'static str {
            self.0
        }

        fn members() -> &'static [&'static Self] {
            &[&Tree("oak"), &Tree("elm")]
        }
    }

    #[test]
    fn a_value_has_one_spelling() {
        for (fruit, name) in Fruit::ALL.iter().zip(["apple", "blood-orange"]) {
            assert_eq!((fruit.name(), fruit.to_string()), (name, name.to_owned()));
            assert_eq!(serde_json::to_string(fruit).unwrap(), format!("\"{name}\""));
        }
        let oak: Choice<Tree> = serde_json::from_str("\"oak\"").unwrap();
        assert_eq!((oak.name(), serde_json::to_string(&oak).unwrap()), ("oak", "\"oak\"".into()));
        assert!(Some(oak) == Choice::of("oak") && Some(oak) != Choice::of("elm"));
        let error = serde_json::from_str::<Choice<Tree>>("\"ash\"").unwrap_err();
        assert!(error.to_string().contains("\"ash\", expected \"oak\" or \"elm\""), "{error}");
    }
}
