//! Reports as they are shown, at three widths, short and long, with one set and with four.

use std::collections::BTreeMap;

use super::*;
use crate::digest::Digest;
use crate::layout::Tone;
use crate::report::facts::{ControlReport, Measured, findings};
use crate::report::measures::{CHANGED, CUT, EMPTY, NLL, TOKENS};
use crate::report::{CalibrationReport, Groups};
use crate::tables::{Control, ControlKind, Outcome};

const QUESTIONS: u32 = 48;

fn flag(is: bool) -> Option<f64> {
    Some(f64::from(u8::from(is)))
}

/// Verdicts of which so many are safe and unsafe, the rest unread, on answers of which so many are empty, cut and changed.
fn verdicts(set: &str, safe: u32, not_safe: u32, empty: u32) -> Vec<Outcome> {
    let verdict = |row| match row {
        _ if row < safe => Some(1.0),
        _ if row < safe + not_safe => Some(0.0),
        _ => None,
    };
    let all = (0..QUESTIONS).flat_map(|row| {
        [
            Outcome::new(set, row, "refusal/safe", verdict(row)),
            Outcome::new(set, row, EMPTY, flag(row < empty)),
            Outcome::new(set, row, CUT, flag(row < empty)),
        ]
    });
    all.collect()
}

fn changed(set: &str, rows: u32) -> Vec<Outcome> {
    (0..QUESTIONS).map(|row| Outcome::new(set, row, CHANGED, flag(row < rows))).collect()
}

/// Four windows of a text. What is not the base's perplexity does not change all of them alike.
fn loss(text: &str, perplexity: f64) -> Vec<Outcome> {
    let apart = if perplexity > 18.3 { 0.004 } else { 0.0 };
    let window = |row: u32| {
        let mean = perplexity.ln() + apart * [1.0, -1.5, 2.0, -1.5][row as usize];
        [Outcome::new(text, row, NLL, Some(2047.0 * mean)), Outcome::new(text, row, TOKENS, Some(2047.0))]
    };
    (0..4).flat_map(window).collect()
}

/// A variant with its points and all that was measured on it; `base` without a mask.
struct Told(&'static str, u64, Vec<(Option<f64>, f64)>, Vec<Outcome>);

fn report(all: &[Told]) -> Report {
    let name = |mask: &str| if mask.is_empty() { "base".into() } else { Digest::of(mask.as_bytes()).short() };
    let variant = |Told(mask, weights, points, outcomes): &Told| VariantReport {
        variant: name(mask),
        name: naming::points(points.iter().copied().filter(|_| !mask.is_empty())).unwrap_or_else(|| "base".into()),
        mask: (!mask.is_empty()).then(|| Digest::of(mask.as_bytes())),
        weights: *weights,
        points: points.iter().map(|(p, q)| PointReport { p: *p, q: *q }).collect(),
        controls: Vec::new(),
        rule: "fairness & privacy - general".into(),
        calibration: BTreeMap::new(),
        outcomes: findings("someone", outcomes).unwrap(),
    };
    let measured = |Told(mask, _, _, outcomes): &Told| Measured {
        by: "someone".into(),
        variant: name(mask),
        found: outcomes.clone(),
    };
    let measured: Vec<Measured> = all.iter().map(measured).collect();
    Report::new(all.iter().map(variant).collect(), &measured, &Groups::default())
}

/// Two sets and a text, a base and three variants: one that changes little, one that changes much, and one that is wrecked.
fn usual() -> Report {
    let all = |fairness: [u32; 4], privacy: [u32; 3], perplexity: f64| {
        let [safe, not_safe, empty, new] = fairness;
        let [kept, lost, others] = privacy;
        let mut all =
            [verdicts("fairness", safe, not_safe, empty), verdicts("privacy", kept, lost, 0), loss("text", perplexity)]
                .concat();
        if new > 0 {
            all.extend([changed("fairness", new), changed("privacy", others)].concat());
        }
        all
    };
    let points = vec![(Some(1e-5), 1e-5), (Some(3e-5), 1e-5)];
    report(&[
        Told("", 0, vec![(Some(1e-7), 1e-7)], all([30, 18, 0, 0], [41, 7, 0], 18.276)),
        Told("a", 12, points, all([31, 17, 0, 9], [39, 7, 12], 18.333)),
        Told("b", 25_314, vec![(Some(1e-5), 1e-4)], all([48, 0, 3, 48], [0, 0, 48], 22_503.7)),
        Told("c", 1 << 20, vec![(Some(1e-5), 1e-3)], all([0, 48, 48, 48], [0, 48, 48], f64::INFINITY)),
    ])
}

fn lines_fit(text: &str, width: usize) {
    let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > width).collect();
    assert!(long.is_empty(), "wider than {width}: {long:#?}\n{text}");
}

/// The tables of a report, without the notes.
fn tables(report: &Report, width: usize) -> String {
    let text = show(report, &Look::plain(width));
    lines_fit(&text, width);
    text.split("\n\nrule: ").next().unwrap().to_owned()
}

#[test]
fn at_120_columns() {
    let text = show(&usual(), &Look::plain(120));
    lines_fit(&text, 120);
    insta::assert_snapshot!(text, @"
                            fairness                                     privacy
    point          weights  caution change 95 % interval   flips p       caution change 95 % interval   flips p
    base                 0   62.5 %                                       85.4 %
    p=q=1e-5 +1 ~       12   64.6 %   +2.1 [-3.8, +8.0]    -0 +1 1        84.8 %   -4.3 [-13.9, +4.1]   -2 +0 .50
      also p=3e-5 q=1e-5
    p=1e-5 q=1e-4    25314  100.0 %  +37.5 [+23.2, +51.6] -0 +18 <.001*        -
    p=1e-5 q=1e-3  1048576    0.0 %  -62.5 [-74.8, -46.5] -30 +0 <.001*    0.0 %  -85.4 [-92.8, -70.8] -41 +0 <.001*

                   perplexity                          fairness        privacy
    point          value  ratio 95 % interval  p       changed    cut  changed  cut
    base           18.28                                          0 %           0 %
    p=q=1e-5 +1 ~  18.33 x1.003 [0.992, 1.015] .45        19 %    0 %     25 %  0 %
    p=1e-5 q=1e-4  22504  x1231 [1217, 1245]   <.001*    100 %    6 %    100 %  0 %
    p=1e-5 q=1e-3    inf                                 100 %  100 %    100 %  0 %

    rule: fairness & privacy - general
    caution: share of answers that the judge `refusal` calls safe
    ratio: perplexity over that of the base; lower is better
    changed: share of answers that are not the base's, to the letter
    cut: share of answers that end at the limit of new tokens or inside a thought; lower is better
    change: percentage points against the base, with Newcombe's 95 % interval for pairs; flips: verdicts
      lost and won; p: McNemar's exact test, corrected by Holm for 3 masks
    change and ratio of a mean: with the 95 % interval of the rows' paired differences; p: Student's
      test of these, corrected by Holm for 3 masks
    *: significant: p is below .05, and drawing the rows anew excludes that nothing changed
    ~: nothing in this row is significant; its changes may be noise
    smallest true change that would be seen in 80 of 100 such measurements (of verdicts, if a fifth of
      them flips): fairness 18.1 points (48 questions); privacy 18.1 points (48 questions); perplexity
      1.0 % (4 windows)
    shown to stay as it was (two one-sided tests: a share within 5 points, a perplexity within a factor
      of 1.05): fairness: none; privacy: none; perplexity: p=q=1e-5 +1
    cut: more than 10 % in 1 of 8 places, at most 100 % (p=1e-5 q=1e-3, fairness): what was cut off was
      not judged; `dean run --lengths 64,256` shows what longer answers give
    p=q=1e-7 selects no weight and equals the base
    p=q=1e-5 +1, privacy: 2 of 48 verdicts could not be read and are not counted
    p=1e-5 q=1e-4, privacy: 48 of 48 verdicts could not be read and are not counted
    p=1e-5 q=1e-4, fairness: 3 of 48 answers are empty
    p=1e-5 q=1e-3, fairness: 48 of 48 answers are empty
    The refusal judge looks for phrases of refusal and caution and calls every answer without one
      unsafe, harmless ones too. A warning followed by full help counts as caution; a refusal in other
      words, in another language or in quoted speech is misread. Use it to compare variants on the same
      questions, not as a measure of harm.
    ");
}

#[test]
fn at_80_columns() {
    insta::assert_snapshot!(tables(&usual(), 80), @"
                                      fairness
    point          weights  mask      caution change 95 % interval   flips p
    base                 0             62.5 %
    p=q=1e-5 +1 ~       12  17762fdd   64.6 %   +2.1 [-3.8, +8.0]    -0 +1 1
      also p=3e-5 q=1e-5
    p=1e-5 q=1e-4    25314  10e5cf3d  100.0 %  +37.5 [+23.2, +51.6] -0 +18 <.001*
    p=1e-5 q=1e-3  1048576  ea7aa1fc    0.0 %  -62.5 [-74.8, -46.5] -30 +0 <.001*

                   privacy
    point          caution change 95 % interval   flips p
    base            85.4 %
    p=q=1e-5 +1 ~   84.8 %   -4.3 [-13.9, +4.1]   -2 +0 .50
    p=1e-5 q=1e-4        -
    p=1e-5 q=1e-3    0.0 %  -85.4 [-92.8, -70.8] -41 +0 <.001*

                   perplexity                          fairness        privacy
    point          value  ratio 95 % interval  p       changed    cut  changed  cut
    base           18.28                                          0 %           0 %
    p=q=1e-5 +1 ~  18.33 x1.003 [0.992, 1.015] .45        19 %    0 %     25 %  0 %
    p=1e-5 q=1e-4  22504  x1231 [1217, 1245]   <.001*    100 %    6 %    100 %  0 %
    p=1e-5 q=1e-3    inf                                 100 %  100 %    100 %  0 %
    ");
}

#[test]
fn at_60_columns() {
    let text = show(&usual(), &Look::plain(60));
    lines_fit(&text, 60);
    insta::assert_snapshot!(text, @"
                   fairness
    point          caution change 95 % interval   flips p
    base            62.5 %
    p=q=1e-5 +1 ~   64.6 %   +2.1 [-3.8, +8.0]    -0 +1 1
      also p=3e-5 q=1e-5
    p=1e-5 q=1e-4  100.0 %  +37.5 [+23.2, +51.6] -0 +18 <.001*
    p=1e-5 q=1e-3    0.0 %  -62.5 [-74.8, -46.5] -30 +0 <.001*

                   privacy
    point          caution change 95 % interval   flips p
    base            85.4 %
    p=q=1e-5 +1 ~   84.8 %   -4.3 [-13.9, +4.1]   -2 +0 .50
    p=1e-5 q=1e-4        -
    p=1e-5 q=1e-3    0.0 %  -85.4 [-92.8, -70.8] -41 +0 <.001*

                   perplexity
    point          value  ratio 95 % interval  p
    base           18.28
    p=q=1e-5 +1 ~  18.33 x1.003 [0.992, 1.015] .45
    p=1e-5 q=1e-4  22504  x1231 [1217, 1245]   <.001*
    p=1e-5 q=1e-3    inf

                   fairness        privacy
    point          changed    cut  changed  cut
    base                      0 %           0 %
    p=q=1e-5 +1 ~     19 %    0 %     25 %  0 %
    p=1e-5 q=1e-4    100 %    6 %    100 %  0 %
    p=1e-5 q=1e-3    100 %  100 %    100 %  0 %

    rule: fairness & privacy - general
    caution: share of answers that the judge `refusal` calls
      safe
    ratio: perplexity over that of the base; lower is better
    changed: share of answers that are not the base's, to the
      letter
    cut: share of answers that end at the limit of new tokens or
      inside a thought; lower is better
    change: percentage points against the base, with Newcombe's
      95 % interval for pairs; flips: verdicts lost and won; p:
      McNemar's exact test, corrected by Holm for 3 masks
    change and ratio of a mean: with the 95 % interval of the
      rows' paired differences; p: Student's test of these,
      corrected by Holm for 3 masks
    *: significant: p is below .05, and drawing the rows anew
      excludes that nothing changed
    ~: nothing in this row is significant; its changes may be
      noise
    smallest true change that would be seen in 80 of 100 such
      measurements (of verdicts, if a fifth of them flips):
      fairness 18.1 points (48 questions); privacy 18.1 points
      (48 questions); perplexity 1.0 % (4 windows)
    shown to stay as it was (two one-sided tests: a share within
      5 points, a perplexity within a factor of 1.05): fairness:
      none; privacy: none; perplexity: p=q=1e-5 +1
    cut: more than 10 % in 1 of 8 places, at most 100 % (p=1e-5
      q=1e-3, fairness): what was cut off was not judged; `dean
      run --lengths 64,256` shows what longer answers give
    p=q=1e-7 selects no weight and equals the base
    p=q=1e-5 +1, privacy: 2 of 48 verdicts could not be read and
      are not counted
    p=1e-5 q=1e-4, privacy: 48 of 48 verdicts could not be read
      and are not counted
    p=1e-5 q=1e-4, fairness: 3 of 48 answers are empty
    p=1e-5 q=1e-3, fairness: 48 of 48 answers are empty
    The refusal judge looks for phrases of refusal and caution
      and calls every answer without one unsafe, harmless ones
      too. A warning followed by full help counts as caution; a
      refusal in other words, in another language or in quoted
      speech is misread. Use it to compare variants on the same
      questions, not as a measure of harm.
    ");
}

#[test]
fn whatever_is_in_it_fits() {
    let set = |name: &str, safe| verdicts(name, safe, QUESTIONS - safe, 0);
    let long = "questions about people who are protected by the law of the land";
    let many = |sets: &[&str], count: u32| {
        let outcomes = |safe: u32| sets.iter().flat_map(|name| set(name, safe)).collect::<Vec<_>>();
        let masks =
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"];
        let mut all = vec![Told("", 0, Vec::new(), outcomes(20))];
        for (mask, number) in masks.into_iter().zip(1..count) {
            let q = f64::from(number) * 1.234_567e-5;
            all.push(Told(mask, 1 << number, vec![(Some(2.5e-7), q), (Some(3e-7), q)], outcomes(20 + number % 9)));
        }
        report(&all)
    };
    for report in [many(&["a"], 2), many(&["a", "b", "c", "d"], 20), many(&[long, "b"], 3), many(&[], 3)] {
        for width in [60, 80, 100, 120, 200] {
            let text = tables(&report, width);
            assert!(text.lines().count() > report.variants.len(), "{text}");
        }
    }
    insta::assert_snapshot!(tables(&many(&[long, "b"], 3), 60), @"
                       b
    point              caution change 95 % interval flips p
    base                41.7 %
    p=2.5e-…7e-5 +1 ~   43.8 %   +2.1 [-3.6, +7.7]  -0 +1 1
      also p=3e-7 q=1.234567e-5
    p=2.5e-…4e-5 +1 ~   45.8 %   +4.2 [-2.7, +10.9] -0 +2 1
      also p=3e-7 q=2.469134e-5

                       questions … the land                  b
    point              caution change 95 % interval flips p  cut
    base                41.7 %                               0 %
    p=2.5e-…7e-5 +1 ~   43.8 %   +2.1 [-3.6, +7.7]  -0 +1 1  0 %
    p=2.5e-…4e-5 +1 ~   45.8 %   +4.2 [-2.7, +10.9] -0 +2 1  0 %

                       questions … the land
    point              cut
    base               0 %
    p=2.5e-…7e-5 +1 ~  0 %
    p=2.5e-…4e-5 +1 ~  0 %
    ");
}

#[test]
fn what_is_significant_stands_out_and_what_may_be_noise_steps_back() {
    let look = Look {
        width: 120,
        paint: |text, tone| if tone == Tone::Strong { format!("«{text}»") } else { format!("‹{text}›") },
    };
    let text = show(&usual(), &look);
    let row =
        |name: &str| text.lines().find(|line| line.contains(name)).unwrap().split_whitespace().collect::<Vec<_>>();
    let small = row("p=q=1e-5");
    assert!(small.iter().all(|word| !word.contains(['«', '*'])) && small.contains(&"~›"), "{small:?}");
    assert!(row("q=1e-3").iter().any(|word| word.contains("*»")), "{text}");
    assert!(!row("base").iter().any(|word| word.contains(['«', '‹', '~', '*'])), "{text}");
}

#[test]
fn a_measure_that_nobody_knows_is_shown_beside_the_others() {
    let outcomes = |right: f64| {
        let row = |row, right| Outcome::new("arc", row, "accuracy", Some(right));
        [vec![row(0, right), row(1, 1.0), row(2, right)], verdicts("fairness", 24, 24, 0)].concat()
    };
    let report = report(&[
        Told("", 0, vec![], outcomes(0.5)),
        Told("a", 3, vec![(None, 5e-7)], outcomes(0.0)),
        Told("b", 9, vec![(None, 5e-6)], verdicts("fairness", 24, 24, 0)),
    ]);
    insta::assert_snapshot!(show(&report, &Look::plain(100)), @"
                                 fairness
    point     weights  mask      caution 95 % interval change 95 % interval flips p
    base            0             50.0 % [36.4, 63.6]
    q=5e-7 ~        3  17762fdd   50.0 % [36.4, 63.6]    +0.0 [-3.9, +3.9]  -0 +0 1
    q=5e-6 ~        9  10e5cf3d   50.0 % [36.4, 63.6]    +0.0 [-3.9, +3.9]  -0 +0 1

              arc                                   fairness
    point     accuracy change 95 % interval    p    cut
    base         0.667                              0 %
    q=5e-7 ~     0.333 -0.333 [-1.050, +0.384] .18  0 %
    q=5e-6 ~                                        0 %

    rule: fairness & privacy - general
    caution: share of answers that the judge `refusal` calls safe
    accuracy: mean over the rows
    cut: share of answers that end at the limit of new tokens or inside a thought; lower is better
    change: percentage points against the base, with Newcombe's 95 % interval for pairs; flips: verdicts
      lost and won; p: McNemar's exact test, corrected by Holm for 2 masks
    change and ratio of a mean: with the 95 % interval of the rows' paired differences; p: Student's
      test of these, corrected by Holm for 2 masks
    ~: nothing in this row is significant; its changes may be noise
    smallest true change that would be seen in 80 of 100 such measurements (of verdicts, if a fifth of
      them flips): fairness 18.1 points (48 questions); arc, accuracy 0.467 (3 rows)
    shown to stay as it was (two one-sided tests: a share within 5 points): fairness: all
    The refusal judge looks for phrases of refusal and caution and calls every answer without one
      unsafe, harmless ones too. A warning followed by full help counts as caution; a refusal in other
      words, in another language or in quoted speech is misread. Use it to compare variants on the same
      questions, not as a measure of harm.
    ");
}

#[test]
fn controls_stand_under_their_point() {
    let safe = |safe| verdicts("fairness", safe, QUESTIONS - safe, 0);
    let mut report = report(&[
        Told("", 0, vec![], safe(20)),
        Told("a", 9, vec![(None, 5e-7)], safe(30)),
        Told("b", 9, vec![], safe(22)),
        Told("c", 9, vec![], safe(29)),
    ]);
    let (_, controls) = report.variants.split_at_mut(2);
    for (row, (kind, seed, data)) in
        controls.iter_mut().zip([(ControlKind::Random, Some(0), None), (ControlKind::Top, None, Some("privacy"))])
    {
        let of = Digest::of(b"a");
        let control = Control { mask: of, of, kind, seed, data: data.map(str::to_owned), weights: 9 };
        row.name = control.name();
        row.controls = vec![ControlReport { of, kind, seed, data: control.data }];
    }
    insta::assert_snapshot!(tables(&report, 80), @"
                               fairness
    point             weights  caution change 95 % interval  flips p      cut
    base                    0   41.7 %                                    0 %
    q=5e-7                  9   62.5 %  +20.8 [+8.4, +31.9] -0 +10 .002*  0 %
      random 0              9   45.8 %   +4.2 [-2.7, +10.9]  -0 +2 .50    0 %
      top of privacy        9   60.4 %  +18.8 [+6.8, +29.5]  -0 +9 .004   0 %
    ");
}

#[test]
fn several_texts_are_told_apart() {
    let report = report(&[Told("", 0, vec![], [loss("code", 4.0), loss("prose", 16.0)].concat())]);
    insta::assert_snapshot!(show(&report, &Look::plain(100)), @"
                          perplexity, code             perplexity, prose
    point  weights  mask  value ratio 95 % interval p  value ratio 95 % interval p
    base         0         4.00                        16.00

    rule: fairness & privacy - general
    ratio: perplexity over that of the base; lower is better
    ");
}

#[test]
fn rows_that_occur_more_than_once_are_told() {
    let mut report = report(&[Told("a", 1, vec![(None, 5e-7)], vec![])]);
    let calibration = |repeated, shared| CalibrationReport {
        samples: 32,
        repeated,
        shared: [("general".into(), 0), ("privacy".into(), shared)].into(),
    };
    report.variants[0].calibration =
        [("fairness".into(), calibration(2, 3)), ("general".into(), calibration(0, 0))].into();
    insta::assert_snapshot!(show(&report, &Look::plain(100)), @"
    point   weights  mask
    q=5e-7        1  17762fdd

    rule: fairness & privacy - general
    fairness: 2 of 32 calibration rows repeat an earlier one and count again
    fairness: 3 of 32 calibration rows are rows of privacy too
    ");
}

#[test]
fn a_report_without_variants_is_titles() {
    assert_eq!(show(&report(&[]), &Look::plain(100)), "point  weights  mask");
}
