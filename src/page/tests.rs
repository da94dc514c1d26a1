//! Pages as files: what is escaped, what is allowed, how large they become, and what is shown of partial reports.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::document::TABLES_DIGEST;
use super::*;

#[path = "../../tests/page/sample.rs"]
mod sample;
use sample::{SETS, given, grid, line, sweep};

/// The texts between two marks.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split_once(after)).map(|(inside, _)| inside).collect()
}

fn digest(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

#[test]
fn what_strangers_wrote_is_inert() {
    let sets = ["fairness <script>alert(2)</script>", "privacy\" onload=\"alert(3)", "harmless"];
    let page = write(&given(sets, &grid(3), 4)).unwrap();
    // Our two scripts and the packed rows, and nothing else. A browser does not look for tags inside of scripts, but for their ends.
    let scripts = between(&page, "<script>", "</script>");
    assert!(scripts.iter().all(|script| !script.contains("<!--")), "an end of a script would not be found");
    let page = page.replace(scripts[0], "").replace(scripts[1], "");
    assert_eq!(page.matches("<script").count(), 3, "{:?}", between(&page, "<script", ">"));
    assert_eq!(page.matches("</script").count(), 3);
    assert!(
        !page.contains("<img")
            && !page.contains("onload=\"alert")
            && !page.contains("49 }}")
            && !page.contains("quotes\" 49")
    );
    assert!(page.contains("&lt;script&gt;alert(2)") && page.contains("{{ 7 * 7 }}"));
    let packed = between(&page, "id=\"packed\">", "</script>")[0];
    assert!(packed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)) && packed.len() > 1000);
}

#[test]
fn the_policy_names_every_script_and_style_and_nothing_else() {
    let page = write(&given(SETS, &grid(2), 4)).unwrap();
    let policy =
        between(&page, "Content-Security-Policy\" content=\"", "\"")[0].replace("&#x27;", "'").replace("&#x2f;", "/");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    let scripts = between(&page, "<script>", "</script>");
    let styles = between(&page, "<style>", "</style>");
    assert_eq!((scripts.len(), styles.len()), (2, 1));
    assert!(scripts.iter().chain(&styles).all(|part| policy.contains(&digest(part))), "{policy}");
    assert_eq!(policy.matches("sha256-").count(), 3);
    // Styles and handlers inside of tags would be refused by the policy; addresses outside would be asked for.
    let own = page.replace(scripts[0], "").replace(scripts[1], "");
    assert!(
        !own.contains(" style=\"")
            && !own.contains(" onclick")
            && !own.contains("src=\"")
            && !own.contains("href=\"http")
    );
}

#[test]
fn the_library_is_the_one_that_was_chosen() {
    let bytes = include_bytes!("assets/dataTables.min.js");
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, TABLES_DIGEST);
    assert!(bytes.starts_with(b"/*! DataTables 3.1.5\n"));
}

#[test]
fn a_hundred_points_with_long_answers_stay_below_two_megabytes() {
    let page = write(&given(SETS, &grid(10), 120)).unwrap();
    assert!(page.len() < 2_000_000, "{}", page.len());
    assert!(page.contains("p=1e-6 q=1e-5") && page.contains("id=\"map-1\""));
    assert_eq!(page, write(&given(SETS, &grid(10), 120)).unwrap(), "equal reports have equal bytes");
}

#[test]
fn ids_are_unique_and_every_figure_has_a_table() {
    let page = write(&given(SETS, &grid(3), 4)).unwrap();
    let ids = between(&page, " id=\"", "\"");
    let unique: std::collections::BTreeSet<&&str> = ids.iter().collect();
    assert_eq!(ids.len(), unique.len(), "{ids:?}");
    let figures = between(&page, "<figure", "</figure>");
    assert!(
        figures.len() > 8
            && figures.iter().all(|figure| figure.contains("<table") && figure.matches("<svg ").count() == 2)
    );
}

#[test]
fn a_page_is_made_of_whatever_there_is() {
    let nothing = Given { title: "Nothing".into(), ..Given::default() };
    assert!(write(&nothing).unwrap().contains("There are no answers to compare."));
    for made in [&grid(2)[..1], &grid(2)[..2], &grid(1), &line()] {
        let mut given = given(SETS, made, 4);
        given.missing = Some("so far: 1 of 5 variants are finished".into());
        let page = write(&given).unwrap();
        assert!(page.contains("<strong>Not finished.</strong> so far: 1 of 5"));
        assert!(page.contains("Which point should I take?") && page.contains("How was this made?"));
    }
    // Without a judge and without a perplexity.
    let mut silent = given(SETS, &grid(2), 4);
    for variant in silent.report.iter_mut().flat_map(|report| &mut report.variants) {
        variant.outcomes.retain(|found| found.by == "inspect");
    }
    silent.answers.clear();
    let page = write(&silent).unwrap();
    let page = page.split("<script>").next().unwrap();
    assert!(!page.contains("id=\"front-1\"") && page.contains("id=\"map-1\"") && !page.contains("NaN"));
}

#[test]
fn nothing_is_recommended_where_no_goal_was_set() {
    let page = write(&given(SETS, &grid(3), 4)).unwrap();
    assert!(page.contains("It is not a recommendation.") && page.contains("No goals were set for the questions"));
    assert!(page.contains("neither shown nor ruled out") && page.contains("corrected by Holm for the 9 masks"));
}

#[test]
fn a_sweep_shows_the_spread_between_its_draws() {
    let page = write(&sweep()).unwrap();
    assert!(
        page.contains("id=\"draws-1\"") && page.contains("The figures elsewhere on this page are of the first draw.")
    );
    assert!(!page.contains("One draw of calibration rows") && !page.contains("one draw: none"));
}
