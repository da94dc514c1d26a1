//! What dean gives to the programs that it starts: no token, no code of the working directory, no option out of a name.
//!
//! A Python that only notes down how it was called stands first in `PATH`. `tests/outside/pip.rs` has the real pip. Must not
//! know: why a program is started.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::Project;

/// A program that writes its arguments, its environment and its working directory into files of the home folder.
fn notes_down(dir: &Path, name: &str, end: &str) {
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > \"$HOME/arguments\"\nenv > \"$HOME/environment\"\npwd > \"$HOME/stands\"\n\
         ls -A > \"$HOME/beside\"\n{end}\n"
    );
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(name), script).unwrap();
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

const SECRETS: [&str; 8] = [
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "GITHUB_TOKEN",
    "OPENAI_API_KEY",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PIP_TARGET",
];

#[test]
fn children_get_no_secrets_and_nothing_of_the_working_directory() {
    let project = Project::new();
    let (bin, home) = (project.beside("bin"), project.beside("home"));
    notes_down(&bin, "python3", "echo 'ERROR: no such package' >&2; exit 1");
    fs::create_dir_all(&home).unwrap();
    // Code that `python -m pip` and a path with `.` in it would run.
    project.write("pip.py", "open('PWNED', 'w').write('x')");
    notes_down(&project.dir, "pip3", "touch PWNED");
    let path = format!(".::bin:{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let source = "model.source='pip:no-such-model-of-dean==1.0/model.gguf'";
    for arguments in [&["run", "--set", source][..], &["doctor"]] {
        let mut command = project.dean(arguments);
        command.env("PATH", &path).env("HOME", &home).env("PIP_INDEX_URL", "http://127.0.0.1:1/simple");
        for secret in SECRETS {
            command.env(secret, "hidden-treasure");
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(i32::from(arguments[0] == "run")), "{said}");

        let noted = |name: &str| fs::read_to_string(home.join(name)).unwrap();
        let environment = noted("environment");
        assert!(!environment.contains("hidden-treasure"), "{environment}");
        assert!(environment.contains("PIP_INDEX_URL=http://127.0.0.1:1/simple"), "{environment}");
        assert!(environment.lines().any(|line| line.starts_with(&format!("PATH={}:", bin.display()))), "{environment}");
        assert!(!noted("stands").contains(&project.dir.display().to_string()));
        assert_eq!(noted("beside"), "", "it stands in an empty folder");
        let given = noted("arguments");
        let given: Vec<&str> = given.lines().collect();
        assert_eq!(given[..3], ["-I", "-m", "pip"]);
        if arguments[0] == "run" {
            assert_eq!(given[given.len() - 2..], ["--", "no-such-model-of-dean==1.0"]);
        }
        assert!(!project.dir.join("PWNED").exists());
    }
}

#[test]
fn names_are_checked_before_anything_is_started() {
    let project = Project::new();
    let (bin, home) = (project.beside("bin"), project.beside("home"));
    notes_down(&bin, "python3", "exit 1");
    fs::create_dir_all(&home).unwrap();
    for name in
        ["--index-url=http://127.0.0.1==1/a", "a b==1/a", "a==*/a", "a==1;x/a", "a@b==1/a", "a==--pre/a", "a-==1/a"]
    {
        let source = format!("model.source='pip:{name}'");
        let mut command = project.dean(&["run", "--set", &source]);
        command.env("PATH", &bin).env("HOME", &home);
        let said = project.refusal(command, &[&source]);
        assert!(said.contains("source `pip:"), "{said}");
        assert!(!home.join("arguments").exists(), "{name}");
    }
}
