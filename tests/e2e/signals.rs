//! Signals: what was ignored when the program started stays ignored, and the second one that asks for a stop is final.
//!
//! Must not know: what a run computes.
#![cfg(unix)]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::kill::{TRIES, long_project, shard};
use crate::support::Project;

fn send(signal: &str, run: &Child) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &run.id().to_string()]).status().unwrap().success());
}

/// A run that was caught in the middle, started by a shell that first says how it wants signals handled.
fn caught(project: &Project, prepare: &str) -> Child {
    for _ in 0..TRIES {
        let script = format!("{prepare} exec \"$0\" run --until score");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_dean")]).current_dir(&project.dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut run = command.spawn().unwrap();
        while run.try_wait().unwrap().is_none() {
            if shard(&project.store, "sums-").is_some() {
                return run;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = std::fs::remove_dir_all(&project.store);
    }
    panic!("no run was caught in the middle");
}

fn ended(mut run: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    run.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (run.wait().unwrap().code(), said)
}

#[test]
fn what_was_ignored_at_the_start_stays_ignored() {
    // `nohup` ignores HUP; a shell without job control ignores INT for what it starts in the background
    for (ignored, asked) in [("HUP", "INT"), ("INT", "TERM"), ("TERM", "HUP")] {
        let project = long_project();
        let run = caught(&project, &format!("trap '' {ignored};"));
        for _ in 0..3 {
            send(ignored, &run);
        }
        std::thread::sleep(Duration::from_millis(50));
        let (code, said) = ended(run);
        assert_eq!(code, Some(0), "{ignored}: {said}");

        // The others are heeded all the same.
        let project = long_project();
        let run = caught(&project, &format!("trap '' {ignored};"));
        send(asked, &run);
        let (code, said) = ended(run);
        assert_eq!(code, Some(75), "{asked} while {ignored} is ignored: {said}");
        assert!(said.contains("stopping after the current step"), "{said}");
    }
}

#[test]
fn the_second_signal_ends_at_once() {
    let project = Project::new();
    // One step that takes long: a layer of scoring for many samples.
    project.model(8, 16_384);
    project.edit("device = \"cpu\"", "device = \"cpu\"\nthreads = 1\ncheckpoint_seconds = 0");
    let run = caught(&project, "");
    send("INT", &run);
    std::thread::sleep(Duration::from_millis(350));
    send("INT", &run);
    let begun = Instant::now();
    let (code, said) = ended(run);
    assert_eq!(code, Some(75), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    // A run that stops by itself says so.
    assert!(!said.contains("stopped in") && !said.contains("stopped before"), "{said}");
}
