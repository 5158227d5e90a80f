#![allow(clippy::unwrap_used, clippy::string_slice)]
use proptest::prelude::*;

use super::*;

const TODAY: Day = Day { year: 2026, month: 11, day: 25 };
/// The standard's specimens, as published in parts 4, 5 and 6.
const TD3: &str = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10";
const TD1: &str = "I<UTOD231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<";
const TD2: &str = "I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<\nD231458907UTO7408122F1204159<<<<<<<6";
/// With a number of more than nine characters, from part 5.
const TD1_LONG: &str = "I<UTOD23145890<7349<<<<<<<<<<<\n3407127M9507122UTO<<<<<<<<<<<2\nSTEVENSON<<PETER<JOHN<<<<<<<<<";

fn only(text: &str) -> Zone {
    let mut zones = find(text, TODAY);
    assert_eq!(zones.len(), 1, "zones in {text:?}");
    zones.remove(0)
}

fn fields(text: &str) -> Fields {
    only(text).fields.unwrap()
}

fn date(year: u16, month: u8, day: u8) -> Option<Date> {
    Some(Date { year, month: Some(month), day: Some(day) })
}

#[test]
fn the_published_specimens_are_valid() {
    for (text, format, code, number) in [
        (TD3, Format::Td3, "P", "L898902C3"),
        (TD1, Format::Td1, "I", "D23145890"),
        (TD2, Format::Td2, "I", "D23145890"),
    ] {
        let fields = fields(text);
        assert!(fields.is_valid(), "{fields:?}");
        assert_eq!((fields.format, fields.document_code.as_str()), (format, code));
        assert_eq!((fields.document_number.as_str(), fields.issuing_state.as_str()), (number, "UTO"));
        assert_eq!((fields.surname.as_str(), fields.given_names.as_str()), ("ERIKSSON", "ANNA MARIA"));
        assert_eq!((fields.nationality.as_str(), fields.sex, fields.corrected), ("UTO", Some('F'), 0));
        assert!(fields.birth_date == date(1974, 8, 12) && fields.expiry_date == date(2012, 4, 15));
    }
    assert_eq!(fields(TD3).optional_data, "ZE184226B");
}

#[test]
fn a_long_document_number_goes_on_in_the_optional_data() {
    let fields = fields(TD1_LONG);
    assert!(fields.is_valid(), "{fields:?}");
    assert_eq!((fields.document_number.as_str(), fields.optional_data.as_str()), ("D23145890734", ""));
    assert!(fields.birth_date == date(1934, 7, 12) && fields.expiry_date == date(1995, 7, 12));
}

#[test]
fn a_zone_is_found_among_other_lines_and_says_which_are_its_own() {
    let page = format!("REPUBLIC OF UTOPIA\n\nSurname\nERIKSSON\n\n{}\n\nnothing more", TD3.replace('\n', "\n \n"));
    let zone = only(&page);
    assert!(zone.is_valid());
    assert_eq!(zone.lines, 5..8, "with the blank line between");
}

#[test]
fn what_an_engine_confuses_is_put_right_where_the_field_says_so() {
    // UT0 for UTO, I for 1, B for 8, S for 5, quotation marks and blanks, a filler too few, fillers seen as K at the end.
    let seen = "P<UT0ERIKSSON«ANNA<MARIA<<<<<<<<<<<<<KK<<<\nL898902C36UTO74OBI22F I2O4IS9ZE184226B<<<<1O";
    let fields = fields(seen);
    assert!(fields.is_valid(), "{fields:?}");
    assert_eq!((fields.surname.as_str(), fields.given_names.as_str()), ("ERIKSSON", "ANNA MARIA"));
    assert_eq!((fields.issuing_state.as_str(), fields.document_number.as_str()), ("UTO", "L898902C3"));
    assert!(fields.corrected >= 8, "{}", fields.corrected);
}

#[test]
fn a_number_that_may_hold_letters_is_never_put_right() {
    // O for 0 inside the number: a letter may stand there.
    let zone = only(&TD3.replace("L898902C3", "L8989O2C3"));
    assert!(!zone.is_valid());
    let fields = zone.fields.unwrap();
    assert!(!fields.checks.document_number && fields.checks.birth_date && fields.checks.expiry_date);
    assert_eq!(fields.document_number, "L8989O2C3");
}

/// As Tesseract reads it sometimes: 1 for L, which no check digit tells apart.
#[test]
fn the_number_in_print_overrules_a_twin_that_the_digits_can_not_tell() {
    let seen = TD3.replace("L898902C3", "1898902C3");
    assert!(only(&seen).is_valid(), "the standard's digits agree");
    let fields = fields(&format!("UTOPIA\nPassport No.  L898902C3\n{seen}"));
    assert_eq!((fields.document_number.as_str(), fields.number_is_printed), ("L898902C3", true));
    assert!(!self::fields(&seen).number_is_printed);
}

#[test]
fn a_date_that_is_none_is_invalid_though_its_digit_agrees() {
    let six = "741332";
    let digit = check::digit(six.chars());
    let second = format!("L898902C36UTO{six}{digit}F1204159ZE184226B<<<<<1");
    let composite = check::digit([&second[..10], &second[13..20], &second[21..43]].concat().chars());
    let zone = only(&format!("{}\n{second}{composite}", TD3.lines().next().unwrap()));
    let fields = zone.fields.unwrap();
    assert!(fields.checks.composite && !fields.checks.birth_date && !fields.is_valid());
}

#[test]
fn a_zone_that_is_too_damaged_is_told_from_none() {
    let damaged = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO740F1204159ZE184226B<<10";
    let zone = only(damaged);
    assert!(zone.fields.is_none() && !zone.is_valid());
    assert_eq!(zone.lines, 0..2);
}

#[test]
fn prose_tables_and_code_hold_no_zone() {
    let prose = "Der Kunde weist sich mit einem gültigen amtlichen Ausweis aus.\n".repeat(50);
    let table = "P0LICE NUMBER    4711-0815-2342  12.08.74  EUR 1.234,56\nIBAN DE89370400440532013000\n".repeat(20);
    let code =
        "if a << 3 < b << 4 { shift(<T as Trait<U>>::f, x << y << z) }\nPRINT<<\"HELLO WORLD\"<<ENDL;\n".repeat(9);
    for text in [prose.as_str(), &table, &code, "", "\n\n\n", "<<<<<<<<", &"<".repeat(44)] {
        assert_eq!(find(text, TODAY), [], "{text}");
    }
}

#[test]
fn dust_between_the_lines_is_passed_over() {
    let [first, second] = TD3.lines().collect::<Vec<_>>().try_into().unwrap();
    for dust in ["|", ".", "\u{ad}", "— ", "I<", "Unterschrift", "|\n\n.\n_"] {
        let zone = only(&format!("{first}\n{dust}\n{second}"));
        assert!(zone.is_valid(), "{dust}");
        assert_eq!(zone.lines, 0..2 + dust.lines().count());
    }
    let [first, second, third] = TD1.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(only(&format!("{first}\n|\n{second}\n.\n{third}")).is_valid());
    let apart = format!("{first}\n{}{second}\n{third}", "Ein Satz.\n".repeat(9));
    assert!(find(&apart, TODAY).iter().all(|zone| !zone.is_valid()), "a page of print is no dust");
}

#[test]
fn lines_that_were_taken_for_one_are_read_in_their_parts() {
    for text in [TD3, TD2, TD1] {
        for joint in ["", " "] {
            let zone = only(&text.replace('\n', joint));
            assert!(zone.is_valid(), "{text}");
            assert_eq!(zone.lines, 0..1);
        }
    }
    let [first, second, third] = TD1.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(only(&format!("{first}{second}\n{third}")).is_valid());
    assert!(only(&format!("{first}\n{second}{third}")).is_valid());
}

#[test]
fn a_line_without_the_others_is_a_zone_without_fields() {
    for line in [TD3, TD2, TD1, TD1_LONG].iter().flat_map(|zone| zone.lines()) {
        let zone = only(&format!("UTOPIA\n{line}\nEin Satz."));
        assert_eq!((zone.lines, zone.fields), (1..2, None), "{line}");
    }
    // No filler in it, and letters for digits.
    assert_eq!(only("L898902C36UTO74O8I22F1204159ZE184226BZE18410").fields, None);
    // Two in one, of a wrong length.
    assert_eq!(only(&TD3.replace("<\n", "")).fields, None);
}

#[test]
fn behind_more_zones_than_a_document_has_are_no_fields() {
    let zones = find(&format!("{TD3}\n").repeat(30_000), TODAY);
    assert_eq!((zones.len(), zones.iter().filter(|zone| zone.is_valid()).count()), (30_000, ZONES_MAX));
    assert!(is_in_one(&zones, 0) && is_in_one(&zones, 59_999) && !is_in_one(&zones, 60_000));
}

#[test]
fn capitals_and_numbers_of_ordinary_pages_are_no_line_of_a_zone() {
    for line in [
        "IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFFXXX",
        "RECHNUNG 20260812 KUNDE 4711081523 BETRAG 1234 56 EUR",
        "ALLGEMEINE VERSICHERUNGSBEDINGUNGEN DER MUSTER AG",
        "P<3 | A << 5 | B << 7 | C << 9 | D << 11 | E",
        "MASK = 0X1000 << 12 | 0X2000 << 24 | 0X3000 << 36".trim_start_matches("MASK = "),
        "<<<<<<<< NUR FUER DEN DIENSTGEBRAUCH <<<<<<<<",
        "TRACKING 00340434161094015902 1Z999AA10123456784",
        "SEITE (1 VON 12 (ANLAGE (A (B (C (D",
    ] {
        assert_eq!(find(line, TODAY), [], "{line}");
    }
}

/// As Tesseract read them on scans of 150 and 200 dpi.
#[test]
fn what_an_engine_made_of_scanned_specimens_is_valid() {
    for seen in [
        "I<UT0D231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<c<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<",
        "I<UT0D231458907<<<<<<<<<<<<<c<c\n7408122F1204159UTO<<<<<<<<<<c<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<",
        "I<UTOD23145890 7<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<",
        "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<E<<<cee\nL898902C36UT07408122F1204159ZE184226B<<<<<10",
        "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<ZEZ<<<EZE<<<EZ\nL898902C36UT07408122F1204159ZE184226B<<<<<10",
    ] {
        let fields = fields(seen);
        assert!(fields.is_valid(), "{seen}: {fields:?}");
        assert_eq!((fields.surname.as_str(), fields.given_names.as_str()), ("ERIKSSON", "ANNA MARIA"), "{seen}");
    }
}

#[test]
fn two_passports_on_a_page_are_two_zones() {
    assert_eq!(find(&format!("{TD3}\n{TD3}"), TODAY).iter().filter(|zone| zone.is_valid()).count(), 2);
}

#[test]
fn nothing_personal_is_shown_for_debugging() {
    let shown = format!("{:?}", only(TD3));
    for personal in ["ERIKSSON", "L898902C3", "1974", "74", "ZE184226B"] {
        assert!(!shown.contains(personal), "{shown}");
    }
}

/// What a zone is made of.
#[derive(Debug, Clone)]
struct Made {
    number: String,
    surname: String,
    given: String,
    birth: (u8, u8, u8),
    expiry: (u8, u8, u8),
    sex: char,
    optional: String,
}

fn made() -> impl Strategy<Value = Made> {
    let day = || (0_u8..100, 1_u8..13, 1_u8..29);
    ("[A-Z0-9]{1,9}", "[A-Z]{1,12}(<[A-Z]{1,8})?", "[A-Z]{1,8}(<[A-Z]{1,5})?", day(), day(), "[MF<]", "[A-Z0-9]{0,7}")
        .prop_map(|(number, surname, given, birth, expiry, sex, optional)| Made {
            number,
            surname,
            given,
            birth,
            expiry,
            sex: sex.chars().next().unwrap(),
            optional,
        })
}

fn six((year, month, day): (u8, u8, u8)) -> String {
    format!("{year:02}{month:02}{day:02}")
}

fn padded(text: &str, width: usize) -> String {
    format!("{text:<<width$.width$}")
}

fn with_digit(text: &str) -> String {
    format!("{text}{}", check::digit(text.chars()))
}

impl Made {
    fn lines(&self, format: Format) -> String {
        let names = format!("{}<<{}", self.surname, self.given);
        let number = with_digit(&padded(&self.number, 9));
        let (birth, expiry) = (with_digit(&six(self.birth)), with_digit(&six(self.expiry)));
        let sex = self.sex;
        match format {
            Format::Td3 => {
                let optional = with_digit(&padded(&self.optional, 14));
                let composite = check::digit(format!("{number}{birth}{expiry}{optional}").chars());
                format!(
                    "{}\n{number}UTO{birth}{sex}{expiry}{optional}{composite}",
                    padded(&format!("P<UTO{names}"), 44)
                )
            }
            Format::Td2 => {
                let optional = padded(&self.optional, 7);
                let composite = check::digit(format!("{number}{birth}{expiry}{optional}").chars());
                format!(
                    "{}\n{number}UTO{birth}{sex}{expiry}{optional}{composite}",
                    padded(&format!("I<UTO{names}"), 36)
                )
            }
            Format::Td1 => {
                let (optional, second) = (padded(&self.optional, 15), padded("", 11));
                let composite = check::digit(format!("{number}{optional}{birth}{expiry}{second}").chars());
                format!("I<UTO{number}{optional}\n{birth}{sex}{expiry}UTO{second}{composite}\n{}", padded(&names, 30))
            }
        }
    }

    fn is(&self, fields: &Fields, width: usize) -> bool {
        let plain = |text: &str| text.replace('<', " ");
        let (surname, given) = (plain(&self.surname), plain(&self.given));
        fields.document_number == self.number
            && fields.surname == surname
            // Cut off where the line ends.
            && given.starts_with(&fields.given_names)
            && (fields.given_names == given || surname.len() + 2 + given.len() > width)
            && fields.birth_date.is_some_and(|date| (date.year % 100) as u8 == self.birth.0 && date.month == Some(self.birth.1))
            && fields.expiry_date.is_some_and(|date| (date.year % 100) as u8 == self.expiry.0 && date.day == Some(self.expiry.2))
            && fields.optional_data == self.optional
            && fields.sex == Some(self.sex).filter(|sex| *sex != '<')
    }
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Td1), Just(Format::Td2), Just(Format::Td3)]
}

/// Lines and columns under a check digit.
fn is_covered(format: Format, line: usize, column: usize) -> bool {
    match (format, line) {
        (Format::Td3 | Format::Td2, 1) => !(10..13).contains(&column) && column != 20,
        (Format::Td1, 0) => column >= 5,
        (Format::Td1, 1) => !(15..18).contains(&column) && column != 7,
        _ => false,
    }
}

fn value(c: char) -> u32 {
    c.to_digit(36).unwrap_or(0)
}

/// All that check digits answer for.
fn identity(fields: &Fields) -> (String, Option<Date>, Option<Date>, String) {
    (fields.document_number.clone(), fields.birth_date, fields.expiry_date, fields.optional_data.clone())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn made_zones_are_read_back(made in made(), format in format()) {
        let zone = only(&made.lines(format));
        let width = match format { Format::Td1 => 30, Format::Td2 => 31, Format::Td3 => 39 };
        prop_assert!(zone.is_valid(), "{:?}", zone);
        prop_assert!(made.is(zone.fields.as_ref().unwrap(), width));
    }

    /// Of characters whose values differ by ten, such as A and K or 0 and a filler, the standard's digits know nothing.
    #[test]
    fn one_character_that_changed_is_invalid_or_corrected_back(
        made in made(), format in format(), line in 0_usize..3, column in 0_usize..44, to in "[A-Z0-9<]"
    ) {
        let (count, width) = format.shape();
        let (line, column, to) = (line % count, column % width, to.chars().next().unwrap());
        let lines = made.lines(format);
        let before = fields(&lines);
        let mut changed: Vec<Vec<char>> = lines.lines().map(|line| line.chars().collect()).collect();
        let from = std::mem::replace(&mut changed[line][column], to);
        let changed = changed.iter().map(String::from_iter).collect::<Vec<String>>().join("\n");
        let told_apart = is_covered(format, line, column) && value(from) % 10 != value(to) % 10;
        for zone in find(&changed, TODAY).iter().filter(|zone| zone.is_valid()) {
            let after = zone.fields.as_ref().unwrap();
            prop_assert!(!told_apart || identity(after) == identity(&before), "{lines}\n{changed}");
        }
    }

    #[test]
    fn words_and_numbers_in_capitals_are_no_zone(
        lines in proptest::collection::vec("([A-Z]{2,12}|[0-9]{1,12}|[A-Z]{2}[0-9]{6,20}|[0-9]{1,3}[.,][0-9]{2})( ([A-Z]{2,12}|[0-9]{1,6})){0,5}", 1..20)
    ) {
        prop_assert_eq!(find(&lines.join("\n"), TODAY), []);
    }

    #[test]
    fn no_line_of_a_zone_is_left_whatever_became_of_the_others(made in made(), format in format(), left in 0_usize..3) {
        let (count, _) = format.shape();
        let lines = made.lines(format);
        let line = lines.lines().nth(left % count).unwrap();
        prop_assume!((format, left % count) != (Format::Td1, 2) || line.ends_with("<<"));
        prop_assert_eq!(find(line, TODAY).len(), 1, "{}", line);
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,300}", lines in proptest::collection::vec("[A-Z0-9<« KO]{20,50}", 0..6)) {
        find(&text, TODAY);
        for zone in find(&lines.join("\n"), TODAY) {
            prop_assert!(zone.lines.end <= lines.len());
        }
    }
}
