/// Words of the truth, and how many of them were read in their order: the longest common subsequence.
pub fn words_read(truth: &str, read: &str) -> (usize, usize) {
    let truth: Vec<&str> = truth.split_whitespace().collect();
    let read: Vec<&str> = read.split_whitespace().collect();
    // Lengths of the best for each beginning of what was read, one word of the truth after the other.
    let mut best = vec![0_usize; read.len() + 1];
    for word in &truth {
        let mut diagonal = 0;
        for (at, other) in read.iter().enumerate() {
            let above = best[at + 1];
            best[at + 1] = if word == other { diagonal + 1 } else { above.max(best[at]) };
            diagonal = above;
        }
    }
    (truth.len(), best.last().copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::words_read;

    #[test]
    fn words_count_once_and_in_their_order() {
        assert_eq!(words_read("a b c d", "a b c d"), (4, 4));
        assert_eq!(words_read("a b c d", "a x c\nd y"), (4, 3));
        assert_eq!(words_read("a b c d", "d c b a"), (4, 1));
        assert_eq!(words_read("a b", ""), (2, 0));
        assert_eq!(words_read("", "a"), (0, 0));
    }
}
