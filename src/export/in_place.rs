//! Applies a patch to an existing directory, and undoes it.
//!
//! Every byte is checked before any is written. Each weight must have the value that the patch found or the value that it
//! writes. So applying and undoing may be repeated, and either completes what was stopped halfway.
//! Must not know: where the patch comes from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::edits::{Edit, Edits, check_base, check_present, edits, unlike};
use super::{Manifest, Written};
use crate::error::{Error, Result};
use crate::files;
use crate::model::Checkpoint;
use crate::model::patch::Patch;

/// Whether to apply or to undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Apply,
    Undo,
}

impl Way {
    fn after(self, edit: &Edit) -> &[u8] {
        match self {
            Self::Apply => edit.after(),
            Self::Undo => edit.before(),
        }
    }
}

/// Writes the patch's new values, or its original ones, into the directory's shards, and flushes them: a power failure
/// leaves each weight at one of its two values. Returns how many weights changed.
///
/// # Errors
/// User: a directory of another model, or of rounded weights; weights that are neither of the two values (nothing was
/// written then); shards that have other names, that a run reads now, or that cannot be written.
pub fn write(dir: &Path, patch: &Patch, way: Way) -> Result<usize> {
    let mut held = Vec::new();
    let edits = {
        let checkpoint = Checkpoint::open(dir)?;
        // Before anything of them is read, so that nobody writes between the check and the edit either.
        for path in files_of(&checkpoint, patch) {
            held.push(files::keep_unread(&path)?);
        }
        // The memory map ends here, before the files are written.
        checked(&checkpoint, patch).map_err(|error| rounded(dir, error))?
    };
    let mut changed = 0;
    let mut open = Vec::new();
    for (path, list) in &edits {
        let left = unlike(path, list, |edit| way.after(edit))?;
        if left.is_empty() {
            continue;
        }
        if files::has_other_names(path)? {
            return Err(Error::user(format!("{} has other names (links), which would change with it", path.display()))
                .hint("work on a copy: `cp -rL DIR COPY`"));
        }
        changed += left.len();
        open.push((path, left));
    }
    for (path, left) in open {
        files::overwrite(path, left.iter().map(|edit| (edit.at, way.after(edit))))?;
        check_present(path, &left, |edit| way.after(edit))?;
        files::flush(path)?;
    }
    Ok(changed)
}

/// The files with the weights that a patch names, as far as they can be written.
fn files_of(checkpoint: &Checkpoint, patch: &Patch) -> BTreeSet<PathBuf> {
    let places = patch.tensors.iter().filter_map(|patched| checkpoint.place(&patched.tensor));
    places.map(|(file, _)| file.to_owned()).collect()
}

/// The patch's edits, if it is of this model.
fn checked(checkpoint: &Checkpoint, patch: &Patch) -> Result<Edits> {
    let edits = edits(checkpoint, patch)?;
    check_weights(&edits)?;
    check_base(checkpoint, patch)?;
    Ok(edits)
}

/// The error for an export that rounded its weights. The base's weights are not in such an export, so a patch can neither be
/// applied nor undone.
fn rounded(dir: &Path, error: Error) -> Error {
    match Manifest::read(dir) {
        Ok(Some(Manifest { dtype: Some(Written::Bf16), .. })) => {
            let place = dir.display();
            Error::user(format!(
                "{place} was exported with --dtype bf16, which rounded its weights: {}",
                error.message()
            ))
            .hint("nothing was written; export it again with --dtype f32, which keeps the base's values")
        }
        _ => error,
    }
}

/// Checks that every weight is what the patch found or what it writes.
fn check_weights(edits: &Edits) -> Result<()> {
    for (path, list) in edits {
        let not_old = unlike(path, list, Edit::before)?;
        check_present(path, &not_old, Edit::after)?;
    }
    Ok(())
}
