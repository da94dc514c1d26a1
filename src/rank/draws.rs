//! Draws of a data set: the rows that its settings draw, and those that the next seeds would. A rule such as
//! `stable(fairness, 3 of 5)` asks what several draws agree on.
//!
//! Draw 0 is the set itself and has its name. Draw n is the same set with its seed raised by n, and is called `fairness~n`. The
//! sign `~` is in no name that pipeline.toml allows. So the nodes of a draw are ordinary nodes, and since no name enters their
//! keys, a job with that seed finds them in the store. Must not know: rules, what a data set is.

/// What a draw is called.
pub fn draw_name(set: &str, number: u64) -> String {
    if number == 0 { set.to_owned() } else { format!("{set}~{number}") }
}

/// The set and the number of the draw that is called so.
pub fn draw_of(name: &str) -> (&str, u64) {
    let parts = name.split_once('~').and_then(|(set, number)| Some((set, number.parse().ok()?)));
    parts.unwrap_or((name, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_draw_are_one() {
        for (set, number) in [("fairness", 0), ("fairness", 4), ("a_1", 12)] {
            assert_eq!(draw_of(&draw_name(set, number)), (set, number));
        }
        assert_eq!(draw_of("fairness~1/seed +1"), ("fairness~1/seed +1", 0), "what others derive is no draw");
    }
}
