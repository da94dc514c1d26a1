//! Folders that belong to a group (`chmod g+ws`): what is made in them the group may write, whatever the umask is. So several
//! people can share a store, and models that one of them fetched.
//!
//! Must not know: what the files are.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;

/// Makes a folder, with the rights of the folder that it is in.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)?;
    if belongs_to_group(super::parent(dir)) {
        grant(&File::open(dir)?, 0o070)?;
    }
    Ok(())
}

/// Gives a new file the rights of the folder that it is in.
pub(super) fn share(file: &File, dir: &Path) -> io::Result<()> {
    if belongs_to_group(dir) { grant(file, 0o060) } else { Ok(()) }
}

/// Whether a folder's group may write it, and new files get that group.
fn belongs_to_group(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|metadata| is_groups(&metadata))
}

#[cfg(unix)]
fn is_groups(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.mode() & 0o2020 == 0o2020
}

#[cfg(not(unix))]
fn is_groups(_: &Metadata) -> bool {
    false
}

/// Adds rights to a file or directory of ours.
#[cfg(unix)]
fn grant(file: &File, rights: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = file.metadata()?.permissions();
    permissions.set_mode(permissions.mode() | rights);
    file.set_permissions(permissions)
}

#[cfg(not(unix))]
fn grant(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn what_is_made_below_a_groups_folder_the_group_may_write_and_elsewhere_not() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, rights) in [(0o755, 0), (0o2770, 0o070)] {
            let root = dir.path().join(format!("{mode:o}"));
            fs::create_dir(&root).unwrap();
            fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
            let deep = root.join("hf/models");
            crate::files::create_dir_all(&deep).unwrap();
            crate::files::create_dir_all(&deep).unwrap();
            crate::files::write_atomic(&deep.join("config.json"), b"{}").unwrap();
            let own = |path: &Path| fs::metadata(path).unwrap().mode() & 0o020;
            for made in [root.join("hf"), deep.clone(), deep.join("config.json")] {
                assert_eq!(own(&made), rights & 0o020, "{} in a folder of mode {mode:o}", made.display());
            }
        }
    }
}
