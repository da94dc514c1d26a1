//! CSV: a line of column names, then values with commas between them.
//!
//! Must not know: other containers.

use bytes::Bytes;

use super::super::delimited::Delimited;
use super::super::row::{Column, Row, Wanted};
use super::Container;
use crate::error::Result;

pub struct Csv;

const COMMAS: Delimited = Delimited(',');

impl Container for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn endings(&self) -> &'static [&'static str] {
        &["csv"]
    }

    fn columns(&self, bytes: &Bytes) -> Result<Vec<Column>> {
        COMMAS.columns(bytes)
    }

    fn rows(&self, bytes: &Bytes, wanted: &[Wanted], visit: &mut dyn FnMut(Row) -> Result<()>) -> Result<()> {
        COMMAS.rows(bytes, wanted, visit)
    }
}
