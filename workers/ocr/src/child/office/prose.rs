use std::io::BufRead;

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

use crate::{Unreadable, child::xml::character};

/// What a part of a document says, one thing after the other.
pub enum Said<'a> {
    Open(&'a str, &'a BytesStart<'a>),
    Close(&'a str),
    Text(&'a str),
}

/// Walks through the XML of a part. Names come without their prefix. Own entities are not known, a DTD is refused: no
/// office program writes them.
pub fn walk(
    part: &mut dyn BufRead,
    mut listen: impl FnMut(Said<'_>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let mut reader = Reader::from_reader(part);
    let (mut buffer, mut depth) = (Vec::new(), 0_u32);
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(|_| Unreadable::Corrupt)? {
            Event::Start(tag) => {
                depth += 1;
                listen(Said::Open(&local(tag.local_name().as_ref()), &tag))?;
            }
            Event::Empty(tag) => {
                let name = local(tag.local_name().as_ref());
                listen(Said::Open(&name, &tag))?;
                listen(Said::Close(&name))?;
            }
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                listen(Said::Close(&local(tag.local_name().as_ref())))?;
            }
            Event::Text(text) => listen(Said::Text(&text.decode().map_err(|_| Unreadable::Corrupt)?))?,
            Event::CData(text) => listen(Said::Text(&text.decode().map_err(|_| Unreadable::Corrupt)?))?,
            Event::GeneralRef(reference) => {
                listen(Said::Text(&character(&reference).ok_or(Unreadable::Corrupt)?))?;
            }
            Event::DocType(_) => return Err(Unreadable::Corrupt),
            Event::Eof if depth > 0 => return Err(Unreadable::Corrupt),
            Event::Eof => return Ok(()),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
}

fn local(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Text that grows, paragraph by paragraph, up to a limit.
pub struct Prose {
    text: String,
    bytes_max: usize,
    /// Tables in tables.
    cells: u32,
}

impl Prose {
    pub fn new(bytes_max: usize) -> Self {
        Self { text: String::new(), bytes_max, cells: 0 }
    }

    pub fn push(&mut self, text: &str) -> Result<(), Unreadable> {
        if self.text.len() + text.len() > self.bytes_max {
            return Err(Unreadable::TooLarge);
        }
        self.text.push_str(text);
        Ok(())
    }

    /// As XML means white space outside of its verbatim texts: a stretch of it is one space, and none at the beginning.
    pub fn push_folded(&mut self, text: &str) -> Result<(), Unreadable> {
        for piece in text.split_inclusive(|c: char| c.is_ascii_whitespace()) {
            let word = piece.trim_end_matches(|c: char| c.is_ascii_whitespace());
            self.push(word)?;
            if word.len() < piece.len() && !self.text.ends_with([' ', '\n', '\t']) && !self.text.is_empty() {
                self.push(" ")?;
            }
        }
        Ok(())
    }

    pub fn end_paragraph(&mut self) -> Result<(), Unreadable> {
        self.push(if self.cells > 0 { " " } else { "\n" })
    }

    pub fn begin_cell(&mut self) {
        self.cells += 1;
    }

    pub fn end_cell(&mut self) -> Result<(), Unreadable> {
        self.cells = self.cells.saturating_sub(1);
        self.cut(' ');
        self.push(if self.cells > 0 { " " } else { "\t" })
    }

    pub fn end_row(&mut self) -> Result<(), Unreadable> {
        if self.cells > 0 {
            return Ok(());
        }
        self.cut('\t');
        self.push("\n")
    }

    fn cut(&mut self, end: char) {
        self.text.truncate(self.text.trim_end_matches(end).len());
    }

    pub fn into_text(self) -> String {
        self.text
    }
}
