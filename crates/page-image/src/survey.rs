use crate::{
    Grey, Turn,
    baseline::{Alignment, alignments},
    ink,
    letters::{Blot, blots},
};

/// The longer side of the picture that is looked at: an A4 page at some 150 pixels an inch, where also small print still
/// has letters, and noise has averaged out.
const LOOK_SIDE: u32 = 1_800;
/// A page of small print has 10,000 letters; more is noise.
const BLOTS_MAX: usize = 60_000;
/// Ink for letters: darker than its surroundings by percent, and by steps of 255.
const WRITING: (u32, u32) = (15, 12);
/// Ink at all, for the question whether there is any: also a pale stamp.
const TRACE: (u32, u32) = (4, 5);
/// A mark that a reader would see; specks of dust are smaller. In pixels of the picture that is looked at.
const MARK_SIDE: u32 = 4;
const MARK_AREA: u32 = 9;
/// With fewer letters than this one can not tell how a page lies, hangs, or how large its letters are.
const LETTERS_FOR_TURN: usize = 60;
const LETTERS_FOR_SKEW: usize = 40;
const LETTERS_FOR_SIZE: usize = 8;
/// How much better the letters have to line up another way before the page is turned or straightened.
const TURN_FACTOR: f64 = 1.15;
const SKEW_FACTOR: f64 = 1.05;
/// Tesseract follows lines that hang less.
const SKEW_MIN: f64 = 0.25;

/// What is on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// No mark at all.
    Nothing,
    /// Marks, but not enough letters to say more.
    Marks,
    /// Letters.
    Writing,
}

/// What a page is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Survey {
    pub contents: Contents,
    /// By which the page becomes upright.
    pub turn: Turn,
    /// The next best guess, for when what was read makes no sense.
    pub second_turn: Turn,
    /// Degrees clockwise by which its lines hang, after the turn. 0 where it does not matter.
    pub skew: f64,
    /// Height in pixels of the small letters without strokes upwards or downwards, of the smaller print.
    pub letter_height: Option<f64>,
    /// Whether there are dark places, on which letters may be light.
    pub has_dark_places: bool,
}

impl Survey {
    /// For another try: turned to the second best guess.
    #[must_use]
    pub fn turned_otherwise(&self) -> Self {
        let skew = if self.second_turn.degrees().abs_diff(self.turn.degrees()) == 180 { self.skew } else { 0.0 };
        Self { turn: self.second_turn, second_turn: self.turn, skew, ..*self }
    }

    pub fn of(page: &Grey) -> Self {
        let factor = page.width().max(page.height()).div_ceil(LOOK_SIDE);
        let small = page.averaged(factor).smoothed();
        let marks = blots(&ink::find(&small, WRITING.0, WRITING.1), BLOTS_MAX);
        let mut letters: Vec<Blot> = marks.iter().copied().filter(Blot::may_be_letter).collect();
        let blank = Self {
            contents: Contents::Nothing,
            turn: Turn::None,
            second_turn: Turn::Half,
            skew: 0.0,
            letter_height: None,
            has_dark_places: has_dark_places(&small),
        };
        if letters.len() < LETTERS_FOR_SIZE {
            let is_mark = |blot: &Blot| blot.area >= MARK_AREA && blot.width().max(blot.height()) >= MARK_SIDE;
            let is_blank = !marks.iter().any(is_mark)
                && !blots(&ink::find(&small, TRACE.0, TRACE.1), BLOTS_MAX).iter().any(is_mark);
            return if is_blank { blank } else { Self { contents: Contents::Marks, ..blank } };
        }
        let middle = percentile(letters.iter().map(|blot| blot.width().max(blot.height())), 50);
        letters.retain(|blot| (middle * 0.45..=middle * 2.5).contains(&f64::from(blot.width().max(blot.height()))));
        let ways = alignments(&letters, middle);
        let (turn, second_turn) = turns(&ways, letters.len());
        let way = ways[usize::from(turn.degrees() / 90)];
        let height = |blot: &Blot| if turn.degrees() % 180 == 0 { blot.height() } else { blot.width() };
        let tall = percentile(letters.iter().map(height), 50) * 0.6;
        let letter_height = percentile(letters.iter().map(height).filter(|height| f64::from(*height) >= tall), 25);
        Self {
            contents: Contents::Writing,
            turn,
            second_turn,
            skew: skew(&way, letters.len()),
            letter_height: Some(letter_height * f64::from(factor)),
            ..blank
        }
    }
}

/// Squares that are darker than the densest print on white paper.
fn has_dark_places(small: &Grey) -> bool {
    const SIDE: u32 = 12;
    const SHADE: u8 = 120;
    small.averaged(SIDE).pixels().iter().any(|shade| *shade < SHADE)
}

/// The best way and the second; as it is where there is not much between them.
fn turns(ways: &[Alignment; 4], letters: usize) -> (Turn, Turn) {
    let mut order = *ways;
    order.sort_by(|a, b| b.score.total_cmp(&a.score));
    if letters < LETTERS_FOR_TURN || order[0].score < ways[0].score * TURN_FACTOR {
        let other = order.iter().find(|way| way.turn != Turn::None).map_or(Turn::Half, |way| way.turn);
        return (Turn::None, other);
    }
    (order[0].turn, order[1].turn)
}

fn skew(way: &Alignment, letters: usize) -> f64 {
    let is_sure = letters >= LETTERS_FOR_SKEW && way.score > way.straight * SKEW_FACTOR;
    if is_sure && way.skew.abs() >= SKEW_MIN { way.skew } else { 0.0 }
}

/// 0 for none.
fn percentile(numbers: impl Iterator<Item = u32>, percent: usize) -> f64 {
    let mut numbers: Vec<u32> = numbers.collect();
    if numbers.is_empty() {
        return 0.0;
    }
    let at = (numbers.len() - 1) * percent / 100;
    f64::from(*numbers.select_nth_unstable(at).1)
}
