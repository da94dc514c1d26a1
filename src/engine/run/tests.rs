//! Runs that do not go as they should: a stage that panics, a signal, an input that is damaged under way.
//!
//! An observer is told of everything while it happens, so it is where these tests interfere.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::config::Pipeline;
use crate::engine::events::Silent;
use crate::engine::testing::job;
use crate::files;
use crate::model::Loaded;
use crate::store::Store;

const SELECT: &str = "[score]\ncap = 0.1\n[select]\nrule = \"a\"\nq = [0.05]\n";

/// A run to the end of a stage. Everything but the store is new, as in another process.
fn run(
    pipeline: &Pipeline,
    store: &Store,
    observer: &dyn Observer,
    stop: &(dyn Fn() -> bool + Sync),
    until: &str,
) -> Result<Vec<String>> {
    let models = Loaded::new(crate::model::device::Device::Cpu);
    let planner = Planner::new(pipeline, store, &models);
    let summary =
        Runner { planner, observer, stop, command: Vec::new(), name: None, part: Part::default() }.run(Some(until))?;
    Ok(summary.computed.into_iter().map(|(node, _)| node).collect())
}

#[test]
fn a_panic_in_a_stage_publishes_nothing_and_frees_the_node() {
    struct Panics;
    impl Observer for Panics {
        fn progress(&self, node: &str, _: u64, _: u64, _: &str) {
            assert!(!node.starts_with("score["), "a broken invariant");
        }
    }
    let (_dir, pipeline) = job(SELECT);
    let store = Store::open(&pipeline.run.store).unwrap();
    let error = run(&pipeline, &store, &Panics, &|| false, "score").unwrap_err();
    assert_eq!(error.kind(), Kind::Fault);
    assert_eq!(error.message(), "score[a] failed inside: a broken invariant");
    assert!(!files::is_there(&store.root().join("records/score")));
    assert_eq!(files::list(&store.root().join("claims")).unwrap().len(), 0);
    assert_eq!(run(&pipeline, &store, &Silent, &|| false, "score").unwrap(), ["score[a]"]);
}

#[test]
fn a_signal_keeps_what_was_finished() {
    struct Counts(AtomicUsize);
    impl Observer for Counts {
        fn finished(&self, _: &str, _: f64) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (_dir, pipeline) = job(SELECT);
    let store = Store::open(&pipeline.run.store).unwrap();
    let counts = Counts(AtomicUsize::new(0));
    let error = run(&pipeline, &store, &counts, &|| counts.0.load(Ordering::Relaxed) == 1, "select").unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Stopped, "stopped before score[a]"));
    assert_eq!(run(&pipeline, &store, &Silent, &|| false, "select").unwrap(), ["score[a]", "select"]);
    assert_eq!(run(&pipeline, &store, &Silent, &|| false, "select").unwrap(), [""; 0]);
}

#[test]
fn an_input_that_is_damaged_under_way_is_computed_again() {
    /// Turns the token ids when scoring begins, once.
    struct Damages<'a>(&'a Store, AtomicBool, Mutex<Vec<String>>);
    impl Observer for Damages<'_> {
        fn started(&self, node: &str, _: usize, _: usize) {
            if node == "score[a]" && !self.1.swap(true, Ordering::Relaxed) {
                let tokens = self.0.records("tokenize").unwrap()[0].outputs["tokens"].digest.to_string();
                let blob = self.0.root().join("blobs").join(&tokens[..2]).join(&tokens);
                files::write_atomic(&blob, b"damaged").unwrap();
            }
        }

        fn note(&self, node: &str, _: &str) {
            self.2.lock().unwrap().push(node.to_owned());
        }
    }
    let (_dir, pipeline) = job(SELECT);
    let store = Store::open(&pipeline.run.store).unwrap();
    let damages = Damages(&store, AtomicBool::new(false), Mutex::default());
    let computed = run(&pipeline, &store, &damages, &|| false, "score").unwrap();
    assert_eq!(computed, ["tokenize[a]", "tokenize[a]", "score[a]"]);
    assert_eq!(store.damage().len(), 1);
    assert!(damages.2.lock().unwrap().contains(&"score[a]".to_owned()), "the user is told");
}

#[test]
fn a_stage_that_does_not_exist_is_refused() {
    let (_dir, pipeline) = job(SELECT);
    let store = Store::open(&pipeline.run.store).unwrap();
    let error = run(&pipeline, &store, &Silent, &|| false, "train").unwrap_err();
    assert_eq!(error.message(), "there is no stage `train`");
    assert!(error.hint_text().unwrap().starts_with("stages are: tokenize, "));
}

#[test]
fn answers_drafted_by_the_base_are_those_that_come_without_drafts() {
    struct Notes(Mutex<Vec<String>>);
    impl Observer for Notes {
        fn note(&self, node: &str, text: &str) {
            self.0.lock().unwrap().push(format!("{node}: {text}"));
        }
    }
    let questions = "[questions.q]\npath = \"rows.csv\"\ncolumn = \"prompt\"\n[generate]\nmax_new_tokens = 12\nchat_template = \"none\"\n";
    let (_dir, pipeline) = job(&format!("{SELECT}{questions}"));
    let store = Store::open(&pipeline.run.store).unwrap();
    run(&pipeline, &store, &Silent, &|| false, "patch").unwrap();
    let models = Loaded::new(crate::model::device::Device::Cpu);
    let planner = Planner::new(&pipeline, &store, &models);
    let plan = planner.plan(true).unwrap();
    let names = plan.nodes.iter().map(|planned| planned.node.name.clone());
    let mut variants = names.filter(|name| name.starts_with("generate[") && name != "generate[base]");
    let name = variants.next().unwrap();
    // Nothing is generated yet, so there is no draft.
    let without = planner.anew(&plan, &name).unwrap();
    let notes = Notes(Mutex::default());
    run(&pipeline, &store, &notes, &|| false, "generate").unwrap();
    let notes = notes.0.into_inner().unwrap();
    let called = plan.called(&name);
    assert!(notes.iter().any(|note| note.starts_with(&called) && note.ends_with("were right here too")), "{notes:?}");
    let plan = planner.plan(true).unwrap();
    let with = planner.output_bytes(&plan, &name, "answers").unwrap().unwrap();
    assert_eq!(without, [("answers".to_owned(), with.to_vec())]);
}

#[test]
fn one_variant_is_done_before_the_next_begins() {
    let text = format!(
        "{SELECT}[perplexity]\npath = \"rows.csv\"\nwindow = 2\n[questions.asked]\npath = \"rows.csv\"\ncolumn = \"prompt\"\n\
         [generate]\nmax_new_tokens = 1\nchat_template = \"none\"\n"
    )
    .replace("q = [0.05]", "q = [0.02, 0.05, 0.1]");
    let (_dir, pipeline) = job(&text);
    let store = Store::open(&pipeline.run.store).unwrap();
    let mut done = run(&pipeline, &store, &Silent, &|| false, "report").unwrap();
    // What judges are tried with is no variant.
    done.retain(|node| !node.ends_with("[controls]"));
    let of = |variant: &str| {
        let places = done.iter().enumerate().filter(|(_, node)| node.ends_with(&format!("[{variant}]")));
        places.map(|(place, _)| place).collect::<Vec<usize>>()
    };
    let variants: Vec<&str> =
        done.iter().filter_map(|node| node.strip_prefix("generate[")?.strip_suffix(']')).collect();
    assert!(variants.len() == 4 && variants[0] == "base", "{done:?}");
    for variant in variants {
        let places = of(variant);
        assert!(places.len() > 2, "{done:?}");
        assert_eq!(places[places.len() - 1] - places[0] + 1, places.len(), "{variant} was interrupted: {done:?}");
    }
    assert_eq!((done[2].as_str(), done.last().unwrap().as_str()), ("select", "report"));
}
