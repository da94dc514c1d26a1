//! A report as JSON: an object with the number of its form, and a list with one object for each variant, the base first.
//!
//! Must not know: where the bytes lie, how facts are shown.

use super::facts::{Report, SCHEMA};
use crate::error::{Error, Result};

/// The facts as the text of report.json.
pub fn write(report: &Report) -> Result<Vec<u8>> {
    // Through a value, whose keys are sorted.
    let bytes = serde_json::to_value(report).and_then(|value| serde_json::to_vec_pretty(&value));
    let mut bytes = bytes.map_err(|error| Error::fault(format!("a report is not JSON: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The facts of a report.json.
///
/// # Errors
/// User: bytes that are not a report, or one of another form.
pub fn read(report: &[u8]) -> Result<Report> {
    let refused = |cause: String| {
        Error::user(format!("the report in the store does not read back: {cause}"))
            .hint("`dean cache fsck` looks for damage; `dean run` computes again what is missing")
    };
    let read: Report = serde_json::from_slice(report).map_err(|cause| refused(cause.to_string()))?;
    match read.schema {
        SCHEMA => Ok(read),
        other => Err(refused(format!("its schema is {other}, and this dean reads {SCHEMA}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::facts::findings;
    use crate::report::measures::{NLL, TOKENS};
    use crate::report::{Groups, VariantReport};
    use crate::tables::Outcome;

    #[test]
    fn a_wrecked_variant_has_null_and_a_reason_and_reads_back() {
        let loss = [
            Outcome::new("text", 0, NLL, Some(f64::INFINITY)),
            Outcome::new("text", 0, TOKENS, Some(63.0)),
            Outcome::new("fairness", 0, "refusal/safe", Some(1.0)),
        ];
        let rows = vec![VariantReport {
            variant: "base".into(),
            name: "base".into(),
            mask: None,
            weights: 0,
            points: Vec::new(),
            controls: Vec::new(),
            rule: "a".into(),
            calibration: BTreeMap::new(),
            outcomes: findings("someone", &loss).unwrap(),
        }];
        let report = Report::new(rows, &[], &Groups::default());
        let bytes = write(&report).unwrap();
        assert_eq!(read(&bytes).unwrap(), report);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&value["schema"], &value["base"]), (&SCHEMA.into(), &"base".into()));
        insta::assert_snapshot!(value["variants"][0]["outcomes"], @r#"[{"by":"someone","count":1,"interval":[0.20654931437723745,1.0],"measure":"refusal/safe","rows":1,"set":"fairness","unread":0,"value":1.0},{"by":"someone","measure":"nll","over":63.0,"rows":1,"set":"text","unread":0,"value":null,"why":"infinite"}]"#);
    }

    #[test]
    fn what_is_no_report_is_a_sentence() {
        let said = |bytes: &[u8]| read(bytes).unwrap_err().message().to_owned();
        assert!(said(b"[{}]").starts_with("the report in the store does not read back"));
        let other = br#"{"schema": 9, "base": "base", "bootstrap": {"draws": 1, "seed": 0}, "variants": []}"#;
        assert_eq!(said(other), "the report in the store does not read back: its schema is 9, and this dean reads 2");
    }
}
