/// Number of words and their mean confidence, from Tesseract's table.
pub fn words(table: &str) -> (u32, Option<f64>) {
    let (mut count, mut sum) = (0_u32, 0.0);
    for confidence in table.lines().filter_map(confidence_of_word) {
        count += 1;
        sum += confidence;
    }
    (count, (count > 0).then(|| sum / f64::from(count)))
}

/// Columns: level, page, block, paragraph, line, word, left, top, width, height, confidence, text.
fn confidence_of_word(row: &str) -> Option<f64> {
    const WORD: &str = "5";
    let mut columns = row.splitn(12, '\t');
    if columns.next()? != WORD {
        return None;
    }
    let confidence: f64 = columns.nth(9)?.parse().ok()?;
    // A picture without text gives a word of one space with a confidence of 95.
    let is_word = columns.next().is_some_and(|text| !text.trim().is_empty());
    (is_word && (0.0..=100.0).contains(&confidence)).then_some(confidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_count() {
        let table = "1\t1\t0\t0\t0\t0\t0\t0\t1240\t1755\t-1\t\n\
                     4\t1\t1\t1\t1\t0\t222\t96\t374\t33\t-1\t\n\
                     5\t1\t1\t1\t1\t1\t222\t96\t210\t33\t96.5\tStadtwerke\n\
                     5\t1\t1\t1\t1\t2\t450\t96\t146\t29\t90.5\tLinden\tfurt\n\
                     5\t1\t2\t1\t1\t1\t0\t0\t1240\t1755\t95.0\t \n";
        assert_eq!(words(table), (2, Some(93.5)));
    }

    #[test]
    fn a_broken_table_counts_nothing() {
        for table in
            ["", "5", "5\t1\t1", "5\t1\t1\t1\t1\t1\t0\t0\t1\t1\tNaN\tword", "5\t1\t1\t1\t1\t1\t0\t0\t1\t1\t1e9\tword"]
        {
            assert_eq!(words(table), (0, None), "{table}");
        }
    }
}
