//! Which pixels are written on: those that are clearly darker than the paper around them.

use crate::Grey;

/// Side of the neighbourhood whose mean is taken for the paper's shade, in parts of the picture's width.
const WINDOW_PARTS: usize = 16;
const WINDOW_MIN: usize = 16;

/// One flag a pixel, in the order of the picture's.
pub struct Ink {
    pub width: usize,
    pub flags: Vec<bool>,
}

/// Darker than the mean around it by more than `percent` of that, and by at least `steps`.
pub fn find(picture: &Grey, percent: u32, steps: u32) -> Ink {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let radius = (width / WINDOW_PARTS).max(WINDOW_MIN) / 2;
    // The sum of each column over the window's rows, kept while the window moves down.
    let mut columns = vec![0_u32; width];
    let mut sums = vec![0_u32; width + 1];
    let rows: Vec<&[u8]> = picture.rows().collect();
    for row in &rows[..radius.min(height)] {
        add(&mut columns, row);
    }
    let mut flags = vec![false; width * height];
    for (y, flags) in flags.chunks_exact_mut(width).enumerate() {
        if let Some(row) = rows.get(y + radius) {
            add(&mut columns, row);
        }
        if let Some(row) = y.checked_sub(radius + 1).and_then(|gone| rows.get(gone)) {
            columns.iter_mut().zip(*row).for_each(|(sum, pixel)| *sum -= u32::from(*pixel));
        }
        let window_rows = (y + radius + 1).min(height) - y.saturating_sub(radius);
        let mut sum = 0_u32;
        for (total, column) in sums[1..].iter_mut().zip(&columns) {
            sum = sum.wrapping_add(*column);
            *total = sum;
        }
        for (x, (flag, pixel)) in flags.iter_mut().zip(rows[y]).enumerate() {
            let (left, right) = (x.saturating_sub(radius), (x + radius + 1).min(width));
            // A row's whole sum may pass 32 bits; that of a window does not.
            let mean = sums[right].wrapping_sub(sums[left]) / u32::try_from((right - left) * window_rows).unwrap_or(1);
            let limit = (mean * (100 - percent) / 100).min(mean.saturating_sub(steps));
            *flag = u32::from(*pixel) < limit;
        }
    }
    Ink { width, flags }
}

fn add(columns: &mut [u32], row: &[u8]) {
    columns.iter_mut().zip(row).for_each(|(sum, pixel)| *sum += u32::from(*pixel));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn writing_is_found_on_light_and_on_shaded_paper() {
        // The paper darkens from the left to the right; a mark of 40 steps less on either side.
        let mut picture = Grey::blank(200, 60, 0);
        for row in picture.rows_mut() {
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = u8::try_from(250 - x / 2).unwrap();
            }
        }
        for row in picture.rows_mut().skip(28).take(4) {
            row[20] -= 40;
            row[180] -= 40;
        }
        let ink = find(&picture, 15, 10);
        let marked: Vec<usize> = (0..200 * 60).filter(|at| ink.flags[*at]).map(|at| at % 200).collect();
        assert_eq!(marked, [20, 180].repeat(4));
    }

    #[test]
    fn empty_paper_has_none_whatever_its_size() {
        for (width, height) in [(1, 1), (3, 500), (500, 3), (64, 64)] {
            assert!(find(&Grey::blank(width, height, 90), 15, 10).flags.iter().all(|flag| !flag));
        }
    }
}
