//! Characters that look alike to an engine and are alike to the check digits: their values differ by ten or twenty, so that
//! `1898902C3` read for `L898902C3` passes. A data page has its number a second time, in print; that one decides.

/// Confused pairs of equal value modulo ten.
const TWINS: [(char, char); 5] = [('1', 'L'), ('6', 'G'), ('8', 'S'), ('5', 'Z'), ('0', 'U')];
/// Of a number that has more, none is put right: 256 are looked for.
const PLACES_MAX: usize = 8;
/// A page that is looked at 256 times for each of its zones; text beyond it is no page of a document.
const LINES_MAX: usize = 2_000;
const LINE_CHARS_MAX: usize = 240;
/// Shorter ones stand on a page by chance.
const NUMBER_CHARS_MIN: usize = 6;

/// The printed part of a page: each line's letters and digits, in capitals.
pub struct Print(Vec<String>);

impl Print {
    pub fn of<'t>(lines: impl Iterator<Item = &'t str>) -> Self {
        let joined = |line: &str| {
            line.chars()
                .take(LINE_CHARS_MAX)
                .filter(char::is_ascii_alphanumeric)
                .collect::<String>()
                .to_ascii_uppercase()
        };
        Self(lines.map(joined).filter(|line| line.len() >= NUMBER_CHARS_MIN).take(LINES_MAX).collect())
    }

    pub fn has(&self, number: &str) -> bool {
        number.len() >= NUMBER_CHARS_MIN && self.0.iter().any(|line| line.contains(number))
    }

    /// The one number that may have been meant and is printed; none when the number itself is, or several are.
    pub fn meant(&self, number: &str) -> Option<String> {
        if self.has(number) {
            return None;
        }
        let mut found = variants(number)?.into_iter().filter(|variant| self.has(variant));
        match (found.next(), found.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }
}

fn twin(c: char) -> Option<char> {
    TWINS.iter().find_map(|(one, other)| match c {
        c if c == *one => Some(*other),
        c if c == *other => Some(*one),
        _ => None,
    })
}

/// All others that differ from it in twins only.
fn variants(number: &str) -> Option<Vec<String>> {
    let places: Vec<(usize, char)> =
        number.chars().enumerate().filter_map(|(place, c)| Some((place, twin(c)?))).collect();
    if places.len() > PLACES_MAX {
        return None;
    }
    let variant = |choice: u32| {
        let mut characters: Vec<char> = number.chars().collect();
        for (nth, (place, twin)) in places.iter().enumerate() {
            if let (true, Some(c)) = (choice >> nth & 1 == 1, characters.get_mut(*place)) {
                *c = *twin;
            }
        }
        String::from_iter(characters)
    };
    Some((1..1_u32 << places.len()).map(variant).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;

    #[test]
    fn twins_are_alike_to_the_check_digits() {
        for (one, other) in TWINS {
            assert_eq!(check::digit([one]), check::digit([other]), "{one} {other}");
        }
    }

    #[test]
    fn print_decides_only_when_it_says_one_thing() {
        let print = |text: &'static str| Print::of(text.lines());
        assert_eq!(print("Passport No.\nL898902C3").meant("1898902C3").as_deref(), Some("L898902C3"));
        assert_eq!(print("No. L 898 902 C3").meant("1898902C3").as_deref(), Some("L898902C3"));
        assert_eq!(print("1898902C3\nL898902C3").meant("1898902C3"), None, "it stands there itself");
        assert_eq!(print("LS98902C3\nL898902C3").meant("1898902C3"), None, "two could be meant");
        assert_eq!(print("nothing of it").meant("1898902C3"), None);
        assert_eq!(print("L111111111").meant("1111111111"), None, "too many places");
    }
}
