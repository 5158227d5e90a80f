//! Bodies of uploads, byte by byte: a well-behaved client library could not send the bad ones.

pub const BOUNDARY: &str = "--------frontier";
pub const CONTENT_TYPE: &str = "multipart/form-data; boundary=--------frontier";

/// A part with these header lines.
pub fn part(headers: &str, content: &[u8]) -> Vec<u8> {
    [format!("--{BOUNDARY}\r\n{headers}\r\n\r\n").as_bytes(), content, b"\r\n"].concat()
}

pub fn end() -> Vec<u8> {
    format!("--{BOUNDARY}--\r\n").into_bytes()
}

/// What a browser sends for one file.
pub fn file(name: &str, content: &[u8]) -> Vec<u8> {
    named(&format!("filename=\"{name}\""), "application/pdf", content)
}

pub fn named(parameters: &str, mime: &str, content: &[u8]) -> Vec<u8> {
    let headers = format!("Content-Disposition: form-data; name=\"file\"; {parameters}\r\nContent-Type: {mime}");
    [part(&headers, content), end()].concat()
}

/// A body in two pieces; with the first one, the file has begun.
pub fn halves(body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let begun = body.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 5;
    let (first, second) = body.split_at(begun);
    (first.to_vec(), second.to_vec())
}
