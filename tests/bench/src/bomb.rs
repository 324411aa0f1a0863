//! A component that takes all the time that a compilation may take.

/// Functions, so that the compiler has work for all of its threads.
const FUNCTIONS: usize = 40;
/// Loops within loops in each of them; what they cost grows with the square.
const LOOPS: usize = 2000;

/// This component with a core module more that nothing instantiates: functions whose
/// variables each live through 2,000 nested loops. 1.5 MB of it take the compiler
/// minutes.
pub fn living_variables(component: &[u8]) -> Vec<u8> {
    // loop, variable + 1 -> variable, branch back while it is not zero
    let one = |n: usize| {
        let variable = leb(n);
        [b"\x03\x40\x20", &variable[..], b"\x41\x01\x6a\x21", &variable, b"\x20", &variable, b"\x0d\x00"]
            .concat()
    };
    let loops: Vec<u8> = (0..LOOPS).flat_map(one).collect();
    // One group of locals, all i32; at the end the loops' ends and the function's.
    let locals = [&leb(1)[..], &leb(LOOPS), b"\x7f"].concat();
    let body = [locals, loops, b"\x0b".repeat(LOOPS + 1)].concat();
    let bodies = [leb(body.len()), body].concat().repeat(FUNCTIONS);
    let code = [leb(FUNCTIONS), bodies].concat();
    // One type without parameters, which all functions have.
    let types = [leb(FUNCTIONS), vec![0; FUNCTIONS]].concat();
    let sections = [section(1, b"\x01\x60\0\0"), section(3, &types), section(10, &code)].concat();
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
