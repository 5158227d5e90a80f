//! Where the fields stand (Doc 9303-4 for TD3, 9303-5 for TD1, 9303-6 for TD2).

use crate::{
    Checks, Fields, Format, check,
    date::{self, Day, Said},
    field::{Reader, names, plain},
};

/// None when the lines are not such a zone at all, whatever their check digits.
pub fn read(format: Format, lines: &[Vec<char>], today: Day) -> Option<Fields> {
    match (format, lines) {
        (Format::Td3, [first, second]) => td3(first, second, today),
        (Format::Td2, [first, second]) => td2(first, second, today),
        (Format::Td1, [first, second, third]) => td1(first, second, third, today),
        _ => None,
    }
}

/// A date with its digit.
struct Dated {
    /// As composite digits count it.
    text: String,
    said: Said,
    agrees: bool,
}

/// Seven characters from `at`.
fn dated(reader: &mut Reader<'_>, at: usize, of: fn(&str, Day) -> Said, today: Day) -> Option<Dated> {
    let six = reader.digits(at..at + 6)?;
    let digit = reader.check(at + 6)?;
    let said = of(&six, today);
    // A document without a date may have a filler for its digit.
    let agrees = check::agrees(&six, digit) || (said == Said::Unknown && digit == '<');
    Some(Dated { text: format!("{six}{digit}"), agrees: agrees && said != Said::Impossible, said })
}

impl Dated {
    fn date(&self) -> Option<date::Date> {
        match self.said {
            Said::Date(date) => Some(date),
            Said::Unknown | Said::Impossible => None,
        }
    }
}

/// A document's number with its digit, and what is left of the optional data.
struct Numbered {
    number: String,
    agrees: bool,
    optional: String,
}

/// A number of more than nine characters goes on in the optional data, with its digit behind it, and has a filler where the
/// digit would be.
fn numbered(nine: &str, digit: char, optional: &str) -> Numbered {
    if digit == '<' && !nine.contains('<') && !optional.starts_with('<') {
        let (rest, left) = optional.split_once('<').unwrap_or((optional, ""));
        let mut number = format!("{nine}{rest}");
        if let Some(own_digit) = number.pop() {
            let agrees = check::agrees(&number, own_digit);
            return Numbered { number: plain(&number), agrees, optional: plain(left) };
        }
    }
    Numbered { number: plain(nine), agrees: check::agrees(nine, digit), optional: plain(optional) }
}

fn sex(reader: &Reader<'_>, at: usize) -> Option<char> {
    reader.any(at..at + 1)?.chars().next().filter(|c| matches!(c, 'M' | 'F'))
}

/// The type, and whether documents of it have this format.
fn code(reader: &mut Reader<'_>, of: &[char]) -> Option<String> {
    let code = reader.letters(0..2)?;
    code.starts_with(of).then(|| plain(&code))
}

/// A digit that optional data may do without, where it is empty.
fn optional_agrees(data: &str, digit: char) -> bool {
    check::agrees(data, digit) || (digit == '<' && data.chars().all(|c| c == '<'))
}

fn td3(first: &[char], second: &[char], today: Day) -> Option<Fields> {
    let (mut one, mut two) = (Reader::new(first), Reader::new(second));
    let document_code = code(&mut one, &['P'])?;
    let issuing_state = one.letters(2..5)?;
    let (surname, given_names) = names(&one.letters(5..44).or_else(|| one.any(5..44))?);
    let (number, number_digit) = (two.any(0..9)?, two.check(9)?);
    let nationality = two.letters(10..13)?;
    let birth = dated(&mut two, 13, date::of_birth, today)?;
    let expiry = dated(&mut two, 21, date::of_expiry, today)?;
    let (optional, optional_digit) = (two.any(28..42)?, two.check_or_filler(42)?);
    let composite = two.check(43)?;
    let all = format!("{number}{number_digit}{}{}{optional}{optional_digit}", birth.text, expiry.text);
    Some(Fields {
        format: Format::Td3,
        document_code,
        issuing_state: plain(&issuing_state),
        document_number: plain(&number),
        surname,
        given_names,
        nationality: plain(&nationality),
        birth_date: birth.date(),
        expiry_date: expiry.date(),
        sex: sex(&two, 20),
        optional_data: plain(&optional),
        optional_data_2: String::new(),
        checks: Checks {
            document_number: check::agrees(&number, number_digit),
            birth_date: birth.agrees,
            expiry_date: expiry.agrees,
            optional_data: optional_agrees(&optional, optional_digit),
            composite: check::agrees(&all, composite),
        },
        number_is_printed: false,
        corrected: one.corrected + two.corrected,
    })
}

fn td2(first: &[char], second: &[char], today: Day) -> Option<Fields> {
    let (mut one, mut two) = (Reader::new(first), Reader::new(second));
    let document_code = code(&mut one, &['A', 'C', 'I'])?;
    let issuing_state = one.letters(2..5)?;
    let (surname, given_names) = names(&one.letters(5..36).or_else(|| one.any(5..36))?);
    let (nine, number_digit) = (two.any(0..9)?, two.check(9)?);
    let nationality = two.letters(10..13)?;
    let birth = dated(&mut two, 13, date::of_birth, today)?;
    let expiry = dated(&mut two, 21, date::of_expiry, today)?;
    let optional = two.any(28..35)?;
    let composite = two.check(35)?;
    let all = format!("{nine}{number_digit}{}{}{optional}", birth.text, expiry.text);
    let number = numbered(&nine, number_digit, &optional);
    Some(Fields {
        format: Format::Td2,
        document_code,
        issuing_state: plain(&issuing_state),
        document_number: number.number,
        surname,
        given_names,
        nationality: plain(&nationality),
        birth_date: birth.date(),
        expiry_date: expiry.date(),
        sex: sex(&two, 20),
        optional_data: number.optional,
        optional_data_2: String::new(),
        checks: Checks {
            document_number: number.agrees,
            birth_date: birth.agrees,
            expiry_date: expiry.agrees,
            optional_data: true,
            composite: check::agrees(&all, composite),
        },
        number_is_printed: false,
        corrected: one.corrected + two.corrected,
    })
}

fn td1(first: &[char], second: &[char], third: &[char], today: Day) -> Option<Fields> {
    let (mut one, mut two, mut three) = (Reader::new(first), Reader::new(second), Reader::new(third));
    let document_code = code(&mut one, &['A', 'C', 'I'])?;
    let issuing_state = one.letters(2..5)?;
    let (nine, number_digit, optional) = (one.any(5..14)?, one.check(14)?, one.any(15..30)?);
    let birth = dated(&mut two, 0, date::of_birth, today)?;
    let expiry = dated(&mut two, 8, date::of_expiry, today)?;
    let nationality = two.letters(15..18)?;
    let (optional_2, composite) = (two.any(18..29)?, two.check(29)?);
    let (surname, given_names) = names(&three.letters(0..30).or_else(|| three.any(0..30))?);
    let all = format!("{nine}{number_digit}{optional}{}{}{optional_2}", birth.text, expiry.text);
    let number = numbered(&nine, number_digit, &optional);
    Some(Fields {
        format: Format::Td1,
        document_code,
        issuing_state: plain(&issuing_state),
        document_number: number.number,
        surname,
        given_names,
        nationality: plain(&nationality),
        birth_date: birth.date(),
        expiry_date: expiry.date(),
        sex: sex(&two, 7),
        optional_data: number.optional,
        optional_data_2: plain(&optional_2),
        checks: Checks {
            document_number: number.agrees,
            birth_date: birth.agrees,
            expiry_date: expiry.agrees,
            optional_data: true,
            composite: check::agrees(&all, composite),
        },
        number_is_printed: false,
        corrected: one.corrected + two.corrected + three.corrected,
    })
}
