//! Patched models out of the store, as a user meets them: export, apply, undo, verify; and what docs/export.md says in Python.
//!
//! Must not know: how files are written or compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Project, assert_sound, assert_tidy, copy_tree, files_below};

/// The first two points of the test pipeline, which select the same weights.
const POINT: &str = "0.003,0.05";

/// What a user reads, with digests that do not depend on this test left in.
fn said(project: &Project, arguments: &[&str]) -> String {
    project.plain(&project.ok(arguments).0)
}

/// Rank tables by magnitude, which no machine rounds differently: masks can be compared with what is written here.
fn prepared() -> Project {
    let project = Project::new();
    by_magnitude(&project);
    project.ok(&["run", "--until", "score"]);
    project
}

fn by_magnitude(project: &Project) {
    project.edit("cap = 0.05", "method = \"magnitude\"\ncap = 0.05");
}

/// A byte of the edited matrix of a directory's weights, changed.
fn spoil(file: &Path, from_the_end: usize) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.len() - from_the_end;
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_point_becomes_a_directory_and_is_verified() {
    let project = prepared();
    insta::assert_snapshot!(said(&project, &["export", POINT, "out"]), @"
    wrote out: the model at p=3e-3 q=5e-2 +1 (a77a2cfe)
    changed: 108 weights in 6 matrices
    files: 1 of weights edited, 6 beside them
    ");
    assert_sound(&project.store);
    assert_tidy(&project.store);
    let (base, out) = (files_below(&project.dir.join("model")), files_below(&project.dir.join("out")));
    for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(base[Path::new(name)], out[Path::new(name)], "{name}");
    }
    let weights = Path::new("model.safetensors");
    let differ = base[weights].iter().zip(&out[weights]).filter(|(a, b)| a != b).count();
    let manifest: Value = serde_json::from_slice(&out[Path::new("dean.json")]).unwrap();
    let mask = manifest["mask"].as_str().unwrap().to_owned();
    let count = project.json(&["export", &mask[..6], "again"])["weights"].as_u64().unwrap() as usize;
    assert!(differ > count && differ <= 4 * count, "{differ} bytes of {count} f32 weights");
    assert_eq!(base[weights].len(), out[weights].len());
    insta::assert_snapshot!(said(&project, &["verify", "out"]), @"
    out is the model at p=3e-3 q=5e-2 +1 (a77a2cfe), byte for byte
    compared: 5 files, 37 KiB; changed: 108 weights in 6 matrices
    ");

    // The card: without a report first, with one after a run. Results do not touch what is verified.
    let card = String::from_utf8(out[Path::new("README.md")].clone()).unwrap();
    assert!(
        card.contains("Nothing was measured") && card.contains(&mask) && card.contains("fairness.csv, 8 samples"),
        "{card}"
    );
    assert!(!card.contains(&project.dir.display().to_string()), "no path of this machine: {card}");
    project.ok(&["run"]);
    project.ok(&["export", &format!("patch[{}]", &mask[..8]), "measured"]);
    let card = fs::read_to_string(project.dir.join("measured/README.md")).unwrap();
    assert!(card.contains("95 % interval") && card.contains("perplexity"), "{card}");
    project.ok(&["verify", "measured"]);

    let file = project.dir.join("out/model.safetensors");
    spoil(&file, 1);
    insta::assert_snapshot!(project.refused(&["verify", "out"]), @"
    error: out is not the model at p=3e-3 q=5e-2 +1 (a77a2cfe): model.safetensors differs at byte 34183 (weight 15 of model.norm.weight)
    hint: export it again, or see `dean apply` and `dean undo`
    ");
    spoil(&file, 1);
    project.write("out/tokenizer.json", "{}");
    insta::assert_snapshot!(project.refused(&["verify", "out"]), @"
    error: out is not the model at p=3e-3 q=5e-2 +1 (a77a2cfe): tokenizer.json differs at byte 1
    hint: export it again, or see `dean apply` and `dean undo`
    ");
    insta::assert_snapshot!(project.refused(&["verify", "model"]), @"
    error: model has no dean.json, so it is no export
    hint: name the point that it should be: --point p=q=1e-5
    ");
    project.configure("rope_theta", serde_json::json!(20000.0));
    insta::assert_snapshot!(project.refused(&["verify", "again"]), @"
    error: again was exported from another base model
    hint: set model.source to the model that its README.md names
    ");
}

#[test]
fn a_patch_is_applied_and_undone() {
    let project = prepared();
    insta::assert_snapshot!(said(&project, &["export", POINT, "patch.safetensors", "--patch"]), @"
    wrote patch.safetensors: the patch of p=3e-3 q=5e-2 +1 (a77a2cfe)
    changed: 108 weights in 6 matrices
    ");
    let original = files_below(&project.dir.join("model"));
    copy_tree(&project.dir.join("model"), &project.dir.join("copy"));
    insta::assert_snapshot!(said(&project, &["undo", "patch.safetensors", "copy"]), @"nothing to do: the patch is not applied in copy (108 weights in 6 matrices)");
    insta::assert_snapshot!(said(&project, &["apply", "patch.safetensors", "copy"]), @"applied to copy: 108 weights in 6 matrices");
    insta::assert_snapshot!(said(&project, &["apply", "patch.safetensors", "copy"]), @"nothing to do: the patch is applied in copy (108 weights in 6 matrices)");
    insta::assert_snapshot!(said(&project, &["verify", "copy", "--point", POINT]), @"
    copy is the model at p=3e-3 q=5e-2 +1 (a77a2cfe), byte for byte
    compared: 5 files, 37 KiB; changed: 108 weights in 6 matrices
    ");
    insta::assert_snapshot!(said(&project, &["undo", "patch.safetensors", "copy"]), @"taken out of copy: 108 weights in 6 matrices");
    assert_eq!(files_below(&project.dir.join("copy")), original, "the base again, bit for bit");
    project.ok(&["export", POINT, "new/er/out"]);
    insta::assert_snapshot!(said(&project, &["undo", "patch.safetensors", "new/er/out"]), @"
    taken out of new/er/out: 108 weights in 6 matrices
    README.md and dean.json in it still describe the model as it was exported
    ");
    let mut undone = files_below(&project.dir.join("new/er/out"));
    assert!(["README.md", "dean.json"].iter().all(|own| undone.remove(Path::new(own)).is_some()));
    assert_eq!(undone, original, "an export undone is the base, too");

    // The last byte of the last matrix that is edited; behind it lie 3200 bytes of attention and norms.
    spoil(&project.dir.join("copy/model.safetensors"), 3201);
    let refused = project.refused(&["apply", "patch.safetensors", "copy"]);
    assert!(refused.contains("patch was made for") || refused.contains("not what the patch expects"), "{refused}");
}

#[test]
fn what_cannot_be_exported_is_a_sentence() {
    let project = Project::new();
    by_magnitude(&project);
    insta::assert_snapshot!(project.refused(&["export", POINT, "out"]), @"
    error: the grid needs the rank tables of every data set, and some are not there yet
    hint: type `dean run --until score` first
    ");
    project.ok(&["run", "--until", "score"]);
    insta::assert_snapshot!(project.refused(&["export", "1e-5,1e-5", "out"]), @"
    error: no point of this pipeline is `1e-5,1e-5`
    hint: points of this pipeline: p=6e-3 q=3e-2 (6db48384), p=3e-3 q=5e-2 +1 (a77a2cfe); for another one: --set 'select.points=[[P, Q]]'
    ");
    insta::assert_snapshot!(project.refused(&["export", "base", "out"]), @"
    error: the base is the model itself; there is nothing to patch
    hint: points of this pipeline: p=6e-3 q=3e-2 (6db48384), p=3e-3 q=5e-2 +1 (a77a2cfe); for another one: --set 'select.points=[[P, Q]]'
    ");
    insta::assert_snapshot!(project.refused(&["export", POINT, "data"]), @"
    error: [project]/data is not empty; an export does not mix with other files
    hint: name a directory that does not exist yet
    ");
    insta::assert_snapshot!(project.refused(&["export", POINT, "patch.safetensors"]), @"
    error: patch.safetensors is the name of a file, and a model is a directory
    hint: add --patch to write the changed weights alone, or name a directory
    ");
    insta::assert_snapshot!(project.refused(&["export", POINT, "model/out"]), @"
    error: [project]/model/out lies in the directory of the base model
    hint: name a place outside of it: tools would take what lies there for a part of the model
    ");
    insta::assert_snapshot!(project.refused(&["export", POINT, "model/patch.safetensors", "--patch"]), @"
    error: [project]/model/patch.safetensors lies in the directory of the base model
    hint: name a place outside of it: tools would take what lies there for a part of the model
    ");
    insta::assert_snapshot!(project.refused(&["export", POINT, "pipeline.toml", "--patch"]), @"
    error: pipeline.toml is there already
    hint: name a new file
    ");
    insta::assert_snapshot!(project.refused(&["export", POINT, "out", "--dtype", "bf16"]), @"
    error: [project]/model is a directory, and an export keeps the types of its weights
    hint: leave --dtype out; it is for models from GGUF files
    ");
    insta::assert_snapshot!(project.refused(&["apply", "pipeline.toml", "model"]), @"
    error: [project]/pipeline.toml: this is not a patch file: header too large
    hint: a patch is written by `dean export POINT FILE.safetensors --patch`
    ");
    insta::assert_snapshot!(project.refused(&["apply", "nothing.safetensors", "model"]), @"
    error: cannot read [project]/nothing.safetensors: no such file or directory
    hint: check the path; paths in a pipeline file are relative to that file
    ");
    insta::assert_snapshot!(project.refused(&["verify", "nothing"]), @"
    error: [project]/nothing is not a directory
    hint: name a directory that `dean export` wrote
    ");
    assert!(!project.dir.join("out").exists());
    let hidden = fs::read_dir(&project.dir)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "nothing of a temporary name is left");
}

/// The lines of the Python block of docs/export.md that defines `name`.
fn documented_python(name: &str) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/export.md")).unwrap();
    let blocks = page.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.into_iter().find(|block| block.contains(name)).expect("the page has the lines").to_owned()
}

/// What stands between two texts, after the first `start`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text}")).1;
    rest.split_once(end).unwrap_or_else(|| panic!("no {end} after {start} in {text}")).0
}

/// `tests/interop/export.py` runs these lines with transformers; here they are held against a patch file.
#[test]
fn the_documented_python_lines_name_what_a_patch_file_has() {
    let lines = documented_python("def apply_patch");
    assert!(lines.lines().count() <= 20, "{lines}");
    let project = prepared();
    project.ok(&["export", POINT, "patch.safetensors", "--patch"]);
    let file = fs::read(project.dir.join("patch.safetensors")).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&file[8..8 + length]).unwrap();

    let metadata = between(&lines, "patch.metadata()[\"", "\"]");
    let names: BTreeMap<String, String> =
        serde_json::from_str(header["__metadata__"][metadata].as_str().unwrap()).unwrap();
    assert_eq!(names.len(), 6);
    assert!(lines.contains("get_tensor(f\"{name}/{part}\")"), "{lines}");
    let parts: BTreeSet<String> =
        between(&lines, "for part in (", ")").split(", ").map(|part| part.trim_matches('"').to_owned()).collect();
    let expected: BTreeSet<String> =
        names.keys().flat_map(|name| parts.iter().map(move |part| format!("{name}/{part}"))).collect();
    let there: BTreeSet<String> = header.into_keys().filter(|name| name != "__metadata__").collect();
    assert_eq!(expected, there, "every tensor of the file, and no other");
    // The three come out in the order in which the lines name them.
    let order = between(&lines, "            ", " = (patch.get_tensor");
    assert_eq!(
        (order, between(&lines, "for part in (", ")")),
        ("indices, old, new", r#""indices", "original", "values""#)
    );
}
