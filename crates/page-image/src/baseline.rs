//! The side of the letters that stands on the line: which of the four it is says how the page lies, and the angle at which
//! they line up says how it hangs.
//!
//! Nine of ten Latin letters end on the baseline, but their tops are on two levels, and left and right they are anywhere.
//! So, of the four sides, the letters' lower ends fall into the fewest places.

use crate::{Turn, letters::Blot};

/// Scanners and people lay pages in by a few degrees.
const ANGLE_MAX: f64 = 12.0;
/// Step and reach in degrees, and the size of a place in parts of a letter's height: coarse to fine.
const STEPS: [(f64, f64, f64); 3] = [(0.5, ANGLE_MAX, 1.5), (0.1, 0.6, 3.0), (0.02, 0.1, 5.0)];

/// How letters line up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alignment {
    pub turn: Turn,
    /// Degrees clockwise by which the lines hang after the turn.
    pub skew: f64,
    /// The larger, the better they line up; 1 is one line.
    pub score: f64,
    /// The same without straightening.
    pub straight: f64,
}

/// For each way to turn the page, in the order of [`Turn::ALL`].
pub fn alignments(letters: &[Blot], letter_height: f64) -> [Alignment; 4] {
    Turn::ALL.map(|turn| {
        let points: Vec<(f64, f64)> = letters.iter().map(|blot| lower_end(blot, turn)).collect();
        let (mut skew, mut score) = (0.0, 0.0);
        for (step, reach, parts) in STEPS {
            let (center, place) = (skew, (letter_height / parts).max(1.0));
            score = 0.0;
            #[allow(clippy::cast_possible_truncation)]
            let count = (reach / step).round() as i32;
            // From the middle outwards, so that of equal ones the straight one wins.
            for nth in (0..=count).flat_map(|nth| [nth, -nth]) {
                let angle = (center + f64::from(nth) * step).clamp(-ANGLE_MAX, ANGLE_MAX);
                let found = concentration(&points, angle, place);
                if found > score {
                    (skew, score) = (angle, found);
                }
            }
        }
        let straight = concentration(&points, 0.0, (letter_height / STEPS[2].2).max(1.0));
        Alignment { turn, skew, score, straight }
    })
}

/// The middle of the side that is the lower one after the turn, along the line and across it.
fn lower_end(blot: &Blot, turn: Turn) -> (f64, f64) {
    let [left, top, right, bottom] = [blot.left, blot.top, blot.right, blot.bottom].map(f64::from);
    let (middle_x, middle_y) = (f64::midpoint(left, right), f64::midpoint(top, bottom));
    match turn {
        Turn::None => (middle_x, bottom),
        Turn::Half => (-middle_x, -top),
        // Clockwise: what was on the right comes down.
        Turn::Quarter => (-middle_y, right),
        Turn::ThreeQuarters => (middle_y, -left),
    }
}

/// The chance that two letters fall into the same place.
fn concentration(points: &[(f64, f64)], degrees: f64, place: f64) -> f64 {
    let slope = degrees.to_radians().tan();
    let levels = || points.iter().map(|(along, across)| (across - along * slope) / place);
    let (low, high) = levels().fold((f64::MAX, f64::MIN), |(low, high), level| (low.min(level), high.max(level)));
    if low > high {
        return 0.0;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let mut counts = vec![0_u32; (high - low) as usize + 1];
    for level in levels() {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        if let Some(count) = counts.get_mut((level - low) as usize) {
            *count += 1;
        }
    }
    let pairs: f64 = counts.iter().map(|count| f64::from(*count).powi(2)).sum();
    #[allow(clippy::cast_precision_loss)]
    let all = points.len() as f64;
    pairs / (all * all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Lines of letters as in prose: some rise, few hang.
    fn prose() -> Vec<Blot> {
        let mut letters = Vec::new();
        for line in 0..30_u32 {
            for nth in 0..40_u32 {
                let (baseline, left) = (100 + line * 30, 60 + nth * 14 + (line * 7 + nth * nth) % 5);
                let kind = (nth * 7 + line * 3) % 12;
                let top = baseline - if kind < 5 { 19 } else { 12 };
                let bottom = baseline + if kind == 11 { 5 } else { 0 };
                letters.push(Blot { left, top, right: left + 9, bottom, area: 80 });
            }
        }
        letters
    }

    /// As if the paper lay that many degrees clockwise.
    fn hanging(letters: &[Blot], degrees: f64) -> Vec<Blot> {
        let slope = degrees.to_radians().tan();
        letters
            .iter()
            .map(|blot| {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let shift = (f64::from(blot.left) * slope + 100.0).round() as u32;
                Blot { top: blot.top + shift, bottom: blot.bottom + shift, ..*blot }
            })
            .collect()
    }

    fn best(letters: &[Blot]) -> Alignment {
        alignments(letters, 13.0).into_iter().max_by(|a, b| a.score.total_cmp(&b.score)).unwrap()
    }

    fn turned(letters: &[Blot], turn: Turn) -> Vec<Blot> {
        const SIDE: u32 = 2_000;
        letters
            .iter()
            .map(|b| match turn {
                Turn::None => *b,
                Turn::Half => Blot {
                    left: SIDE - b.right,
                    top: SIDE - b.bottom,
                    right: SIDE - b.left,
                    bottom: SIDE - b.top,
                    ..*b
                },
                Turn::Quarter => {
                    Blot { left: SIDE - b.bottom, top: b.left, right: SIDE - b.top, bottom: b.right, ..*b }
                }
                Turn::ThreeQuarters => {
                    Blot { left: b.top, top: SIDE - b.right, right: b.bottom, bottom: SIDE - b.left, ..*b }
                }
            })
            .collect()
    }

    #[test]
    fn the_angle_is_found_to_a_tenth_of_a_degree() {
        for degrees in [-7.3, -1.0, 0.0, 0.4, 2.5, 9.0] {
            let found = best(&hanging(&prose(), degrees));
            assert_eq!(found.turn, Turn::None);
            assert!((found.skew - degrees).abs() < 0.1, "{degrees}: {found:?}");
        }
    }

    #[test]
    fn each_way_that_a_page_can_lie_is_told_from_the_others() {
        for lies in Turn::ALL {
            for degrees in [-2.0, 0.0, 1.5] {
                let found = best(&turned(&hanging(&prose(), degrees), lies));
                assert_eq!(found.turn.then(lies), Turn::None, "{lies:?} {found:?}");
                assert!((found.skew - degrees).abs() < 0.1, "{lies:?} {degrees}: {found:?}");
            }
        }
    }

    #[test]
    fn no_letters_line_up_nowhere() {
        assert!(alignments(&[], 10.0).iter().all(|alignment| alignment.score == 0.0));
    }
}
