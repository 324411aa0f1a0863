//! Core modules, written byte by byte, and components around them.

/// A core module of so many sections.
pub(crate) fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat()
}

/// A section with this id.
pub(crate) fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![id];
    bytes.extend(leb(content.len()));
    bytes.extend(content);
    bytes
}

/// A section with this id that lists so many times the same item.
pub(crate) fn repeated(id: u8, count: usize, item: &[u8]) -> Vec<u8> {
    section(id, &[leb(count), item.repeat(count)].concat())
}

/// A module with `count` functions of no parameters, each with this body.
pub(crate) fn functions(count: usize, body: &[u8]) -> Vec<u8> {
    let body = [leb(body.len()), body.to_vec()].concat();
    module(&[repeated(1, 1, b"\x60\0\0"), repeated(3, count, &[0]), repeated(10, count, &body)])
}

/// A function's body with so many locals of type i32 around this code.
pub(crate) fn body(locals: usize, code: &[u8]) -> Vec<u8> {
    let locals = if locals == 0 { leb(0) } else { [leb(1), leb(locals), vec![0x7f]].concat() };
    [locals, code.to_vec(), vec![0x0b]].concat()
}

/// A component that has, beside what it had, a core module that nothing instantiates; its
/// world stays the same.
pub(crate) fn with_module(component: &[u8], module: &[u8]) -> Vec<u8> {
    [component.to_vec(), section(1, module)].concat()
}

/// A component with nothing in it but so many levels of components.
pub(crate) fn nested(levels: usize) -> Vec<u8> {
    let empty = b"\0asm\x0d\0\x01\0".to_vec();
    (0..levels).fold(empty.clone(), |inner, _| [empty.clone(), section(4, &inner)].concat())
}

/// The number as the format writes it.
pub(crate) fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
