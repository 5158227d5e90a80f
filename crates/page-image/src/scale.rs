use crate::Grey;

/// Lobes of the Lanczos window: it keeps thin strokes where a mean would wash them out.
const LOBES: f64 = 3.0;
/// A weight of 1. Sums of pixels times weights stay within 31 bits.
const ONE: i32 = 1 << 14;

/// With a Lanczos filter. What becomes less than half as large is averaged first: it costs a tenth and takes the noise away.
pub fn scaled(picture: &Grey, width: u32, height: u32) -> Grey {
    let (width, height) = (width.max(1), height.max(1));
    let factor = (picture.width() / width).min(picture.height() / height);
    if factor > 1 {
        return scaled(&picture.averaged(factor), width, height);
    }
    let picture = if width == picture.width() { picture.clone() } else { across(picture, width) };
    if height == picture.height() { picture } else { down(&picture, height) }
}

/// Where the pixels begin that a new one is made of, and their weights.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

fn taps(from: u32, to: u32) -> Vec<Taps> {
    let (last, scale) = (f64::from(from) - 1.0, f64::from(from) / f64::from(to));
    let stretch = scale.max(1.0);
    (0..to)
        .map(|nth| {
            let middle = (f64::from(nth) + 0.5) * scale - 0.5;
            let (low, high) =
                ((middle - LOBES * stretch).ceil().max(0.0), (middle + LOBES * stretch).floor().min(last));
            let low = low.min(last);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let (first, count) = (low as usize, (high - low).max(0.0) as u32 + 1);
            let exact: Vec<f64> = (0..count).map(|at| lanczos((low + f64::from(at) - middle) / stretch)).collect();
            let sum: f64 = exact.iter().sum();
            #[allow(clippy::cast_possible_truncation)]
            let mut weights: Vec<i32> =
                exact.iter().map(|weight| (weight / sum * f64::from(ONE)).round() as i32).collect();
            // So that an even shade stays as it is.
            let rest = ONE - weights.iter().sum::<i32>();
            if let Some(middle) = weights.iter_mut().max_by_key(|weight| **weight) {
                *middle += rest;
            }
            Taps { first, weights }
        })
        .collect()
}

fn lanczos(x: f64) -> f64 {
    let sinc =
        |x: f64| if x.abs() < 1e-9 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
    if x.abs() < LOBES { sinc(x) * sinc(x / LOBES) } else { 0.0 }
}

fn across(picture: &Grey, width: u32) -> Grey {
    let taps = taps(picture.width(), width);
    let mut target = Grey::blank(width, picture.height(), 0);
    for (new, row) in target.rows_mut().zip(picture.rows()) {
        for (pixel, Taps { first, weights }) in new.iter_mut().zip(&taps) {
            let sum: i32 = row[*first..].iter().zip(weights).map(|(old, weight)| i32::from(*old) * weight).sum();
            *pixel = shade(sum);
        }
    }
    target
}

fn down(picture: &Grey, height: u32) -> Grey {
    let width = picture.width() as usize;
    let taps = taps(picture.height(), height);
    let mut target = Grey::blank(picture.width(), height, 0);
    let mut sums = vec![0_i32; width];
    for (new, Taps { first, weights }) in target.rows_mut().zip(&taps) {
        sums.fill(0);
        for (row, weight) in picture.pixels()[first * width..].chunks_exact(width).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(sum, old)| *sum += i32::from(*old) * weight);
        }
        new.iter_mut().zip(&sums).for_each(|(pixel, sum)| *pixel = shade(*sum));
    }
    target
}

fn shade(sum: i32) -> u8 {
    u8::try_from(((sum + ONE / 2) / ONE).clamp(0, 255)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_even_shade_stays_as_it_is_at_any_size(
            (width, height) in (1_u32..60, 1_u32..60), (to_width, to_height) in (0_u32..90, 0_u32..90), shade: u8,
        ) {
            let picture = scaled(&Grey::blank(width, height, shade), to_width, to_height);
            prop_assert_eq!((picture.width(), picture.height()), (to_width.max(1), to_height.max(1)));
            prop_assert!(picture.pixels().iter().all(|pixel| *pixel == shade));
        }
    }

    #[test]
    fn an_edge_stays_where_it_is_and_sharp() {
        let mut picture = Grey::blank(300, 40, 250);
        picture.rows_mut().for_each(|row| row[..150].fill(10));
        for (width, height) in [(200, 27), (100, 13), (450, 60)] {
            let scaled = scaled(&picture, width, height);
            let row = scaled.rows().nth(height as usize / 2).unwrap();
            let edge = row.iter().position(|pixel| *pixel > 130).unwrap();
            assert!(edge.abs_diff(width as usize / 2) <= 1, "{edge} of {width}");
            assert!(row[edge - 4] < 40 && row[edge + 4] > 220);
        }
    }
}
