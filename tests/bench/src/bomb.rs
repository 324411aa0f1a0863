//! A component that takes all the time that a compilation may take.

/// What one function may have, less its head.
const CODE_BYTES: usize = (2 << 20) - 100;

/// This component with a core module more that nothing instantiates: blocks within blocks,
/// as many as one function holds, which takes quadratic time.
pub fn nested_blocks(component: &[u8]) -> Vec<u8> {
    let levels = CODE_BYTES / 3;
    // No locals; block, ..., end, ..., end.
    let body = [&[0][..], &b"\x02\x40".repeat(levels), &b"\x0b".repeat(levels + 1)].concat();
    let code = [&leb(1)[..], &leb(body.len()), &body].concat();
    // One type without parameters, one function of it.
    let sections = [section(1, b"\x01\x60\0\0"), section(3, b"\x01\0"), section(10, &code)].concat();
    let module = [b"\0asm\x01\0\0\0".as_slice(), &sections].concat();
    [component, &section(1, &module)].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], &leb(content.len())[..], content].concat()
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
