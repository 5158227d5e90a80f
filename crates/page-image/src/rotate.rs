use crate::Grey;

/// Fractions of a pixel, as parts of 2^16 in the coordinates and 64ths in the weights.
const ONE: i64 = 1 << 16;
const STEPS: usize = 64;

/// Turned anticlockwise by `degrees` about its middle, on paper large enough for all of it, the new corners in the shade of
/// the paper. By cubic convolution, which keeps strokes sharp.
pub fn straightened(picture: &Grey, degrees: f64) -> Grey {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let (new_width, new_height) = sides(width, height, degrees);
    let paper = paper(picture);
    let mut target = Grey::blank(new_width, new_height, paper);
    let weights = weights();
    let center = (f64::from(new_width) / 2.0, f64::from(new_height) / 2.0);
    let (step_x, step_y) = (fixed(cos), fixed(sin));
    for (y, row) in (0_u32..).zip(target.rows_mut()) {
        let (dx, dy) = (0.5 - center.0, f64::from(y) + 0.5 - center.1);
        let mut at_x = fixed(dx * cos - dy * sin + width / 2.0 - 0.5);
        let mut at_y = fixed(dx * sin + dy * cos + height / 2.0 - 0.5);
        for pixel in row {
            if let Some(value) = sample(picture, at_x, at_y, &weights) {
                *pixel = value;
            }
            at_x += step_x;
            at_y += step_y;
        }
    }
    target
}

/// Of the paper on which a picture fits after it was straightened.
pub fn sides(width: f64, height: f64, degrees: f64) -> (u32, u32) {
    let (sin, cos) = (degrees.to_radians().sin().abs(), degrees.to_radians().cos());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = |side: f64| side.ceil().max(1.0) as u32;
    (whole(width * cos + height * sin), whole(width * sin + height * cos))
}

#[allow(clippy::cast_possible_truncation)]
fn fixed(number: f64) -> i64 {
    (number * 65_536.0).round() as i64
}

/// None outside of the picture.
#[inline]
fn sample(picture: &Grey, x: i64, y: i64, weights: &[[i32; 4]; STEPS]) -> Option<u8> {
    let width = picture.width() as usize;
    let (column, row) = (usize::try_from(x / ONE - 1).ok()?, usize::try_from(y / ONE - 1).ok()?);
    if column + 4 > width || row + 4 > picture.height() as usize {
        return None;
    }
    let part = |number: i64| usize::try_from((number % ONE) / (ONE / 64)).unwrap_or(0) % STEPS;
    let (across, down) = (weights[part(x)], weights[part(y)]);
    let mut sum = 0;
    for (nth, weight) in down.into_iter().enumerate() {
        let start = (row + nth) * width + column;
        let four: &[u8; 4] = picture.pixels().get(start..)?.first_chunk()?;
        let line: i32 = four.iter().zip(across).map(|(pixel, weight)| i32::from(*pixel) * weight).sum();
        sum += line * weight;
    }
    // The weights of both directions add up to 2^8 each.
    u8::try_from(((sum + (1 << 15)) >> 16).clamp(0, 255)).ok()
}

/// Catmull and Rom's, for each 64th of a pixel; in parts of 2^8.
fn weights() -> [[i32; 4]; STEPS] {
    let mut table = [[0; 4]; STEPS];
    for (nth, row) in (0_u32..).zip(&mut table) {
        let t = f64::from(nth) / 64.0;
        let exact = [
            (-t + 2.0 * t * t - t * t * t) / 2.0,
            (2.0 - 5.0 * t * t + 3.0 * t * t * t) / 2.0,
            (t + 4.0 * t * t - 3.0 * t * t * t) / 2.0,
            (-t * t + t * t * t) / 2.0,
        ];
        #[allow(clippy::cast_possible_truncation)]
        let mut rounded = exact.map(|weight| (weight * 256.0).round() as i32);
        // So that an even shade stays as it is.
        rounded[1] += 256 - rounded.iter().sum::<i32>();
        *row = rounded;
    }
    table
}

/// The shade that is lighter than seven tenths of the picture.
fn paper(picture: &Grey) -> u8 {
    let mut counts = [0_usize; 256];
    picture.pixels().iter().for_each(|pixel| counts[usize::from(*pixel)] += 1);
    let limit = picture.pixels().len() * 7 / 10;
    let mut sum = 0;
    for (shade, count) in (0_u8..=255).zip(counts) {
        sum += count;
        if sum > limit {
            return shade;
        }
    }
    u8::MAX
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_degrees_change_nothing_but_the_edge() {
        let mut picture = Grey::blank(20, 12, 230);
        picture.rows_mut().nth(5).unwrap()[7] = 10;
        assert_eq!(straightened(&picture, 0.0), picture);
    }

    #[test]
    fn a_hanging_line_is_straight_afterwards_and_the_paper_is_kept() {
        let degrees: f64 = 4.0;
        let mut picture = Grey::blank(400, 300, 220);
        for x in 40..360_u32 {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let middle = (150.0 + (f64::from(x) - 200.0) * degrees.to_radians().tan()).round() as usize;
            for y in middle - 2..=middle + 2 {
                picture.rows_mut().nth(y).unwrap()[x as usize] = 20;
            }
        }
        let straight = straightened(&picture, degrees);
        assert!(straight.width() > 400 && straight.height() > 300);
        let dark: Vec<usize> =
            straight.rows().enumerate().filter(|(_, row)| row.iter().any(|p| *p < 100)).map(|(y, _)| y).collect();
        assert!(dark.len() <= 7, "{dark:?}");
        assert!(dark.contains(&(straight.height() as usize / 2)));
        assert_eq!((straight.pixels()[0], straight.pixels().last()), (220, Some(&220)));
    }
}
