use crate::{Contents, Grey, Place, Survey, Turn, rotate::straightened, scale::scaled};

/// Height in pixels that small letters are given. Capitals are half as high again: with 14 to 16 pixels Tesseract's network
/// reads as exactly as with more, and its time grows with the pixels of a line.
pub const LETTER_HEIGHT: f64 = 10.0;
/// Less than this change is not worth the blur.
const SCALE_AS_IT_IS: std::ops::Range<f64> = 0.87..1.15;
/// More is only blur.
const SCALE_MAX: f64 = 3.0;
/// Marks without a measure, such as a drawing with a word in it, are not made smaller than this.
const SIDE_WITHOUT_LETTERS: f64 = 2_400.0;

/// A picture to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    pub picture: Grey,
    pub place: Place,
    /// By which it was turned to be upright.
    pub turn: Turn,
    /// Degrees clockwise by which it hung.
    pub skew: f64,
}

/// Turns, scales and straightens a page by what a survey of it found. `pixels_max` bounds the result.
pub fn prepare(page: Grey, survey: &Survey, pixels_max: u64) -> Prepared {
    let page = page.turned(survey.turn);
    let sides = (page.width(), page.height());
    let scale = scale(sides, survey, pixels_max);
    let picture = if scale == 1.0 { page } else { scaled(&page, part(sides.0, scale), part(sides.1, scale)) };
    let place = Place::new(sides, (picture.width(), picture.height()), survey.skew);
    let picture = if survey.skew == 0.0 { picture } else { straightened(&picture, survey.skew) };
    Prepared { picture, place, turn: survey.turn, skew: survey.skew }
}

#[allow(clippy::cast_precision_loss)]
fn scale((width, height): (u32, u32), survey: &Survey, pixels_max: u64) -> f64 {
    let (width, height) = (f64::from(width), f64::from(height));
    let wanted = match survey.letter_height {
        Some(letters) if survey.contents == Contents::Writing && letters > 0.0 => LETTER_HEIGHT / letters,
        _ => (SIDE_WITHOUT_LETTERS / width.max(height)).min(1.0),
    };
    // A straightened page is on larger paper.
    let possible = (pixels_max as f64 * 0.8 / (width * height)).sqrt();
    let scale = if SCALE_AS_IT_IS.contains(&wanted) { 1.0 } else { wanted.min(SCALE_MAX) };
    scale.min(possible)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn part(side: u32, scale: f64) -> u32 {
    (f64::from(side) * scale).round().max(1.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(letter_height: Option<f64>) -> Survey {
        Survey {
            contents: if letter_height.is_some() { Contents::Writing } else { Contents::Marks },
            turn: Turn::None,
            second_turn: Turn::Half,
            skew: 0.0,
            letter_height,
            has_dark_places: false,
        }
    }

    #[test]
    fn letters_get_the_size_that_is_read_best_within_the_bounds() {
        for (sides, letters, pixels_max, expected) in [
            ((2_480, 3_508), Some(20.0), u64::MAX, 0.5),
            ((1_240, 1_754), Some(10.9), u64::MAX, 1.0),
            ((600, 800), Some(5.0), u64::MAX, 2.0),
            ((600, 800), Some(1.0), u64::MAX, SCALE_MAX),
            ((1_000, 1_000), Some(5.0), 1_250_000, 1.0),
            ((4_800, 100), None, u64::MAX, 0.5),
            ((300, 100), None, u64::MAX, 1.0),
        ] {
            assert_eq!(scale(sides, &survey(letters), pixels_max), expected, "{sides:?} {letters:?}");
        }
    }

    #[test]
    fn a_turned_page_is_upright_and_its_place_says_so() {
        let lying = Survey { turn: Turn::Quarter, ..survey(Some(20.0)) };
        let prepared = prepare(Grey::blank(300, 200, 255), &lying, 1_000_000);
        assert_eq!((prepared.picture.width(), prepared.picture.height()), (100, 150));
        assert_eq!((prepared.place.page(), prepared.turn), ((200, 300), Turn::Quarter));
    }
}
