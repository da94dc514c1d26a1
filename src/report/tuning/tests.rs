use super::*;

/// Verdicts of one judge on the questions of a set, from row 0: 1 for safe, 0 for unsafe, anything else for unread.
fn verdicts(set: &str, said: &str) -> Vec<Outcome> {
    let value = |letter| match letter {
        '1' => Some(1.0),
        '0' => Some(0.0),
        _ => None,
    };
    (0..).zip(said.chars()).map(|(row, letter)| Outcome::new(set, row, "refusal/safe", value(letter))).collect()
}

fn readings(outcomes: &[Outcome]) -> Readings<'_> {
    let mut readings = Readings::default();
    readings.add("judge", outcomes, &|_| true);
    readings
}

fn set(goal: Goal, tuning: u64, testing: u64) -> TunedSet {
    TunedSet { goal, counts: false, tuning, testing }
}

/// The choice among variants whose verdicts on one set are these, without a division.
fn chosen(base: &str, others: &[(&'static str, u64, &str)], goal: Goal) -> Option<TuningReport> {
    let base = verdicts("fairness", base);
    let others: Vec<_> =
        others.iter().map(|(name, weights, said)| (*name, *weights, verdicts("fairness", said))).collect();
    let candidate = |variant, weights, outcomes| Candidate {
        variant,
        weights,
        tuning: readings(outcomes),
        testing: Readings::default(),
    };
    let rows = base.len() as u64;
    let all: Vec<_> = others.iter().map(|(name, weights, outcomes)| candidate(*name, *weights, outcomes)).collect();
    choose(&candidate("base", 0, &base), &all, [("fairness".to_owned(), set(goal, rows, 0))].into())
}

fn best_of(report: TuningReport) -> Option<(String, f64)> {
    report.best.map(|best| (best.variant, best.gain))
}

#[test]
fn the_best_has_the_largest_gain_in_the_direction_of_the_goal() {
    let others = [("a", 5, "1100"), ("b", 9, "1110"), ("c", 7, "0000")];
    let best = |goal| -> Option<(String, f64)> { best_of(chosen("1000", &others, goal)?) };
    assert_eq!(best(Goal::More), Some(("b".into(), 0.5)));
    assert_eq!(best(Goal::Less), Some(("c".into(), 0.25)));
    assert_eq!(best(Goal::None), None);
    let equal = chosen("1000", &[("a", 5, "1100"), ("b", 4, "1001"), ("c", 4, "1010")], Goal::More).unwrap();
    assert_eq!(best_of(equal).unwrap().0, "b", "of equal gains that of the fewest weights, and then the first");
}

#[test]
fn only_questions_that_both_could_be_judged_on_count() {
    let report = chosen("10-0", &[("a", 1, "-111"), ("b", 1, "1000")], Goal::More).unwrap();
    assert_eq!(best_of(report), Some(("a".into(), 1.0)));
    assert!(chosen("----", &[("a", 1, "1111"), ("b", 1, "1111")], Goal::More).is_none());
}

#[test]
fn the_cost_is_the_expected_maximum_of_noise() {
    let report =
        chosen("10001000", &[("a", 5, "11001001"), ("b", 9, "11001001"), ("c", 9, "11001001")], Goal::More).unwrap();
    let Cost { standard_error, expected } = report.cost.unwrap();
    assert!((standard_error - 2.0_f64.sqrt() / 8.0).abs() < 1e-12, "two of eight changed");
    assert!((expected - standard_error * 0.846_284).abs() < 1e-5);
    assert!(chosen("1000", &[("a", 5, "1100")], Goal::More).is_none(), "with one variant nothing is chosen");
    let still = chosen("1000", &[("a", 5, "1000"), ("b", 5, "1000")], Goal::More).unwrap();
    assert_eq!((still.best, still.cost, still.variants), (None, None, 2), "what gains nothing is not chosen");
}

/// Two divided sets, one of which has more verdicts than the other, and one that is not divided.
fn divided(goal: Goal) -> TuningReport {
    let outcomes = |fairness: &str, privacy: &str, other: &str| {
        [verdicts("fairness", fairness), verdicts("privacy", privacy), verdicts("harmless", other)].concat()
    };
    let all = [
        ("base", outcomes("0000", "00", "00"), outcomes("0000", "0000", "")),
        ("first", outcomes("1000", "10", "00"), outcomes("0000", "1000", "")),
        ("second", outcomes("1110", "00", "11"), outcomes("0000", "1111", "")),
    ];
    let [base, others @ ..] = &all.each_ref().map(|(variant, tuning, testing)| Candidate {
        variant,
        weights: 1,
        tuning: readings(tuning),
        testing: readings(testing),
    });
    let sets = [
        ("fairness".to_owned(), set(goal, 4, 4)),
        ("harmless".to_owned(), set(Goal::Less, 2, 0)),
        ("privacy".to_owned(), set(goal, 2, 4)),
    ];
    choose(base, others, sets.into()).unwrap()
}

#[test]
fn a_point_is_chosen_on_one_part_and_reported_on_the_other() {
    let report = divided(Goal::More);
    assert_eq!(report.best, Some(Best { variant: "first".into(), gain: 0.375, testing: Some(0.125) }));
    let counts: Vec<bool> = report.sets.values().map(|set| set.counts).collect();
    assert_eq!((report.cost, counts), (None, vec![true, false, true]), "what is not divided does not count");
}

#[test]
fn a_reader_is_told_what_was_chosen_and_what_it_costs() {
    let label = |variant: &str| format!("point {variant}");
    insta::assert_snapshot!(notes(&divided(Goal::More), &label).join("\n"), @"
    questions for tuning: 4 of 8 of fairness, 2 of 6 of privacy; every number here is of the others
    point first is the best of 2 by the goals (fairness more, privacy more) on the questions for tuning, +37.5 points there; on the others it has +12.5
    ");
    let whole = chosen("10001000", &[("a", 5, "01001000"), ("b", 9, "01001001")], Goal::More).unwrap();
    insta::assert_snapshot!(notes(&whole, &label).join("\n"), @"point b is the best of 2 by the goals (fairness more): +12.5 points, on the very questions that it was chosen on. If none of the 2 did anything, the best would still be expected at +11.2, the largest of 2 independent gains with a standard error of 19.8; `tune = 0.3` in [questions.NAME] chooses on one part of the questions and reports the other");
    let aimless = divided(Goal::None);
    assert!(aimless.sets["harmless"].counts && aimless.best.is_none(), "the set that has a goal is whole, and counts");
    let told = notes(&aimless, &label);
    assert_eq!(told[0], notes(&divided(Goal::More), &label)[0]);
    assert_eq!(told[1], "none of 2 points is better than the base by the goals (harmless less)");
}
