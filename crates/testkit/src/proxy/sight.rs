//! As much of two protocols as a trap must see.

/// A request that a trap waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// PostgreSQL's simple query `COMMIT`, as drivers send it.
    Commit,
    /// Kafka's request with this API key: 0 is Produce, 8 OffsetCommit.
    Kafka(i16),
}

/// Looks at what one client sends. Of another protocol it sees nothing that means anything.
#[derive(Default)]
pub struct Eye {
    /// Bytes until the next Kafka request begins; below 6 that were seen of its head wait in `head`.
    left: usize,
    head: Vec<u8>,
}

/// Type, length, text (PostgreSQL, Frontend/Backend Protocol, 54.7).
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

impl Eye {
    /// The requests that begin in this piece.
    pub fn see(&mut self, piece: &[u8]) -> Vec<Sight> {
        let mut seen = Vec::new();
        if piece.windows(COMMIT.len()).any(|window| window == COMMIT) {
            seen.push(Sight::Commit);
        }
        let mut rest = piece;
        while !rest.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(rest.len());
                self.left -= skipped;
                rest = &rest[skipped..];
                continue;
            }
            self.head.push(rest[0]);
            rest = &rest[1..];
            // The length counts from after itself; then comes the API key.
            if let &[a, b, c, d, key_high, key_low] = self.head.as_slice() {
                let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                self.left = length.saturating_sub(2);
                self.head.clear();
                seen.push(Sight::Kafka(i16::from_be_bytes([key_high, key_low])));
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: i16, body: usize) -> Vec<u8> {
        let length = u32::try_from(body + 2).unwrap().to_be_bytes();
        [&length[..], &key.to_be_bytes(), &vec![7; body]].concat()
    }

    #[test]
    fn kafka_requests_are_seen_wherever_the_pieces_are_cut() {
        let stream = [request(18, 40), request(0, 0), request(8, 3)].concat();
        for size in 1..stream.len() {
            let mut eye = Eye::default();
            let seen: Vec<Sight> = stream.chunks(size).flat_map(|piece| eye.see(piece)).collect();
            assert_eq!(seen, [Sight::Kafka(18), Sight::Kafka(0), Sight::Kafka(8)], "pieces of {size}");
        }
    }

    #[test]
    fn a_commit_is_seen_and_the_word_in_a_text_is_not() {
        assert!(Eye::default().see(b"Q\0\0\0\x0bCOMMIT\0").contains(&Sight::Commit));
        assert!(!Eye::default().see(b"Q\0\0\0\x2cSELECT 'COMMIT'\0").contains(&Sight::Commit));
    }
}
