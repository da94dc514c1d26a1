//! GGUF files that were cut in parts: `NAME-00001-of-00003.gguf` and its siblings.
//!
//! Must not know: what is in the parts.

use std::path::{Path, PathBuf};

/// More parts than anybody makes. The number comes from a file's name.
const MOST: usize = 10_000;

/// All parts of the file that this one is a part of, by their names, whether they are there or not. None for a file that is
/// whole.
pub fn of(path: &Path) -> Option<Vec<PathBuf>> {
    let stem = path.file_name()?.to_str()?;
    let (stem, ending) = stem.split_at_checked(stem.len().checked_sub(".gguf".len())?)?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !ending.eq_ignore_ascii_case(".gguf") || !digits(number) || !digits(count) {
        return None;
    }
    let (number, count): (usize, usize) = (number.parse().ok()?, count.parse().ok()?);
    let part = |number: usize| path.with_file_name(format!("{name}-{number:05}-of-{count:05}{ending}"));
    ((2..=MOST).contains(&count) && (1..=count).contains(&number)).then(|| (1..=count).map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_names_all_of_them() {
        let all = ["m/a-of-b-00001-of-00003.gguf", "m/a-of-b-00002-of-00003.gguf", "m/a-of-b-00003-of-00003.gguf"];
        for part in all {
            assert_eq!(of(Path::new(part)).unwrap(), all.map(PathBuf::from));
        }
        for whole in [
            "a.gguf",
            "gguf",
            "",
            "a-00001-of-00001.gguf",
            "a-00000-of-00002.gguf",
            "a-00003-of-00002.gguf",
            "a-1-of-2.gguf",
            "a-00001-of-00002.safetensors",
            "a-00001-of-99999.gguf",
            "a-+0001-of-00002.gguf",
            "é-of-ü.gguf",
        ] {
            assert_eq!(of(Path::new(whole)), None, "{whole}");
        }
    }
}
