//! Archives, PDF and office documents.

use crate::documents::crc32;

/// A member of a ZIP.
pub struct Member<'m> {
    pub name: &'m str,
    pub bytes: Vec<u8>,
    pub packed: bool,
    pub encrypted: bool,
    /// What the directory says of its size, when it lies.
    pub stated_bytes: Option<u32>,
}

pub fn stored(name: &str, bytes: impl Into<Vec<u8>>) -> Member<'_> {
    Member { name, bytes: bytes.into(), packed: false, encrypted: false, stated_bytes: None }
}

pub fn packed(name: &str, bytes: impl Into<Vec<u8>>) -> Member<'_> {
    Member { packed: true, ..stored(name, bytes) }
}

/// APPNOTE 4.3: local headers, then the directory, then its end.
pub fn zip(members: &[Member<'_>]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let body =
            if member.packed { miniz_oxide::deflate::compress_to_vec(&member.bytes, 9) } else { member.bytes.clone() };
        let length = u32::try_from(member.bytes.len()).unwrap();
        let mut fields = Vec::new();
        fields.extend(20_u16.to_le_bytes());
        fields.extend(u16::from(member.encrypted).to_le_bytes());
        fields.extend((if member.packed { 8_u16 } else { 0 }).to_le_bytes());
        fields.extend([0, 0, 0x21, 0x5a]); // a day in 2025
        fields.extend(crc32(&member.bytes).to_le_bytes());
        fields.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        fields.extend(member.stated_bytes.unwrap_or(length).to_le_bytes());
        fields.extend(u16::try_from(member.name.len()).unwrap().to_le_bytes());
        fields.extend([0, 0]);
        let at = u32::try_from(file.len()).unwrap();
        file.extend(b"PK\x03\x04");
        file.extend(&fields);
        file.extend(member.name.as_bytes());
        file.extend(&body);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&fields);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(member.name.as_bytes());
    }
    let (count, size) = (u16::try_from(members.len()).unwrap(), u32::try_from(directory.len()).unwrap());
    let start = u32::try_from(file.len()).unwrap();
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    file.extend([size.to_le_bytes(), start.to_le_bytes()].concat());
    file.extend([0, 0]);
    file
}

const CONTENT_TYPES: &str = r#"<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>"#;
const RELATIONS: &str = r#"<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>"#;

/// With `more` members; `body` is the paragraph.
pub fn docx(body: &str, more: Vec<Member<'_>>) -> Vec<u8> {
    let document = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>{body}</w:t></w:r></w:p></w:body></w:document>"#
    );
    docx_of(document, more)
}

pub fn docx_of(document: String, more: Vec<Member<'_>>) -> Vec<u8> {
    let mut members = vec![
        packed("[Content_Types].xml", CONTENT_TYPES),
        packed("_rels/.rels", RELATIONS),
        packed("word/document.xml", document),
    ];
    members.extend(more);
    zip(&members)
}

pub fn odt(body: &str) -> Vec<u8> {
    let content = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" office:version="1.3"><office:body><office:text><text:p>{body}</text:p></office:text></office:body></office:document-content>"#
    );
    zip(&[
        stored("mimetype", "application/vnd.oasis.opendocument.text"),
        packed("content.xml", content),
        packed(
            "META-INF/manifest.xml",
            r#"<?xml version="1.0"?><manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>"#,
        ),
    ])
}

pub fn xlsx() -> Vec<u8> {
    zip(&[
        packed("[Content_Types].xml", CONTENT_TYPES),
        packed("_rels/.rels", RELATIONS),
        packed("xl/workbook.xml", "<workbook xmlns='http://schemas.openxmlformats.org/spreadsheetml/2006/main'/>"),
    ])
}

/// A file of objects (ISO 32000-1, 7.5), the first of which is the catalogue; each is written as it is.
pub fn pdf_of(objects: &[Vec<u8>]) -> Vec<u8> {
    let (mut file, mut offsets) = (b"%PDF-1.5\n".to_vec(), Vec::new());
    for (index, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        file.extend(format!("{} 0 obj\n", index + 1).into_bytes());
        file.extend(object);
        file.extend(b"\nendobj\n");
    }
    let table = file.len();
    file.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).into_bytes());
    for offset in offsets {
        file.extend(format!("{offset:010} 00000 n \n").into_bytes());
    }
    file.extend(format!("trailer<</Size {}/Root 1 0 R>>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1).into_bytes());
    file
}

/// A stream that is packed so often; the dictionary names its filters.
pub fn stream(dictionary: &str, bytes: &[u8], times: usize) -> Vec<u8> {
    let packed = (0..times).fold(bytes.to_vec(), |bytes, _| miniz_oxide::deflate::compress_to_vec_zlib(&bytes, 9));
    let filters = "/FlateDecode ".repeat(times);
    let head = format!("<<{dictionary}/Length {}/Filter[{filters}]>>stream\n", packed.len());
    [head.into_bytes(), packed, b"\nendstream".to_vec()].concat()
}

/// One page whose content is the stream, with further objects from number 5 on.
pub fn pdf_page(content: Vec<u8>, more: Vec<Vec<u8>>) -> Vec<u8> {
    let mut objects = vec![
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>".to_vec(),
        content,
    ];
    objects.extend(more);
    pdf_of(&objects)
}

/// The container of old Office documents and of encrypted new ones, with the name of one stream in its directory. Enough to be
/// told from others; no reader opens it.
pub fn ole(stream_name: &str) -> Vec<u8> {
    let mut file = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    file.extend([0; 16]);
    // Version 3, little-endian, sectors of 512 bytes; one of them is the table, one the directory (MS-CFB 2.2).
    file.extend([0x3e, 0, 3, 0, 0xfe, 0xff, 9, 0, 6, 0]);
    file.extend([0; 10]);
    file.extend([1_u32, 1, 0, 4096, 0xffff_fffe, 0, 0xffff_fffe, 0, 0].map(u32::to_le_bytes).concat());
    file.resize(512, 0xff);
    file.extend([0xfd, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff]);
    file.resize(1024, 0xff);
    for name in ["Root Entry", stream_name] {
        let mut entry: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        entry.resize(64, 0);
        entry.extend(u16::try_from(name.len() * 2 + 2).unwrap().to_le_bytes());
        entry.extend([if name == "Root Entry" { 5 } else { 2 }, 1]);
        entry.resize(128, 0);
        file.extend(entry);
    }
    file.resize(1536, 0);
    file
}
