//! Tesseract's table of what it found: level, page, block, paragraph, line, word, left, top, width, height, confidence,
//! text.

use crate::layout::{Line, Word};

const BLOCK: &str = "2";
const PARAGRAPH: &str = "3";
const LINE: &str = "4";
const WORD: &str = "5";

/// The lines with their words, in pixels of the picture that was read.
pub fn lines(table: &str) -> Vec<Line> {
    let (mut lines, mut words) = (Vec::new(), Vec::new());
    for row in table.lines() {
        if row.starts_with(LINE) {
            lines.extend(Line::around(std::mem::take(&mut words)));
        } else if let Some(word) = word(row) {
            words.push(word);
        }
    }
    lines.extend(Line::around(words));
    lines
}

fn word(row: &str) -> Option<Word> {
    let mut columns = row.splitn(12, '\t');
    if columns.next()? != WORD {
        return None;
    }
    let mut columns = columns.skip(5);
    // A box may begin a pixel outside.
    let mut number = || columns.next()?.parse::<i32>().ok().map(|number| number.max(0).unsigned_abs());
    let (left, top, width, height) = (number()?, number()?, number()?, number()?);
    let confidence: f32 = columns.next()?.parse().ok()?;
    let text = columns.next()?.trim();
    // A picture without text gives a word of one space with a confidence of 95.
    let is_word = !text.is_empty() && (0.0..=100.0).contains(&confidence);
    is_word.then(|| Word { left, top, width, height, confidence: Some(confidence), text: text.to_owned() })
}

/// The words in reading order, a line each line, an empty line between paragraphs.
pub fn text(table: &str) -> String {
    let (mut text, mut is_new_paragraph, mut is_new_line) = (String::new(), false, false);
    for row in table.lines() {
        match row.split('\t').next() {
            Some(BLOCK | PARAGRAPH) => is_new_paragraph = true,
            Some(LINE) => is_new_line = true,
            _ => {
                let Some(word) = word(row) else { continue };
                if !text.is_empty() {
                    text.push_str(if is_new_paragraph {
                        "\n\n"
                    } else if is_new_line {
                        "\n"
                    } else {
                        " "
                    });
                }
                text.push_str(&word.text);
                (is_new_paragraph, is_new_line) = (false, false);
            }
        }
    }
    text
}

/// The words' mean, 0 to 100.
pub fn mean_confidence(lines: &[Line]) -> Option<f64> {
    let (mut count, mut sum) = (0_u32, 0.0);
    for confidence in lines.iter().flat_map(|line| &line.words).filter_map(|word| word.confidence) {
        count += 1;
        sum += f64::from(confidence);
    }
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_their_lines_and_only_they_count() {
        let table = "1\t1\t0\t0\t0\t0\t0\t0\t1240\t1755\t-1\t\n\
                     4\t1\t1\t1\t1\t0\t222\t96\t374\t33\t-1\t\n\
                     5\t1\t1\t1\t1\t1\t222\t96\t210\t33\t96.5\tStadtwerke\n\
                     5\t1\t1\t1\t1\t2\t450\t-1\t146\t29\t90.5\tLinden\tfurt\n\
                     4\t1\t1\t1\t2\t0\t222\t140\t50\t33\t-1\t\n\
                     5\t1\t1\t1\t2\t1\t222\t140\t50\t33\t80\tStrom\n\
                     5\t1\t2\t1\t1\t1\t0\t0\t1240\t1755\t95.0\t \n";
        let lines = lines(table);
        let texts: Vec<Vec<&str>> =
            lines.iter().map(|line| line.words.iter().map(|word| word.text.as_str()).collect()).collect();
        assert_eq!(texts, [vec!["Stadtwerke", "Linden\tfurt"], vec!["Strom"]]);
        let first = &lines[0];
        assert_eq!((first.left, first.top, first.width, first.height), (222, 0, 374, 129));
        assert_eq!(mean_confidence(&lines), Some(89.0));
        assert_eq!(text(table), "Stadtwerke Linden\tfurt\nStrom");
    }

    #[test]
    fn a_broken_table_has_no_words() {
        for table in
            ["", "5", "5\t1\t1", "5\t1\t1\t1\t1\t1\t0\t0\t1\t1\tNaN\tword", "5\t1\t1\t1\t1\t1\t0\t0\t1\t1\t1e9\tword"]
        {
            assert_eq!((lines(table).len(), mean_confidence(&lines(table))), (0, None), "{table}");
        }
    }
}
