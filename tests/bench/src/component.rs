//! Components that differ in nothing but their digest.

/// The component with a custom section at its end, which no engine looks at: the same
/// program under another digest, so that the host compiles it anew.
pub fn variant(component: &[u8], tag: &str) -> Vec<u8> {
    const CUSTOM_SECTION: u8 = 0;
    const NAME: &[u8] = b"bench";
    let mut content = Vec::new();
    push_length(&mut content, NAME.len());
    content.extend_from_slice(NAME);
    content.extend_from_slice(tag.as_bytes());
    let mut variant = component.to_vec();
    variant.push(CUSTOM_SECTION);
    push_length(&mut variant, content.len());
    variant.extend_from_slice(&content);
    variant
}

/// An unsigned number as WebAssembly writes it (LEB128).
fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_the_component_with_a_section_behind_it() {
        assert_eq!(variant(b"x", "7"), b"x\x00\x07\x05bench7");
    }

    #[test]
    fn long_lengths_take_two_bytes() {
        let mut bytes = Vec::new();
        push_length(&mut bytes, 300);
        assert_eq!(bytes, [0xac, 0x02]);
    }
}
