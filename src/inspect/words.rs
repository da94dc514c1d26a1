//! The words of a text in any language, as Unicode's annex 29 divides them. Scripts that put no blanks between words, such as
//! Han and Thai, give a word for each character.
//!
//! Must not know: what the words are looked at for.

use unicode_segmentation::UnicodeSegmentation;

/// The words in lower case, without punctuation.
pub fn words(text: &str) -> Vec<String> {
    text.unicode_words().map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_all_scripts_are_told_apart() {
        assert_eq!(words("I can't, SORRY: 3.14 is π!"), ["i", "can't", "sorry", "3.14", "is", "π"]);
        assert_eq!(words("我不能。"), ["我", "不", "能"]);
        assert_eq!(words("Мне жаль — nein, überhaupt"), ["мне", "жаль", "nein", "überhaupt"]);
        assert_eq!(words("... !!! \n"), [""; 0]);
    }
}
