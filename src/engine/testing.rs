//! What the engine's tests share: a job on a small model, in a folder of its own.

use std::path::Path;

use tempfile::TempDir;

use crate::config::{self, Pipeline};
use crate::files;

/// A job on a copy of a small model. `settings` stands in the pipeline file after what every job needs.
pub(super) fn job(settings: &str) -> (TempDir, Pipeline) {
    let dir = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/models/qwen2-tied");
    files::create_dir_all(&dir.path().join("model")).unwrap();
    for file in files::list(&model).unwrap().iter().filter(|file| file.is_file()) {
        files::copy(file, &dir.path().join("model").join(file.file_name().unwrap())).unwrap();
    }
    files::write_atomic(&dir.path().join("rows.csv"), b"prompt,response\nHow are you?,Well.\n").unwrap();
    let file = dir.path().join("pipeline.toml");
    let text = format!(
        "[model]\nsource = \"model\"\n[data.a]\npath = \"rows.csv\"\nsamples = 1\nseed = 0\n[judge]\nkind = \"refusal\"\n\
         [controls]\npoints = \"none\"\n[run]\nstore = \"store\"\n{settings}"
    );
    files::write_atomic(&file, text.as_bytes()).unwrap();
    let pipeline = config::load(&file, &[], dir.path()).unwrap();
    (dir, pipeline)
}
