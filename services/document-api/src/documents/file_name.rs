//! File names are text of a stranger, for people only: they name nothing in our systems.

/// Longer names are cut. Bytes, as file systems count them.
const BYTES_MAX: usize = 255;
/// An extension that is longer is none.
const EXTENSION_BYTES_MAX: usize = 16;
const NAMELESS: &str = "unnamed";

/// The last part of whatever path was sent (RFC 7578 §4.2), without characters that are invisible or reorder others.
pub(super) fn harmless(given: Option<&str>) -> String {
    let last = given.unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
    let visible: String = last.chars().filter(|c| !c.is_control() && !is_deceptive(*c)).collect();
    let name = visible.trim();
    if name.is_empty() || name.chars().all(|c| c == '.') {
        return NAMELESS.to_owned();
    }
    cut(name)
}

/// Formatting that has no shape of its own: with U+202E before it, the end of `invoicefdp.exe` reads as `exe.pdf`.
fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Cuts between characters and keeps the extension, which later stages compare with the bytes.
fn cut(name: &str) -> String {
    if name.len() <= BYTES_MAX {
        return name.to_owned();
    }
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if extension.len() <= EXTENSION_BYTES_MAX => (stem, format!(".{extension}")),
        _ => (name, String::new()),
    };
    let mut kept = String::with_capacity(BYTES_MAX);
    for c in stem.chars() {
        if kept.len() + c.len_utf8() + extension.len() > BYTES_MAX {
            break;
        }
        kept.push(c);
    }
    kept + &extension
}

/// The essence of a claimed media type, in lower case. None when it is not well-formed: an unreadable claim is no claim.
pub(super) fn media_type(given: Option<&str>) -> Option<String> {
    const CHARS_MAX: usize = 127;
    let essence = given?.split(';').next()?.trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    let is_token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    (essence.len() <= CHARS_MAX && is_token(kind) && is_token(subtype)).then_some(essence)
}

/// `Content-Disposition` of a download (RFC 6266): the name in ASCII for old clients, and in UTF-8 for all others.
pub(super) fn disposition(name: &str) -> String {
    let ascii: String =
        name.chars().map(|c| if c.is_ascii_graphic() && !"\"\\%".contains(c) || c == ' ' { c } else { '_' }).collect();
    let mut utf8 = String::with_capacity(name.len());
    for byte in name.bytes() {
        // attr-char of RFC 8187, without the rarer signs.
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            utf8.push(char::from(byte));
        } else {
            utf8.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{utf8}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_only_the_last_part_of_a_path() {
        for (given, kept) in [
            ("letter.pdf", "letter.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\fakepath\\Brief März.pdf", "Brief März.pdf"),
            ("a/b\\c.png", "c.png"),
            (" spaced .pdf ", "spaced .pdf"),
            (".hidden", ".hidden"),
        ] {
            assert_eq!(harmless(Some(given)), kept, "{given}");
        }
    }

    #[test]
    fn what_names_nothing_is_unnamed() {
        assert_eq!(harmless(None), NAMELESS);
        for given in ["", " ", ".", "..", "...", "/", "a/", "a\\..", "\u{0}\r\n", "\u{202e}\u{200b}"] {
            assert_eq!(harmless(Some(given)), NAMELESS, "{given:?}");
        }
    }

    #[test]
    fn characters_that_can_not_be_seen_are_taken_out() {
        assert_eq!(harmless(Some("in\u{0}voi\r\nce\u{202e}fdp.exe\u{7f}")), "invoicefdp.exe");
        assert_eq!(harmless(Some("a\u{200b}b\u{feff}c\u{85}.txt")), "abc.txt");
        // Other scripts are left as they are.
        assert_eq!(harmless(Some("文書_Ж.tiff")), "文書_Ж.tiff");
    }

    #[test]
    fn a_long_name_is_cut_between_characters_and_keeps_its_extension() {
        let name = harmless(Some(&format!("{}.pdf", "ü".repeat(300))));
        assert!(name.len() <= BYTES_MAX && name.len() > BYTES_MAX - 3, "{}", name.len());
        assert!(name.ends_with("ü.pdf"));
        assert_eq!(harmless(Some(&"x".repeat(1_000))).len(), BYTES_MAX);
        assert_eq!(harmless(Some(&format!("a.{}", "y".repeat(1_000)))).len(), BYTES_MAX);
    }

    #[test]
    fn only_a_well_formed_claim_is_kept() {
        assert_eq!(media_type(Some("Application/PDF; name=\"secret.pdf\"")).as_deref(), Some("application/pdf"));
        assert_eq!(media_type(Some("image/svg+xml")).as_deref(), Some("image/svg+xml"));
        for bad in ["", "pdf", "/", "a/", "/b", "a/b/c", "a b/c", "text/\u{e4}", &format!("a/{}", "b".repeat(126))] {
            assert_eq!(media_type(Some(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_download_is_an_attachment_whatever_its_name() {
        assert_eq!(disposition("a b.pdf"), "attachment; filename=\"a b.pdf\"; filename*=UTF-8''a%20b.pdf");
        assert_eq!(
            disposition("x\"; filename=\"ü%41\\.exe"),
            "attachment; filename=\"x_; filename=___41_.exe\"; filename*=UTF-8''x%22%3B%20filename%3D%22%C3%BC%2541%5C.exe"
        );
    }
}
