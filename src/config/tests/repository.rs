//! The pipeline files of the repository: they load, explain every key, and name the schema.

use std::path::Path;

use super::super::*;

#[test]
fn both_files_of_the_repository_load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let job = load(Path::new("pipeline.toml"), &[], root).unwrap();
    assert!(job.model.source.pin.is_some(), "the default model is pinned");
    assert!(job.select.points.len() <= 4, "the default run must stay short");
    assert_eq!(job.data.keys().collect::<Vec<_>>(), ["fairness", "general", "privacy"]);
    assert!(job.data.values().all(|data| data.samples == 32 && data.seed == 0));
    assert_eq!(job.divergence.as_ref().map(|divergence| divergence.questions.as_str()), Some("harmless"));
    assert_eq!(job.run.store, root.join("artifacts"));

    let paper = load(Path::new("pipelines/paper.toml"), &[], root).unwrap();
    assert_eq!(paper.select.points, [Point { p: Some(5e-7), q: 5e-7 }]);
    assert!(paper.data.values().all(|data| data.samples == 128));
    assert_eq!(paper.judge.kind.name, "md-judge");
    assert_eq!(paper.run.store, root.join("pipelines/../artifacts"));
}

#[test]
fn the_file_at_the_top_explains_every_key() {
    let text = crate::files::read_to_string(&Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.toml")).unwrap();
    for (key, _) in schema::keys(&schema::schema()) {
        let name = key.rsplit('.').next().unwrap();
        let told = text.lines().any(|line| {
            let line = line.trim_start_matches("# ");
            line.split_once('=').is_some_and(|(typed, rest)| typed.trim() == name && rest.contains('#'))
        });
        assert!(told, "pipeline.toml does not explain {key}");
    }
}

#[test]
fn the_file_at_the_top_names_the_schema_of_its_editors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, schema) in [("pipeline.toml", "docs"), ("pipelines/paper.toml", "../docs")] {
        let text = crate::files::read_to_string(&root.join(file)).unwrap();
        assert_eq!(text.lines().next().unwrap(), format!("#:schema {schema}/pipeline.schema.json"), "{file}");
    }
}
