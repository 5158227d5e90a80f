/// Weights by place, over and over (Doc 9303-3, 4.9).
const WEIGHTS: [u32; 3] = [7, 3, 1];

/// A character's value; a filler is 0.
fn value(c: char) -> u32 {
    match c {
        '0'..='9' => c as u32 - '0' as u32,
        'A'..='Z' => c as u32 - 'A' as u32 + 10,
        _ => 0,
    }
}

pub fn digit(characters: impl IntoIterator<Item = char>) -> char {
    let sum: u32 = characters.into_iter().zip(WEIGHTS.into_iter().cycle()).map(|(c, weight)| value(c) * weight).sum();
    char::from_digit(sum % 10, 10).unwrap_or('0')
}

/// Whether `given` is the digit of `characters`.
pub fn agrees(characters: &str, given: char) -> bool {
    given.is_ascii_digit() && digit(characters.chars()) == given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_own_examples_agree() {
        // Doc 9303-3, appendix A.
        assert_eq!(digit("520727".chars()), '3');
        assert_eq!(digit("AB2134<<<".chars()), '5');
        assert_eq!(digit("HA672242<658022549601086<<<<<<<<<<<<<<0".chars()), '8');
        assert_eq!(digit("D231458907<<<<<<<<<<<<<<<34071279507122<<<<<<<<<<<".chars()), '2');
    }
}
