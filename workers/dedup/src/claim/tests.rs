use proptest::prelude::*;

use super::*;

fn verdict(kind: Kind, file_name: &str, declared: &str) -> Result<(), Refusal> {
    judge(Sniffed { kind, flaw: None }, file_name, Some(declared).filter(|d| !d.is_empty()))
}

const EXE: Kind = Kind::Other("application/vnd.microsoft.portable-executable");
const MISMATCH: Result<(), Refusal> = Err(Refusal::TypeMismatch);
const NOT_ACCEPTED: Result<(), Refusal> = Err(Refusal::TypeNotAccepted);

#[test]
fn honest_documents_pass() {
    for (kind, name, declared) in [
        (Kind::Pdf, "letter.pdf", "application/pdf"),
        (Kind::Pdf, "LETTER.PDF", "Application/PDF; name=\"x\""),
        (Kind::Pdf, "letter", ""),
        (Kind::Pdf, "letter.pdf", "application/octet-stream"),
        (Kind::Pdf, "letter.final", "application/x-pdf"),
        (Kind::Jpeg, "pass.jpeg", "image/jpg"),
        (Kind::Tiff, "fax.tif", "image/tiff"),
        (Kind::Csv, "list.csv", "application/vnd.ms-excel"),
        (Kind::Text, "list.csv", "text/csv"),
        (Kind::Csv, "note.txt", "text/plain; charset=utf-8"),
        (Kind::Docx, "letter.docx", "application/zip"),
        (Kind::Odt, "letter.odt", Kind::Odt.mime()),
        (Kind::Png, "", ""),
        (Kind::Png, ".", "*/*"),
    ] {
        assert_eq!(verdict(kind, name, declared), Ok(()), "{kind:?} {name} {declared}");
    }
}

#[test]
fn a_lie_in_the_name_or_in_the_declared_type_is_refused() {
    for (kind, name, declared) in [
        (EXE, "invoice.pdf", ""),
        (EXE, "invoice", "application/pdf"),
        (Kind::Png, "photo.pdf", ""),
        (Kind::Png, "photo.png", "application/pdf"),
        (Kind::Png, "photo.pdf", "image/png"),
        (Kind::Pdf, "letter.pdf.exe", "application/pdf"),
        (Kind::Pdf, "letter.exe. ", ""),
        (Kind::Pdf, "letter.pdf", "application/x-something"),
        (Kind::Text, "letter.docx", ""),
        (Kind::Other("text/html"), "letter.txt", ""),
        (Kind::Other("application/zip"), "letter.docx", ""),
        (Kind::Pdf, "page.html", ""),
        (Kind::Pdf, "letter.pdf", "text/html"),
    ] {
        assert_eq!(verdict(kind, name, declared), MISMATCH, "{kind:?} {name} {declared}");
    }
}

#[test]
fn an_honest_document_of_another_type_is_not_accepted() {
    for (kind, name, declared) in [
        (EXE, "setup.exe", EXE.mime()),
        (EXE, "setup", ""),
        (Kind::Other("application/zip"), "all.zip", "application/zip"),
        (Kind::Other("text/html"), "page.html", "text/html"),
        (Kind::Text, "run.js", "text/javascript"),
        (Kind::Text, "run.bat", ""),
        (Kind::Text, "data", "application/json"),
        (Kind::Other("application/vnd.ms-excel"), "old.xls", "application/vnd.ms-excel"),
        (Kind::Other("application/octet-stream"), "noise", ""),
    ] {
        assert_eq!(verdict(kind, name, declared), NOT_ACCEPTED, "{kind:?} {name} {declared}");
    }
}

#[test]
fn an_empty_file_can_not_lie_and_an_ambiguous_one_always_does() {
    assert_eq!(verdict(Kind::Empty, "a.exe", "application/pdf"), Ok(()));
    let two = Sniffed { kind: Kind::Pdf, flaw: Some(Flaw::Ambiguous) };
    assert_eq!(judge(two, "a.pdf", Some("application/pdf")), Err(Refusal::TypeAmbiguous));
}

#[test]
fn what_is_wrong_with_the_bytes_is_the_reason_whatever_is_claimed() {
    let encrypted = Sniffed { kind: Kind::Other("application/encrypted"), flaw: Some(Flaw::Encrypted) };
    for name in ["letter.docx", "letter.exe", "letter"] {
        assert_eq!(judge(encrypted, name, Some("text/html")), Err(Refusal::Encrypted), "{name}");
    }
}

proptest! {
    #[test]
    fn whatever_the_claims_say_an_unaccepted_type_never_passes(name in ".{0,20}(\\.[a-z0-9]{1,4})?", declared in proptest::option::of("[a-z*]{0,11}/[a-z.+*-]{0,20}(; ?.*)?")) {
        let sniffed = Sniffed { kind: EXE, flaw: None };
        prop_assert!(judge(sniffed, &name, declared.as_deref()).is_err());
    }
}
