//! The page from outside: `dean report --html`, of a job that is finished and of one that is not.
//!
//! Must not know: what a page looks like; `tests/page` looks at it.

use std::fs;

use crate::support::Project;

const EVIL: &str = "<script>alert(1)</script> & <img src=x onerror=alert(2)>";

fn read(project: &Project, file: &str) -> String {
    fs::read_to_string(project.dir.join(file)).unwrap()
}

#[test]
fn a_job_becomes_one_page() {
    let project = Project::new();
    let run = project.json(&["run"])["run"].as_str().unwrap().to_owned();
    let (told, _) = project.ok(&["report", "--html", "page.html"]);
    assert!(told.trim_end().ends_with("wrote the page page.html"), "{told}");
    let page = read(&project, "page.html");
    assert!(page.len() < 2_000_000 && page.starts_with("<!DOCTYPE html>"), "{}", page.len());
    for part in [
        "<title>model: fairness &amp; privacy - general</title>",
        "dean report --html page.html",
        &run,
        "p=3e-3 q=5e-2",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains(project.dir.to_str().unwrap()), "no place of this machine");
    // The same report is the same page.
    let answer = project.json(&["report", "--html", "page.html"]);
    assert!(answer["files"][0].as_str().unwrap().ends_with("/page.html"), "{}", answer["files"]);
    assert_eq!(read(&project, "page.html"), page);
    // That of the run, by its name.
    project.ok(&["report", &run, "--html", "run.html"]);
    assert!(read(&project, "run.html").contains(&format!("dean report {run} --html run.html")));
}

#[test]
fn what_is_not_finished_is_said_on_the_page() {
    let project = Project::new();
    let refused = project.refused(&["report", "--html", "page.html"]);
    assert!(refused.contains("is not in the store") && !project.dir.join("page.html").exists(), "{refused}");
    project.ok(&["run", "--quiet", "--until", "generate"]);
    project.ok(&["report", "--html", "page.html"]);
    let page = read(&project, "page.html");
    assert!(page.contains("<strong>Not finished.</strong> so far: "), "{}", &page[..4000]);
}

#[test]
fn what_strangers_wrote_into_questions_and_names_is_inert() {
    let project = Project::new();
    // A section's name cannot be such a thing, but a file's can.
    let file = "data/<img src=x onerror=alert(2)> & more.csv";
    project.write(file, format!("questions\n\"{EVIL}\"\n\"Why?\"\n"));
    project.edit("path = \"data/questions.csv\"", &format!("path = \"{file}\""));
    project.ok(&["run", "--quiet"]);
    project.ok(&["report", "--html", "<b>.html"]);
    let page = read(&project, "<b>.html");
    // All but the page's own scripts.
    let mut parts = page.split("<script>");
    let mut outside = parts.next().unwrap().to_owned();
    parts.for_each(|part| outside.push_str(part.split_once("</script>").unwrap().1));
    assert!(!outside.contains("<script>alert") && !outside.contains("<img") && !outside.contains("<b>"));
    assert!(outside.contains("&lt;img src=x onerror=alert(2)&gt;"));
}
