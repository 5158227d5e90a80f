use quick_xml::events::BytesRef;

/// One of the five characters that XML knows by name, or one by its number. Entities of a document's own are not known, so
/// that none can grow.
pub fn character(reference: &BytesRef<'_>) -> Option<String> {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return Some(character.to_string());
    }
    quick_xml::escape::resolve_predefined_entity(&reference.decode().ok()?).map(str::to_owned)
}
