//! TSV: a line of column names, then values with tabs between them, quoted as in CSV where they hold one.
//!
//! Must not know: other containers.

use bytes::Bytes;

use super::super::delimited::Delimited;
use super::super::row::{Column, Row, Wanted};
use super::Container;
use crate::error::Result;

pub struct Tsv;

const TABS: Delimited = Delimited('\t');

impl Container for Tsv {
    fn name(&self) -> &'static str {
        "tsv"
    }

    fn endings(&self) -> &'static [&'static str] {
        &["tsv", "tab"]
    }

    fn columns(&self, bytes: &Bytes) -> Result<Vec<Column>> {
        TABS.columns(bytes)
    }

    fn rows(&self, bytes: &Bytes, wanted: &[Wanted], visit: &mut dyn FnMut(Row) -> Result<()>) -> Result<()> {
        TABS.rows(bytes, wanted, visit)
    }
}
