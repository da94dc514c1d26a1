//! JSON Lines: one JSON object a line. A text that is one list of objects is read as such, whatever its name.
//!
//! Must not know: other containers.

use bytes::Bytes;

use super::super::objects::{self, Shape};
use super::super::row::{Column, Row, Wanted};
use super::Container;
use crate::error::Result;

pub struct Jsonl;

/// No line of such a file begins with a bracket, so a bracket is the beginning of a list.
fn shape(bytes: &[u8]) -> Shape {
    objects::shape(bytes).filter(|shape| *shape == Shape::List).unwrap_or(Shape::Lines)
}

impl Container for Jsonl {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn endings(&self) -> &'static [&'static str] {
        &["jsonl", "ndjson"]
    }

    fn columns(&self, bytes: &Bytes) -> Result<Vec<Column>> {
        objects::columns(bytes, shape(bytes))
    }

    fn rows(&self, bytes: &Bytes, wanted: &[Wanted], visit: &mut dyn FnMut(Row) -> Result<()>) -> Result<()> {
        objects::rows(bytes, shape(bytes), wanted, visit)
    }
}
