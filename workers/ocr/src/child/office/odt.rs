use super::{
    package::Package,
    prose::{Prose, Said, walk},
};
use crate::Unreadable;

/// Deleted text, remarks, hidden helpers of forms, and the numbers of notes.
const SKIPPED: [&str; 5] = ["tracked-changes", "annotation", "forms", "note-citation", "sequence-decls"];
const SPACES_MAX: usize = 200;

/// Where a paragraph's words go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Header,
    Footer,
    Body,
}

struct Texts {
    header: Prose,
    body: Prose,
    notes: Prose,
    footer: Prose,
}

pub fn text(package: &mut Package<'_>, bytes_max: usize) -> Result<String, Unreadable> {
    let manifest = package.read("META-INF/manifest.xml", |xml| {
        walk(xml, |said| match said {
            Said::Open("encryption-data", _) => Err(Unreadable::Encrypted),
            _ => Ok(()),
        })
    });
    // One that is damaged says nothing about the text.
    if manifest == Err(Unreadable::Encrypted) {
        return Err(Unreadable::Encrypted);
    }
    let prose = || Prose::new(bytes_max);
    let mut texts = Texts { header: prose(), body: prose(), notes: prose(), footer: prose() };
    package.read("styles.xml", |xml| say(xml, &mut texts, false))?;
    package.read("content.xml", |xml| say(xml, &mut texts, true))?.ok_or(Unreadable::Corrupt)?;
    let all = [texts.header, texts.body, texts.notes, texts.footer].map(Prose::into_text).concat();
    if all.len() > bytes_max { Err(Unreadable::TooLarge) } else { Ok(all) }
}

/// Of the styles only headers and footers are text.
fn say(xml: &mut dyn std::io::BufRead, texts: &mut Texts, is_body: bool) -> Result<(), Unreadable> {
    let (mut skipped, mut paragraphs, mut notes, mut bodies) = (0_u32, 0_u32, 0_u32, 0_u32);
    let mut place = is_body.then_some(Place::Body);
    walk(xml, |said| {
        match said {
            Said::Open(name, _) if SKIPPED.contains(&name) => skipped += 1,
            Said::Close(name) if SKIPPED.contains(&name) => skipped = skipped.saturating_sub(1),
            Said::Open("header" | "header-left" | "header-first", _) if !is_body => place = Some(Place::Header),
            Said::Open("footer" | "footer-left" | "footer-first", _) if !is_body => place = Some(Place::Footer),
            Said::Close(name) if !is_body && (name.starts_with("header") || name.starts_with("footer")) => place = None,
            Said::Open("note", _) => notes += 1,
            Said::Close("note") => notes = notes.saturating_sub(1),
            Said::Open("note-body", _) => bodies += 1,
            Said::Close("note-body") => bodies = bodies.saturating_sub(1),
            _ => {}
        }
        let Some(place) = place.filter(|_| skipped == 0) else { return Ok(()) };
        let prose = match place {
            Place::Header => &mut texts.header,
            Place::Footer => &mut texts.footer,
            Place::Body if bodies > 0 => &mut texts.notes,
            Place::Body => &mut texts.body,
        };
        match said {
            Said::Open("p" | "h", _) => paragraphs += 1,
            Said::Close("p" | "h") => {
                paragraphs = paragraphs.saturating_sub(1);
                prose.end_paragraph()?;
            }
            // Between a note's number and its body there is only white space.
            Said::Text(text) if paragraphs > 0 && notes == bodies => prose.push_folded(text)?,
            Said::Open("s", tag) => {
                let count = tag.try_get_attribute("text:c").ok().flatten();
                let count = count.and_then(|count| std::str::from_utf8(&count.value).ok()?.parse().ok()).unwrap_or(1);
                prose.push(&" ".repeat(SPACES_MAX.min(count)))?;
            }
            Said::Open("tab", _) if paragraphs > 0 => prose.push("\t")?,
            Said::Open("line-break", _) => prose.push("\n")?,
            Said::Open("table-cell", _) => prose.begin_cell(),
            Said::Close("table-cell") => prose.end_cell()?,
            Said::Close("table-row") => prose.end_row()?,
            _ => {}
        }
        Ok(())
    })
}
