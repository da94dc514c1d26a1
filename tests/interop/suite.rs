//! The tests that every model goes through.
//!
//! Must not know: which models there are.

/// A module of tests for the model of this name, and with it those that only some models go through.
macro_rules! checked {
    ($test:ident: $name:literal $($more:item)*) => {
        mod $test {
            use crate::checks;
            use crate::golden::{Golden, Model, say};

            #[test]
            fn token_ids_are_those_of_transformers() {
                checks::tokens(&Model::open($name), &Golden::read($name)).unwrap();
            }

            #[test]
            fn logits_are_those_of_transformers() {
                let worst = checks::logits(&Model::open($name), &Golden::read($name)).unwrap();
                say(&format!("{}: logits differ by at most {:.1} % of the tolerance", $name, 100.0 * worst));
            }

            #[test]
            fn losses_scores_and_sets_are_those_of_transformers() {
                let (model, golden) = (Model::open($name), Golden::read($name));
                let scores = checks::score(&model, &golden);
                let worst = checks::losses_and_scores(&model, &golden, &scores).unwrap();
                let differing = checks::sets(&model, &golden, &scores).unwrap();
                say(&format!(
                    "{}: scores differ by at most {:.1} % of the tolerance, sets by {differing} near-ties",
                    $name,
                    100.0 * worst
                ));
            }

            #[test]
            fn greedy_answers_are_those_of_transformers() {
                checks::answers(&Model::open($name), &Golden::read($name)).unwrap();
            }

            $($more)*
        }
    };
}
