use super::{
    package::Package,
    prose::{Prose, Said, walk},
};
use crate::Unreadable;

/// How things look, what was deleted or moved away, and the second version of what newer programs draw.
const SKIPPED: [&str; 9] = ["pPr", "rPr", "sectPr", "tblPr", "trPr", "tcPr", "instrText", "moveFrom", "Fallback"];

pub fn text(package: &mut Package<'_>, bytes_max: usize) -> Result<String, Unreadable> {
    let main = main_part(package)?;
    let (folder, _) = main.rsplit_once('/').unwrap_or(("", &main));
    let mut names = package.names();
    names.sort_unstable();
    let beside = |start: &str| -> Vec<String> {
        let start = format!("{folder}/{start}");
        let is_part = |name: &&String| name.strip_prefix(&start).is_some_and(is_numbered_xml);
        names.iter().filter(is_part).cloned().collect()
    };
    let parts = [beside("header"), vec![main.clone()], beside("footnotes"), beside("endnotes"), beside("footer")];
    let mut prose = Prose::new(bytes_max);
    for part in parts.concat() {
        // What the directory names may still not be there.
        package.read(&part, |xml| say(xml, &mut prose))?.ok_or(Unreadable::Corrupt)?;
    }
    Ok(prose.into_text())
}

/// `3.xml` or `.xml`.
fn is_numbered_xml(rest: &str) -> bool {
    rest.strip_suffix(".xml").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Usually `word/document.xml`; the package says which.
fn main_part(package: &mut Package<'_>) -> Result<String, Unreadable> {
    const USUAL: &str = "word/document.xml";
    if package.has(USUAL) {
        return Ok(USUAL.to_owned());
    }
    let mut target = None;
    let found = package.read("_rels/.rels", |xml| {
        walk(xml, |said| {
            if let Said::Open("Relationship", tag) = said {
                let value = |name: &str| {
                    let attribute = tag.try_get_attribute(name).ok()??;
                    String::from_utf8(attribute.value.into_owned()).ok()
                };
                if value("Type").is_some_and(|kind| kind.ends_with("/officeDocument")) {
                    target = value("Target").map(|path| path.trim_start_matches('/').to_owned());
                }
            }
            Ok(())
        })
    })?;
    found.and(target).ok_or(Unreadable::Corrupt)
}

fn say(xml: &mut dyn std::io::BufRead, prose: &mut Prose) -> Result<(), Unreadable> {
    let (mut skipped, mut texts) = (0_u32, 0_u32);
    walk(xml, |said| match said {
        Said::Open(name, _) if SKIPPED.contains(&name) => {
            skipped += 1;
            Ok(())
        }
        Said::Close(name) if SKIPPED.contains(&name) => {
            skipped = skipped.saturating_sub(1);
            Ok(())
        }
        _ if skipped > 0 => Ok(()),
        Said::Open("t", _) => {
            texts += 1;
            Ok(())
        }
        Said::Close("t") => {
            texts = texts.saturating_sub(1);
            Ok(())
        }
        Said::Text(text) if texts > 0 => prose.push(text),
        Said::Open("tab", _) => prose.push("\t"),
        Said::Open("br" | "cr", _) => prose.push("\n"),
        Said::Open("noBreakHyphen", _) => prose.push("-"),
        Said::Close("p") => prose.end_paragraph(),
        Said::Open("tc", _) => {
            prose.begin_cell();
            Ok(())
        }
        Said::Close("tc") => prose.end_cell(),
        Said::Close("tr") => prose.end_row(),
        _ => Ok(()),
    })
}
