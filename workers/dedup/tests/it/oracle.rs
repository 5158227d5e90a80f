//! Our types against those of libmagic, which knows many more and is believed by many.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use dedup::sniff::Sniffer;

fn ours(bytes: &[u8]) -> &'static str {
    let mut sniffer = Sniffer::default();
    sniffer.observe(bytes);
    sniffer.finish().kind.mime()
}

/// The `file` program's word.
fn libmagic(bytes: &[u8]) -> String {
    let mut file = Command::new("file")
        .args(["--brief", "--mime-type", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the package `file` is installed: ./dev does it");
    // It reads no more than it needs.
    file.stdin.take().unwrap().write_all(bytes).ok();
    String::from_utf8(file.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

/// Names for one thing.
fn same(ours: &str, theirs: &str) -> bool {
    const ALIKE: [&[&str]; 5] = [
        &["image/bmp", "image/x-ms-bmp"],
        &["text/plain", "text/csv", "application/csv"],
        &["application/x-empty", "inode/x-empty"],
        &["application/vnd.microsoft.portable-executable", "application/x-dosexec"],
        &["application/rtf", "text/rtf"],
    ];
    ours == theirs || ALIKE.iter().any(|names| names.contains(&ours) && names.contains(&theirs))
}

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    ["samples", "tests/fleet/src/corpus", "workers/ocr/tests/it/fixtures"]
        .iter()
        .flat_map(|directory| std::fs::read_dir(root.join(directory)).unwrap().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end != "rs" && end != "md"))
        .collect()
}

#[test]
fn what_libmagic_calls_a_document_we_call_it_too() {
    let files = files();
    assert!(files.len() > 10, "{files:?}");
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let (ours, theirs) = (ours(&bytes), libmagic(&bytes));
        assert!(same(ours, &theirs), "{}: {ours}, libmagic says {theirs}", path.display());
    }
}

#[test]
fn what_libmagic_calls_a_program_a_page_or_an_archive_is_never_accepted() {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01".to_vec();
    elf.resize(200, 0);
    for bytes in [
        elf.as_slice(),
        b"#!/bin/sh\necho a\n",
        b"#!/usr/bin/env python3\nprint(1)\n",
        b"<!DOCTYPE html><html><body>a</body></html>",
        b"<?xml version=\"1.0\"?><svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?php echo 1; ?>",
        b"{\\rtf1\\ansi a}",
        b"%!PS-Adobe-3.0\n",
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
        b"7z\xbc\xaf\x27\x1c\0\x04",
        b"Rar!\x1a\x07\x01\0",
        b"BZh91AY&SY\x17\x72\x45\x38\x50\x90\0\0\0\0",
        b"\xfd7zXZ\0\0\x04",
        b"\xca\xfe\xba\xbe\0\0\0\x34",
        b"OggS\0\x02",
        b"ID3\x03\0\0\0\0\0\x0f",
    ] {
        let mut sniffer = Sniffer::default();
        sniffer.observe(bytes);
        let kind = sniffer.finish().kind;
        let theirs = libmagic(bytes);
        assert!(!kind.is_accepted(), "{kind:?}, libmagic says {theirs}: {bytes:?}");
        assert_ne!(theirs, "text/plain", "it is something to libmagic as well: {bytes:?}");
    }
}
