//! A first job in an empty folder, made by the program alone.
//!
//! Must not know: what the job's settings are.

use crate::support::{Project, dean_in, finished, succeed};

#[test]
fn an_installed_program_runs_its_first_job_in_an_empty_folder() {
    let project = Project::new();
    let empty = tempfile::tempdir().unwrap();
    let model = project.dir.join("model");
    let arguments = ["init", "job", "--model", model.to_str().unwrap()];
    let (told, _) = succeed(dean_in(empty.path(), &arguments), &arguments);
    assert!(told.contains("wrote 10 files to ") && told.contains("cd job") && told.contains("dean run"), "{told}");
    let job = empty.path().join("job");
    let mut run = vec!["run", "--until", "select", "--json", "--set", "score.cap=0.05"];
    run.extend(["--set", "select.points=[[0.003, 0.05]]"]);
    // The tiny model's context is short.
    for fits in
        ["fairness", "privacy", "general"].map(|name| format!("data.{name}.too_long=\"truncate\"").leak() as &str)
    {
        run.extend(["--set", fits]);
    }
    let (summary, _) = finished(&dean_in(&job, &run).output().unwrap(), &run);
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["computed"].as_array().unwrap().len(), 7, "{summary}");

    // A second time it finds what it wrote. What somebody changed stays, and nothing else is written.
    succeed(dean_in(empty.path(), &arguments), &arguments);
    std::fs::write(job.join("data/general.csv"), "prompt,response\na,b\n").unwrap();
    std::fs::remove_file(job.join("data/privacy.csv")).unwrap();
    let output = dean_in(empty.path(), &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("general.csv is there already") && told.contains("nothing was written"), "{told}");
    assert!(!job.join("data/privacy.csv").exists());
}

#[test]
fn the_authors_setup_says_what_it_lacks() {
    let empty = tempfile::tempdir().unwrap();
    let (told, _) = succeed(dean_in(empty.path(), &["init", "--paper"]), &["init", "--paper"]);
    assert!(told.contains("data/README.md says where it is from"), "{told}");
    let output = dean_in(empty.path(), &["plan"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("data/authors/"), "{told}");
}
