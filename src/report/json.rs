//! A report as JSON: an array with one object for each variant, the base first.
//!
//! Must not know: where the bytes lie, how facts are shown.

use super::facts::VariantReport;
use crate::error::{Error, Result};

/// The facts as the text of report.json.
pub fn write(rows: &[VariantReport]) -> Result<Vec<u8>> {
    // Through a value, whose keys are sorted.
    let bytes = serde_json::to_value(rows).and_then(|value| serde_json::to_vec_pretty(&value));
    let mut bytes = bytes.map_err(|error| Error::fault(format!("a report is not JSON: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The facts of a report.json.
///
/// # Errors
/// User: bytes that are not a report.
pub fn read(report: &[u8]) -> Result<Vec<VariantReport>> {
    serde_json::from_slice(report).map_err(|cause| {
        Error::user(format!("the report in the store does not read back: {cause}"))
            .hint("`dean cache fsck` looks for damage; `dean run` computes again what is missing")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::facts::findings;
    use crate::report::measures::{NLL, TOKENS};
    use crate::tables::Outcome;

    #[test]
    fn a_wrecked_variant_has_null_and_a_reason_and_reads_back() {
        let loss = [
            Outcome::new("text", 0, NLL, Some(f64::INFINITY)),
            Outcome::new("text", 0, TOKENS, Some(63.0)),
            Outcome::new("fairness", 0, "refusal/safe", Some(1.0)),
        ];
        let rows = [VariantReport {
            variant: "base".into(),
            mask: None,
            weights: 0,
            points: Vec::new(),
            rule: "a".into(),
            calibration: BTreeMap::new(),
            outcomes: findings("someone", &loss).unwrap(),
        }];
        let bytes = write(&rows).unwrap();
        assert_eq!(read(&bytes).unwrap(), rows);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        insta::assert_snapshot!(value[0]["outcomes"], @r#"[{"by":"someone","count":1,"interval":[0.20654931437723745,1.0],"measure":"refusal/safe","rows":1,"set":"fairness","unread":0,"value":1.0},{"by":"someone","measure":"nll","over":63.0,"rows":1,"set":"text","unread":0,"value":null,"why":"infinite"}]"#);
    }

    #[test]
    fn what_is_no_report_is_a_sentence() {
        assert!(read(b"[{}]").unwrap_err().message().starts_with("the report in the store does not read back"));
    }
}
