//! `dean schema`: the JSON Schema of pipeline.toml, with which an editor completes, explains and checks its keys.
//!
//! Must not know: any key.

use super::print;
use crate::config;
use crate::error::Result;

pub fn run() -> Result<()> {
    print::json(&config::schema())
}
