use crate::rotate;

/// From the picture that was read to the page as one sees it: upright, but neither scaled nor straightened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    page: (u32, u32),
    scaled: (u32, u32),
    skew: f64,
}

impl Place {
    /// `page`: width and height of the upright page. `scaled`: those after scaling, before it was straightened by `skew`
    /// degrees.
    pub fn new(page: (u32, u32), scaled: (u32, u32), skew: f64) -> Self {
        Self { page, scaled, skew }
    }

    /// Width and height of the upright page in pixels.
    pub fn page(&self) -> (u32, u32) {
        self.page
    }

    /// Left, top, width and height on the page of a box of the picture. A box of a page that hangs keeps its sides, as they
    /// are those of what is in it.
    pub fn of(&self, [left, top, width, height]: [u32; 4]) -> [u32; 4] {
        let (scaled_width, scaled_height) = (f64::from(self.scaled.0), f64::from(self.scaled.1));
        let (width, height) = (f64::from(width), f64::from(height));
        let (mut x, mut y) = (f64::from(left) + width / 2.0, f64::from(top) + height / 2.0);
        if self.skew != 0.0 {
            let (sin, cos) = self.skew.to_radians().sin_cos();
            let (paper_width, paper_height) = rotate::sides(scaled_width, scaled_height, self.skew);
            let (dx, dy) = (x - f64::from(paper_width) / 2.0, y - f64::from(paper_height) / 2.0);
            x = dx * cos - dy * sin + scaled_width / 2.0;
            y = dx * sin + dy * cos + scaled_height / 2.0;
        }
        let (across, down) = (f64::from(self.page.0) / scaled_width, f64::from(self.page.1) / scaled_height);
        let (x, y, width, height) = (x * across, y * down, width * across, height * down);
        [x - width / 2.0, y - height / 2.0, width, height].map(whole)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(number: f64) -> u32 {
    number.round().max(0.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_of_a_picture_of_half_the_size_is_twice_as_large_on_the_page() {
        let place = Place::new((200, 100), (100, 50), 0.0);
        assert_eq!(place.of([10, 20, 30, 4]), [20, 40, 60, 8]);
        assert_eq!(place.of([0, 0, 100, 50]), [0, 0, 200, 100]);
    }

    #[test]
    fn what_hung_lies_where_it_was() {
        // The paper is larger than the picture; its middle is the picture's.
        let place = Place::new((1_000, 500), (1_000, 500), 3.0);
        let (width, height) = rotate::sides(1_000.0, 500.0, 3.0);
        assert_eq!(place.of([width / 2 - 10, height / 2 - 5, 20, 10])[2..], [20, 10]);
        let [left, top, ..] = place.of([width / 2 + 390, height / 2 - 5, 20, 10]);
        // 400 to the right of the middle: 21 lower on a page that hangs clockwise.
        assert!((889..=890).contains(&left) && (265..=267).contains(&top), "{left} {top}");
    }
}
