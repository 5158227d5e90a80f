//! Characters of a line as what their field may hold.

use std::ops::Range;

/// Of what an engine sees, what a digit looks like to it.
pub fn as_digit(c: char) -> Option<char> {
    Some(match c {
        '0'..='9' => c,
        'O' | 'Q' | 'D' | 'U' => '0',
        'I' | 'L' | 'J' => '1',
        'Z' => '2',
        'A' => '4',
        'S' => '5',
        'G' => '6',
        'T' => '7',
        'B' => '8',
        _ => return None,
    })
}

fn as_letter(c: char) -> Option<char> {
    Some(match c {
        'A'..='Z' => c,
        '0' => 'O',
        '1' => 'I',
        '2' => 'Z',
        '4' => 'A',
        '5' => 'S',
        '6' => 'G',
        '8' => 'B',
        _ => return None,
    })
}

/// Reads fields out of a line, and counts what it puts right.
pub struct Reader<'l> {
    line: &'l [char],
    pub corrected: u32,
}

impl<'l> Reader<'l> {
    pub fn new(line: &'l [char]) -> Self {
        Self { line, corrected: 0 }
    }

    fn typed(&mut self, at: Range<usize>, rule: impl Fn(char) -> Option<char>) -> Option<String> {
        let mut text = String::with_capacity(at.len());
        for c in self.line.get(at)? {
            let meant = rule(*c)?;
            self.corrected += u32::from(meant != *c);
            text.push(meant);
        }
        Some(text)
    }

    /// As it was read: letters, digits and fillers are all possible.
    pub fn any(&self, at: Range<usize>) -> Option<String> {
        Some(self.line.get(at)?.iter().collect())
    }

    /// Digits, or fillers for what is not known. None: neither, so this is no such field.
    pub fn digits(&mut self, at: Range<usize>) -> Option<String> {
        self.typed(at, |c| if c == '<' { Some(c) } else { as_digit(c) })
    }

    /// A check digit, or a filler in its place.
    pub fn check(&mut self, at: usize) -> Option<char> {
        self.digits(at..at + 1)?.chars().next()
    }

    /// The digit of data that may be empty: then a filler may stand there, which an engine takes for a K.
    pub fn check_or_filler(&mut self, at: usize) -> Option<char> {
        let rule = |c| if matches!(c, '<' | 'K') { Some('<') } else { as_digit(c) };
        self.typed(at..at + 1, rule)?.chars().next()
    }

    /// Letters and fillers.
    pub fn letters(&mut self, at: Range<usize>) -> Option<String> {
        self.typed(at, |c| if c == '<' { Some(c) } else { as_letter(c) })
    }
}

/// Without the fillers at the end; those inside are spaces.
pub fn plain(text: &str) -> String {
    text.trim_matches('<').replace('<', " ")
}

/// Surname and given names. Three fillers in a row end a name: what an engine sees behind them are fillers.
pub fn names(text: &str) -> (String, String) {
    let whole = text.split("<<<").find(|part| !part.is_empty()).unwrap_or_default();
    let (surname, given) = whole.split_once("<<").unwrap_or((whole, ""));
    (plain(surname), plain(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_three_fillers_whatever_is_seen_behind() {
        let named = |text| names(text);
        assert_eq!(named("ERIKSSON<<ANNA<MARIA<<<<<<<<<<"), ("ERIKSSON".into(), "ANNA MARIA".into()));
        assert_eq!(named("ERIKSSON<<ANNA<MARIA<<<<KK<SC<"), ("ERIKSSON".into(), "ANNA MARIA".into()));
        assert_eq!(named("VAN<DER<MUELLEN<<NILAVADHANANANDA"), ("VAN DER MUELLEN".into(), "NILAVADHANANANDA".into()));
        assert_eq!(named("ARKFREITH<<<<<<<<"), ("ARKFREITH".into(), String::new()));
        assert_eq!(named("<<<<<<<<"), (String::new(), String::new()));
    }
}
