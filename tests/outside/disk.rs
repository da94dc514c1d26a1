//! A store on a disk that is full, word for word.
//!
//! Must not know: where in the code a message is made.

use std::fs;
use std::process::{Command, Output};

use libtest_mimic::Trial;

use super::needs::{self, Found};
use super::project::{Project, assert_sound, assert_tidy, files_below};

pub fn tests() -> Vec<Trial> {
    needs::tests![small_disk => a_disk_that_is_full]
}

/// A project whose store lies on a disk of a few pages, in a mount namespace of each command's own.
struct SmallDisk(Project);

impl SmallDisk {
    const MOUNT: &str = r#"mount -t tmpfs -o size=80k tmpfs "$1""#;

    /// Runs a shell script as root of a namespace: $1 is the store, $2 the program, $3 where a copy may go.
    fn unshared(&self, script: &str) -> std::io::Result<Output> {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(&self.0.store).arg(env!("CARGO_BIN_EXE_dean")).arg(self.0.beside("copy"));
        command.current_dir(&self.0.dir).output()
    }
}

fn small_disk() -> Found<SmallDisk> {
    let disk = SmallDisk(Project::new());
    fs::create_dir_all(&disk.0.store).unwrap();
    let can_mount = disk.unshared(SmallDisk::MOUNT).is_ok_and(|output| output.status.success());
    can_mount.then_some(disk).ok_or_else(|| "needs Linux and `unshare --user`, to mount a small disk".into())
}

/// The store is full in the middle of a run. What was published until then is whole, and the run goes on from there
/// once there is room.
fn a_disk_that_is_full(disk: SmallDisk) {
    let (mount, project) = (SmallDisk::MOUNT, &disk.0);
    let copy = project.beside("copy");
    let output = disk.unshared(&format!(r#"{mount}; "$2" run; code=$?; cp -r "$1" "$3"; exit $code"#)).unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.find("error:").map(|at| project.plain(&said[at..])).unwrap_or_default();
    // Which node fills the disk, or whether what the run keeps of itself does, is a matter of a few bytes.
    insta::with_settings!({ filters => [(r"^error: \S+\[\w+\]: ", "error: ")] }, {
        insta::assert_snapshot!(error, @"
        error: cannot write into the store [store]: no space left on device
        hint: free some space (`dean cache gc --dry-run` shows what could go) and run again; nothing half-written was kept
        ");
    });
    assert_sound(&copy);
    assert_tidy(&copy);
    assert!(!files_below(&copy.join("records")).is_empty(), "it was full in the middle, not at once");
    let room = format!("run.store={}", copy.display());
    project.ok(&["run", "--set", &room]);
    assert_sound(&copy);
}
