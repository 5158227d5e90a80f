/// A page's worth; more does not make it surer.
const CHARS_MAX: usize = 20_000;
/// Fewer letters are names and numbers.
const LETTERS_MIN: usize = 80;

/// The language of a text by its letters in threes, as a code of ISO 639-3, which are Tesseract's too for most; none when it
/// is not sure.
pub fn of(text: &str) -> Option<&'static str> {
    let start: String = text.chars().take(CHARS_MAX).collect();
    if start.chars().filter(|c| c.is_alphabetic()).count() < LETTERS_MIN {
        return None;
    }
    whatlang::detect(&start).filter(whatlang::Info::is_reliable).map(|found| found.lang().code())
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn german_and_english_are_told_apart() {
        let german = "Der Kunde weist sich mit einem gültigen amtlichen Ausweis aus. Die Bank prüft die Angaben und \
                      bewahrt eine Kopie fünf Jahre lang auf.";
        let english = "The customer proves his identity by a valid official document. The bank checks what it is told \
                       and keeps a copy for five years.";
        assert_eq!((of(german), of(english)), (Some("deu"), Some("eng")));
    }

    #[test]
    fn numbers_names_and_nothing_have_no_language() {
        for text in ["", "4711 0815 22", "Anna Maria Eriksson", &"0 1 2 3 ".repeat(1_000)] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
