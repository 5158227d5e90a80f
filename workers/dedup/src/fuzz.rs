//! What strangers can make of a document to lie about its type.

use docfleet_fuzz::Target;

use crate::sniff::{Sniffed, Sniffer};

#[test]
fn a_type_is_the_same_however_the_bytes_arrive() {
    Target::new("sniffer")
        .sample("contract.pdf")
        .sample("letter.png")
        .sample("holiday.jpg")
        .sample("README.md")
        .seed(*b"II\x2a\0\x08\0\0\0")
        .seed(*b"GIF89a")
        .seed(*b"RIFF\x10\0\0\0WEBPVP8 ")
        .seed(*b"a;b\n1;2\n3;4\n")
        .seed(office())
        .tokens(&[
            b"PK\x01\x02",
            b"PK\x03\x04",
            b"PK\x05\x06",
            b"%PDF-",
            b"[Content_Types].xml",
            b"word/document.xml",
            b"vbaProject.bin",
            b"mimetype",
            b"content.xml",
            b"\xef\xbb\xbf",
            b"#!/bin/sh\n",
            b"<html>",
        ])
        .bytes_max(10 * 1024)
        .run(|bytes| {
            let in_chunks = |size| {
                let mut sniffer = Sniffer::default();
                bytes.chunks(size).for_each(|chunk| sniffer.observe(chunk));
                sniffer.finish()
            };
            let whole = in_chunks(usize::MAX);
            assert_eq!(whole, in_chunks(61));
            assert_eq!(whole, in_chunks(3));
            let Sniffed { kind, is_ambiguous } = whole;
            (kind.mime(), is_ambiguous)
        });
}

/// A word processor's document of two members without a byte.
fn office() -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for name in ["[Content_Types].xml", "word/document.xml"] {
        let start = u32::try_from(file.len()).unwrap_or_default().to_le_bytes();
        let length = u16::try_from(name.len()).unwrap_or_default().to_le_bytes();
        file.extend([b"PK\x03\x04".as_slice(), &[0; 22], &length, &[0; 2], name.as_bytes()].concat());
        directory.extend([b"PK\x01\x02".as_slice(), &[0; 24], &length, &[0; 12], &start, name.as_bytes()].concat());
    }
    let (start, size) = (file.len(), directory.len());
    file.extend(directory);
    file.extend([b"PK\x05\x06".as_slice(), &[0; 4], &[2, 0, 2, 0]].concat());
    file.extend(u32::try_from(size).unwrap_or_default().to_le_bytes());
    file.extend(u32::try_from(start).unwrap_or_default().to_le_bytes());
    file.extend([0; 2]);
    file
}
