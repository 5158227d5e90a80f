//! A line as an engine reads it, back to the characters and the length of a zone's line.

use crate::{Format, check, field};

/// No line of a page that holds more is one of a zone.
const CHARS_MAX: usize = 120;
/// A line of TD1 of which fillers are missing.
const CHARS_MIN: usize = 26;
/// No line with fewer is one of a zone that can be read.
pub const NOISE_CHARS_MAX: usize = 9;
/// Fillers that an engine saw too many or too few of. They are all alike, so it counts them badly. Less than what tells
/// lines of TD2 and TD3 apart.
const FILLERS_OFF_MAX: usize = 7;
/// Shorter runs inside a line of numbers are counted well.
const RUN_MIN: usize = 3;

/// A line's characters as a zone has them: upper case, without blanks, fillers where an engine saw quotation marks. Empty for
/// what is no line of a zone.
pub fn normalized(line: &str) -> String {
    if line.chars().take(CHARS_MAX + 1).count() > CHARS_MAX {
        return String::new();
    }
    let mut normal = String::with_capacity(line.len());
    let (mut letters, mut lower) = (0, 0);
    let trimmed = line.trim_matches(|c: char| !c.is_alphanumeric() && !is_filler(c) && c != '«');
    let mut rest = trimmed.chars().filter(|c| !c.is_whitespace()).peekable();
    while let Some(c) = rest.next() {
        let beside_filler = normal.ends_with('<') || rest.peek().is_some_and(|next| is_filler(*next));
        match c {
            // There are no small letters in a zone.
            'c' | 'e' | 'k' | 's' | 'x' if beside_filler => normal.push('<'),
            '«' | '»' => normal.push_str("<<"),
            c if is_filler(c) => normal.push('<'),
            c if c.is_ascii_alphanumeric() => {
                letters += usize::from(c.is_ascii_alphabetic());
                lower += usize::from(c.is_ascii_lowercase());
                normal.push(c.to_ascii_uppercase());
            }
            // Dust between two characters.
            '.' | ',' | '\'' | '`' | '’' | '‘' | '_' | '-' | '~' | '|' => {}
            _ => return String::new(),
        }
    }
    // A zone has no small letters; an engine takes some of its capitals for such, never half of them.
    if lower * 2 > letters { String::new() } else { normal }
}

fn is_filler(c: char) -> bool {
    matches!(c, '<' | '‹' | '＜' | '〈' | '≤' | '(' | '{' | '[')
}

/// Whether nothing but a zone has such a line.
pub fn is_of_a_zone(normal: &str) -> bool {
    (CHARS_MIN..=52).contains(&normal.len()) && normal.contains("<<") && normal.matches('<').count() >= 4
}

/// Whether it may be one beside such a line.
pub fn is_beside_one(normal: &str) -> bool {
    is_of_a_zone(normal)
        || ((CHARS_MIN..=52).contains(&normal.len()) && normal.bytes().filter(u8::is_ascii_digit).count() >= 8)
}

/// Whether nothing but a zone has such a line, though no other is beside it: the page was cropped, or the others were not
/// seen, or it is two of them in one. TD1's third line is not known alone where names fill it to its end.
pub fn is_surely_of_one(normal: &str) -> bool {
    if !(CHARS_MIN..=CHARS_MAX).contains(&normal.len()) || normal.starts_with("<<") {
        return false;
    }
    let count = |of: fn(&u8) -> bool| normal.bytes().filter(of).count();
    let (letters, digits) = (count(u8::is_ascii_alphabetic), count(u8::is_ascii_digit));
    let fillers = normal.matches('<').count();
    let begins_as_one = matches!(
        normal.as_bytes(),
        [b'P' | b'I' | b'A' | b'C' | b'V', b'<', state, ..] if state.is_ascii_alphabetic()
    );
    // Two names, or one that is no sign.
    let has_names = letters >= 8 || normal.trim_end_matches('<').contains("<<");
    let are_names = fillers >= 3 && (begins_as_one || (normal.ends_with("<<") && has_names && digits * 4 <= letters));
    let are_numbers = normal.contains("<<<") && digits >= 8;
    (normal.contains("<<") && (are_names || are_numbers)) || has_both_dates(normal)
}

/// Birth, sex and expiry as they stand in each format: two dates whose check digits agree.
fn has_both_dates(normal: &str) -> bool {
    let of_date = |seven: &[char]| -> Option<()> {
        let digits: Vec<char> = seven.iter().map(|c| field::as_digit(*c)).collect::<Option<_>>()?;
        let (digit, six) = digits.split_last()?;
        let (month, day) = (number(six.get(2..4)?)?, number(six.get(4..6)?)?);
        let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
        (is_date && check::agrees(&String::from_iter(six), *digit)).then_some(())
    };
    let characters: Vec<char> = normal.chars().collect();
    characters.windows(15).any(|window| match window {
        [birth @ .., _, _, _, _, _, _, _, _] if matches!(window.get(7), Some('M' | 'F' | 'X' | '<')) => {
            of_date(birth).is_some() && window.get(8..).and_then(of_date).is_some()
        }
        _ => false,
    })
}

fn number(two: &[char]) -> Option<u32> {
    String::from_iter(two).parse().ok()
}

/// The lines that an engine took for one: all of a zone's, or two of the three of TD1.
pub fn parts(normal: &str) -> Vec<&str> {
    let width = match normal.len() {
        60 | 90 => 30,
        72 => 36,
        88 => 44,
        _ => return vec![normal],
    };
    let mut parts = Vec::new();
    let mut rest = normal;
    while let Some((part, behind)) = rest.split_at_checked(width) {
        parts.push(part);
        rest = behind;
    }
    parts
}

/// Each line with `width` characters exactly; none when they can not be lines of this format.
pub fn fitted(lines: &[&str], format: Format, width: usize) -> Option<Vec<Vec<char>>> {
    let name_line = match format {
        Format::Td1 => 2,
        Format::Td2 | Format::Td3 => 0,
    };
    let fit = |(index, line): (usize, &&str)| {
        if index == name_line { name_line_of(line, width) } else { number_line_of(line, width) }
    };
    lines.iter().enumerate().map(fit).collect()
}

/// Names end in fillers, so what is missing are fillers, and so is what is too much behind three of them.
fn name_line_of(line: &str, width: usize) -> Option<Vec<char>> {
    let mut characters: Vec<char> = line.chars().collect();
    let end_of_name = line.find("<<<");
    if !line.contains("<<") && characters.len() != width {
        return None;
    }
    if characters.len() > width {
        if end_of_name.is_none_or(|end| end > width) || characters.len() > width + FILLERS_OFF_MAX {
            return None;
        }
        characters.truncate(width);
    }
    if characters.len() <= NOISE_CHARS_MAX {
        return None;
    }
    characters.resize(width, '<');
    Some(characters)
}

/// The longest run of fillers is made to fit; without one the length must be right.
fn number_line_of(line: &str, width: usize) -> Option<Vec<char>> {
    let mut characters: Vec<char> = line.chars().collect();
    if characters.len() == width {
        return Some(characters);
    }
    if characters.len().abs_diff(width) > FILLERS_OFF_MAX {
        return None;
    }
    let (start, length) = longest_run(&characters)?;
    if length < RUN_MIN {
        return None;
    }
    let others = characters.len() - length;
    let wanted = width.checked_sub(others).filter(|wanted| *wanted > 0)?;
    characters.splice(start..start + length, std::iter::repeat_n('<', wanted));
    Some(characters)
}

fn longest_run(characters: &[char]) -> Option<(usize, usize)> {
    let mut best: Option<(usize, usize)> = None;
    let mut start = 0;
    while start < characters.len() {
        let length = characters.iter().skip(start).take_while(|c| **c == '<').count();
        if length > best.map_or(0, |(_, length)| length) {
            best = Some((start, length));
        }
        start += length.max(1);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(line: &str, width: usize) -> Option<String> {
        number_line_of(&normalized(line), width).map(String::from_iter)
    }

    #[test]
    fn an_engines_signs_become_the_zones() {
        assert_eq!(normalized(" | P<UTO ERIKSSON«ANNA‹MARIA<< . "), "P<UTOERIKSSON<<ANNA<MARIA<<");
        assert_eq!(normalized("p<UTOERlKSSON"), "P<UTOERLKSSON");
        assert_eq!(normalized("UTO<<<<cc<<e6"), "UTO<<<<<<<<<6");
        for prose in ["Sehr geehrte Frau Beispiel", "50 % of it", "straße", &"A".repeat(200)] {
            assert_eq!(normalized(prose), "", "{prose}");
        }
    }

    #[test]
    fn fillers_are_counted_anew_and_nothing_else() {
        assert_eq!(fit("AB<<<<12", 12).as_deref(), Some("AB<<<<<<<<12"));
        assert_eq!(fit("AB<<<<<<<<12", 8).as_deref(), Some("AB<<<<12"));
        assert_eq!(fit("ABCDEFGH12", 12), None, "there is no run to stretch");
        assert_eq!(fit("AB<<CDEF", 12), None, "two fillers are no run");
        assert_eq!(fit("ABCDEFGH<<<12", 9), None, "the rest is too long");
    }
}
