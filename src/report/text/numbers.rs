//! Numbers as a report shows them: with the digits that matter, and no more.
//!
//! Must not know: what the numbers measure.

/// A difference with its sign; what rounds to nothing is no loss.
pub fn signed(change: f64, decimals: usize) -> String {
    let text = format!("{change:+.decimals$}");
    if text.trim_start_matches(['-', '0', '.']).is_empty() { text.replacen('-', "+", 1) } else { text }
}

/// A positive number with so many digits that matter, but no fraction of more than two digits.
pub fn digits(value: f64, significant: usize) -> String {
    if value >= 1e5 {
        return format!("{value:.1e}");
    }
    let whole = format!("{value:.0}").len();
    format!("{value:.*}", significant.saturating_sub(whole).min(2))
}

/// A ratio: near 1, the third digit behind the point matters.
pub fn ratio(value: f64) -> String {
    if value < 9.9995 { format!("{value:.3}") } else { digits(value, 3) }
}

/// A share in percent.
pub fn percent(share: f64, decimals: usize) -> String {
    format!("{:.decimals$} %", 100.0 * share)
}

/// Both ends of an interval, each as `show` writes it.
pub fn interval((low, high): (f64, f64), show: impl Fn(f64) -> String) -> String {
    format!("[{}, {}]", show(low), show(high))
}

/// A p-value as journals write it, without the zero in front: `.73`, `.004`, `<.001`, `1`.
pub fn p_value(p: f64) -> String {
    let text = match p {
        _ if p < 0.001 => return "<.001".into(),
        _ if p < 0.0995 => format!("{p:.3}"),
        _ if p < 0.995 => format!("{p:.2}"),
        _ => return "1".into(),
    };
    text.trim_start_matches('0').to_owned()
}

/// `a`, `a and b`, `a, b and 3 more`: some of the names, and how many there are.
pub fn some(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [one, other] => format!("{one} and {other}"),
        [one, two, three] => format!("{one}, {two} and {three}"),
        [one, two, more @ ..] => format!("{one}, {two} and {} more", more.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_matter() {
        let shown = [1.0, 18.276, 1391.99, 22_503.7, 1.5e7].map(|value| digits(value, 4));
        assert_eq!(shown, ["1.00", "18.28", "1392", "22504", "1.5e7"]);
        assert_eq!([1.2345, 12.345, 123.45].map(|value| digits(value, 3)), ["1.23", "12.3", "123"]);
        assert_eq!([0.998, 1.0109, 9.9999, 1231.2].map(ratio), ["0.998", "1.011", "10.0", "1231"]);
        assert_eq!([-0.04, 0.04, -0.06, 0.0].map(|value| signed(value, 1)), ["+0.0", "+0.0", "-0.1", "+0.0"]);
        assert_eq!(interval((-0.111, 0.2), |end| signed(end, 1)), "[-0.1, +0.2]");
        assert_eq!((percent(0.0625, 1), percent(1.0, 0)), ("6.2 %".into(), "100 %".into()));
    }

    #[test]
    fn p_values_are_short() {
        let shown = [1.0, 0.996, 0.9949, 0.734, 0.0996, 0.0488, 0.0011, 0.0009, 0.0].map(p_value);
        assert_eq!(shown, ["1", "1", ".99", ".73", ".10", ".049", ".001", "<.001", "<.001"]);
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = ["a", "b", "c", "d", "e"].map(String::from).into();
        let shown: Vec<String> = (0..=5).map(|count| some(&names[..count])).collect();
        assert_eq!(shown, ["", "a", "a and b", "a, b and c", "a, b and 2 more", "a, b and 3 more"]);
    }
}
