//! JSON: a list of objects, an object with one such list inside, or, as the Hub has many, one object a line.
//!
//! Must not know: other containers.

use bytes::Bytes;

use super::super::objects::{self, Shape};
use super::super::row::{Column, Row, Wanted};
use super::{Container, Sure};
use crate::error::Result;

pub struct Json;

fn shape(bytes: &[u8]) -> Shape {
    objects::shape(bytes).unwrap_or(Shape::Lines)
}

impl Container for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn endings(&self) -> &'static [&'static str] {
        &["json"]
    }

    fn recognises(&self, bytes: &[u8]) -> Sure {
        objects::shape(bytes).map_or(Sure::No, |_| Sure::Likely)
    }

    fn columns(&self, bytes: &Bytes) -> Result<Vec<Column>> {
        objects::columns(bytes, shape(bytes))
    }

    fn rows(&self, bytes: &Bytes, wanted: &[Wanted], visit: &mut dyn FnMut(Row) -> Result<()>) -> Result<()> {
        objects::rows(bytes, shape(bytes), wanted, visit)
    }
}
