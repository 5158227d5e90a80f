use crate::WrongSides;

/// A picture of one byte a pixel, 0 is black; row after row without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grey {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

/// Quarters of a turn clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Turn {
    None,
    Quarter,
    Half,
    ThreeQuarters,
}

impl Turn {
    pub const ALL: [Self; 4] = [Self::None, Self::Quarter, Self::Half, Self::ThreeQuarters];

    pub fn degrees(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Quarter => 90,
            Self::Half => 180,
            Self::ThreeQuarters => 270,
        }
    }

    /// This turn, and then the other.
    #[must_use]
    pub fn then(self, other: Self) -> Self {
        Self::ALL[usize::from((self.degrees() + other.degrees()) / 90 % 4)]
    }
}

impl Grey {
    /// # Errors
    /// [`WrongSides`]
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, WrongSides> {
        let count = (width as usize).checked_mul(height as usize);
        if pixels.is_empty() || count != Some(pixels.len()) {
            return Err(WrongSides);
        }
        Ok(Self { width, height, pixels })
    }

    /// Of one shade; for pictures that are filled afterwards. Sides of 0 become 1.
    pub fn blank(width: u32, height: u32, shade: u8) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Self { width, height, pixels: vec![shade; width as usize * height as usize] }
    }

    pub fn width(&self) -> u32 {
        self.width
    }

    pub fn height(&self) -> u32 {
        self.height
    }

    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    pub fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.pixels.chunks_exact(self.width as usize)
    }

    pub fn rows_mut(&mut self) -> std::slice::ChunksExactMut<'_, u8> {
        self.pixels.chunks_exact_mut(self.width as usize)
    }

    /// Each pixel is the mean of a square of `factor` times `factor`: cheap, and it takes the noise away. What is left over
    /// at the right and below is cut off.
    #[must_use]
    pub fn averaged(&self, factor: u32) -> Self {
        let factor = factor.clamp(1, self.width.min(self.height).min(256));
        if factor == 1 {
            return self.clone();
        }
        let (width, height, side) = (self.width / factor, self.height / factor, factor as usize);
        let (mut target, mut sums) = (Self::blank(width, height, 0), vec![0_u32; width as usize]);
        let half = factor * factor / 2;
        let rows = self.pixels.chunks_exact(self.width as usize * side);
        for (row, band) in target.rows_mut().zip(rows) {
            sums.fill(half);
            for line in band.chunks_exact(self.width as usize) {
                for (sum, square) in sums.iter_mut().zip(line.chunks_exact(side)) {
                    *sum += square.iter().map(|pixel| u32::from(*pixel)).sum::<u32>();
                }
            }
            for (pixel, sum) in row.iter_mut().zip(&sums) {
                *pixel = u8::try_from(sum / (factor * factor)).unwrap_or(u8::MAX);
            }
        }
        target
    }

    #[must_use]
    pub fn turned(self, turn: Turn) -> Self {
        match turn {
            Turn::None => self,
            Turn::Half => {
                let Self { width, height, mut pixels } = self;
                pixels.reverse();
                Self { width, height, pixels }
            }
            Turn::Quarter => self.quarter(|column, row, height| (height - 1 - row, column)),
            Turn::ThreeQuarters => {
                let width = self.width as usize;
                self.quarter(move |column, row, _| (row, width - 1 - column))
            }
        }
    }

    /// `to` says where the pixel of a column and row comes to. In tiles, so that both pictures stay in the cache.
    fn quarter(self, to: impl Fn(usize, usize, usize) -> (usize, usize)) -> Self {
        const TILE: usize = 64;
        let (width, height) = (self.width as usize, self.height as usize);
        let mut pixels = vec![0; self.pixels.len()];
        for top in (0..height).step_by(TILE) {
            for left in (0..width).step_by(TILE) {
                for row in top..(top + TILE).min(height) {
                    for column in left..(left + TILE).min(width) {
                        let (new_column, new_row) = to(column, row, height);
                        pixels[new_row * height + new_column] = self.pixels[row * width + column];
                    }
                }
            }
        }
        Self { width: self.height, height: self.width, pixels }
    }

    /// With each pixel replaced by the weighted mean of the nine around it.
    #[must_use]
    pub fn smoothed(&self) -> Self {
        let (width, height) = (self.width as usize, self.height as usize);
        let mut sums = vec![0_u16; self.pixels.len()];
        for (row, sums) in self.rows().zip(sums.chunks_exact_mut(width)) {
            for (x, sum) in sums.iter_mut().enumerate() {
                let (left, right) = (row[x.saturating_sub(1)], row[(x + 1).min(width - 1)]);
                *sum = u16::from(left) + 2 * u16::from(row[x]) + u16::from(right);
            }
        }
        let mut pixels = vec![0; self.pixels.len()];
        for (y, target) in pixels.chunks_exact_mut(width).enumerate() {
            let row = |y: usize| &sums[y * width..(y + 1) * width];
            let (above, here, below) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1)));
            for (((target, a), h), b) in target.iter_mut().zip(above).zip(here).zip(below) {
                // At most 255: the weights add up to 16.
                *target = u8::try_from((a + 2 * h + b + 8) / 16).unwrap_or(u8::MAX);
            }
        }
        Self { width: self.width, height: self.height, pixels }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn two_by_three() -> Grey {
        Grey::new(2, 3, vec![1, 2, 3, 4, 5, 6]).unwrap()
    }

    #[test]
    fn sides_that_do_not_fit_are_refused() {
        for (width, height, pixels) in [(2, 2, 3), (0, 5, 0), (u32::MAX, u32::MAX, 4)] {
            assert_eq!(Grey::new(width, height, vec![0; pixels]), Err(WrongSides));
        }
    }

    #[test]
    fn turns_are_clockwise_and_four_of_them_are_none() {
        let quarter = two_by_three().turned(Turn::Quarter);
        assert_eq!((quarter.width(), quarter.height()), (3, 2));
        assert_eq!(quarter.pixels(), [5, 3, 1, 6, 4, 2]);
        assert_eq!(two_by_three().turned(Turn::Half).pixels(), [6, 5, 4, 3, 2, 1]);
        assert_eq!(two_by_three().turned(Turn::ThreeQuarters).pixels(), [2, 4, 6, 1, 3, 5]);
        let full = Turn::ALL.into_iter().fold(two_by_three(), Grey::turned);
        assert_eq!(full, two_by_three().turned(Turn::Half), "90 + 180 + 270 are a turn and a half");
        assert_eq!(Turn::Quarter.then(Turn::ThreeQuarters), Turn::None);
    }

    #[test]
    fn an_even_shade_stays_as_it_is() {
        let even = Grey::blank(31, 17, 200);
        assert_eq!(even.smoothed(), even);
        let third = even.averaged(3);
        assert_eq!((third.width(), third.height()), (10, 5));
        assert!(third.pixels().iter().all(|shade| *shade == 200));
        assert_eq!(even.averaged(1), even);
        assert_eq!(even.averaged(99).height(), 1);
    }
}
