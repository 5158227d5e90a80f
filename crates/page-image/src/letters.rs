//! Connected ink, as boxes; and those of them that have a letter's shape.

use crate::ink::Ink;

/// The smallest box around connected ink, in pixels; right and bottom are the last that belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blot {
    pub left: u32,
    pub top: u32,
    pub right: u32,
    pub bottom: u32,
    /// Pixels of ink.
    pub area: u32,
}

/// Smaller ones are specks, or unreadable.
const HEIGHT_MIN: u32 = 5;
const HEIGHT_MAX: u32 = 120;

impl Blot {
    pub fn width(&self) -> u32 {
        self.right - self.left + 1
    }

    pub fn height(&self) -> u32 {
        self.bottom - self.top + 1
    }

    /// Neither a speck, nor a line, nor a picture. The same for all four ways to turn the page.
    pub fn may_be_letter(&self) -> bool {
        let (short, long) = (self.width().min(self.height()), self.width().max(self.height()));
        (HEIGHT_MIN..=HEIGHT_MAX).contains(&long)
            && short >= 2
            && long <= short * 6
            && self.area * 8 >= self.width() * self.height()
    }
}

/// A stretch of ink in one row, and the number of its blot.
#[derive(Clone, Copy)]
struct Run {
    left: u32,
    right: u32,
    blot: usize,
}

/// All connected ink, diagonals too. More than `max` blots are noise: those that are found last are left out.
pub fn blots(ink: &Ink, max: usize) -> Vec<Blot> {
    let mut forest = Forest::default();
    let (mut above, mut here): (Vec<Run>, Vec<Run>) = (Vec::new(), Vec::new());
    for (y, row) in (0_u32..).zip(ink.flags.chunks_exact(ink.width)) {
        here.clear();
        let mut start = None;
        for (x, flag) in (0_u32..).zip(row.iter().chain(std::iter::once(&false))) {
            match (flag, start) {
                (true, None) => start = Some(x),
                (false, Some(left)) => {
                    here.push(Run { left, right: x - 1, blot: usize::MAX });
                    start = None;
                }
                _ => {}
            }
        }
        let mut first = 0;
        for run in &mut here {
            // Runs that end before this one does not begin to touch can not touch a later one either.
            while above.get(first).is_some_and(|other| other.right + 1 < run.left) {
                first += 1;
            }
            for other in above[first..].iter().take_while(|other| other.left <= run.right + 1) {
                if other.blot != usize::MAX {
                    run.blot = forest.join(run.blot, other.blot);
                }
            }
            if run.blot == usize::MAX && forest.len() < max {
                run.blot = forest.plant();
            }
            if run.blot != usize::MAX {
                forest.grow(run.blot, y, run.left, run.right);
            }
        }
        std::mem::swap(&mut above, &mut here);
    }
    forest.fell()
}

/// Blots that grow together; each points at the one it has become part of, or at itself.
#[derive(Default)]
struct Forest {
    parents: Vec<usize>,
    blots: Vec<Option<Blot>>,
}

impl Forest {
    fn len(&self) -> usize {
        self.parents.len()
    }

    fn plant(&mut self) -> usize {
        self.parents.push(self.parents.len());
        self.blots.push(None);
        self.parents.len() - 1
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.parents[at] != at {
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }

    fn join(&mut self, one: usize, other: usize) -> usize {
        let other = self.root(other);
        if one == usize::MAX {
            return other;
        }
        let one = self.root(one);
        if one == other {
            return one;
        }
        let (kept, gone) = (one.min(other), one.max(other));
        self.parents[gone] = kept;
        self.blots[kept] = match (self.blots[kept], self.blots[gone].take()) {
            (Some(a), Some(b)) => Some(Blot {
                left: a.left.min(b.left),
                top: a.top.min(b.top),
                right: a.right.max(b.right),
                bottom: a.bottom.max(b.bottom),
                area: a.area + b.area,
            }),
            (a, b) => a.or(b),
        };
        kept
    }

    fn grow(&mut self, at: usize, y: u32, left: u32, right: u32) {
        let root = self.root(at);
        let area = right - left + 1;
        let blot = self.blots[root].get_or_insert(Blot { left, top: y, right, bottom: y, area: 0 });
        blot.left = blot.left.min(left);
        blot.right = blot.right.max(right);
        blot.bottom = y;
        blot.area += area;
    }

    fn fell(self) -> Vec<Blot> {
        self.blots.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(rows: &[&str]) -> Ink {
        let flags = rows.iter().flat_map(|row| row.bytes().map(|byte| byte == b'#')).collect();
        Ink { width: rows[0].len(), flags }
    }

    #[test]
    fn what_touches_is_one_blot_also_over_a_corner_and_from_two_sides() {
        let ink = drawn(&[
            "#.#.....", //
            "#.#...#.", //
            ".#...#..", //
            "#.#....#",
        ]);
        let found = blots(&ink, 100);
        assert_eq!(
            found,
            [
                Blot { left: 0, top: 0, right: 2, bottom: 3, area: 7 },
                Blot { left: 5, top: 1, right: 6, bottom: 2, area: 2 },
                Blot { left: 7, top: 3, right: 7, bottom: 3, area: 1 },
            ]
        );
    }

    #[test]
    fn noise_is_bounded() {
        let noise =
            Ink { width: 100, flags: (0..10_000).map(|at| (at % 100) % 2 == 0 && (at / 100) % 2 == 0).collect() };
        assert_eq!(blots(&noise, usize::MAX).len(), 2_500);
        assert_eq!(blots(&noise, 40).len(), 40);
    }

    #[test]
    fn specks_lines_and_pictures_are_no_letters() {
        let blot =
            |width: u32, height: u32, area| Blot { left: 10, top: 10, right: 9 + width, bottom: 9 + height, area };
        assert!(blot(9, 12, 50).may_be_letter() && blot(2, 12, 20).may_be_letter());
        for other in [blot(2, 2, 4), blot(300, 2, 600), blot(400, 300, 60_000), blot(30, 30, 60)] {
            assert!(!other.may_be_letter(), "{other:?}");
        }
    }
}
