//! Constant expressions, worked out.

use wasmparser::{AbstractHeapType, ConstExpr, HeapType, Operator};

/// The value of a constant expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// An `i32`.
    I32(i32),
    /// An `i64`.
    I64(i64),
    /// The bits of an `f32`.
    F32(u32),
    /// The bits of an `f64`.
    F64(u64),
    /// The bytes of a `v128`.
    V128(i128),
    /// No function.
    Null,
    /// A function, by the index that the merged module has for it before unused ones are
    /// dropped.
    Function(u32),
}

/// Works an expression out. `global` gives the value of an immutable global and
/// `function` a function's index in the merged module, both by the module's own index.
/// `None` when it is not a constant, or uses what is not known here.
pub(super) fn evaluate(
    expression: &ConstExpr<'_>,
    global: impl Fn(u32) -> Option<Value>,
    function: impl Fn(u32) -> Option<u32>,
) -> Option<Value> {
    let mut stack = Vec::new();
    let mut operators = expression.get_operators_reader();
    while !operators.eof() {
        let value = match operators.read().ok()? {
            Operator::I32Const { value } => Value::I32(value),
            Operator::I64Const { value } => Value::I64(value),
            Operator::F32Const { value } => Value::F32(value.bits()),
            Operator::F64Const { value } => Value::F64(value.bits()),
            Operator::V128Const { value } => Value::V128(value.i128()),
            Operator::RefNull { hty: HeapType::Abstract { shared: false, ty: AbstractHeapType::Func } } => {
                Value::Null
            }
            Operator::RefFunc { function_index } => Value::Function(function(function_index)?),
            Operator::GlobalGet { global_index } => global(global_index)?,
            Operator::I32Add => binary32(&mut stack, i32::wrapping_add)?,
            Operator::I32Sub => binary32(&mut stack, i32::wrapping_sub)?,
            Operator::I32Mul => binary32(&mut stack, i32::wrapping_mul)?,
            Operator::I64Add => binary64(&mut stack, i64::wrapping_add)?,
            Operator::I64Sub => binary64(&mut stack, i64::wrapping_sub)?,
            Operator::I64Mul => binary64(&mut stack, i64::wrapping_mul)?,
            Operator::End => break,
            _ => return None,
        };
        stack.push(value);
    }
    match (stack.pop(), stack.pop(), operators.eof()) {
        (Some(value), None, true) => Some(value),
        _ => None,
    }
}

fn binary32(stack: &mut Vec<Value>, apply: fn(i32, i32) -> i32) -> Option<Value> {
    let (Value::I32(right), Value::I32(left)) = (stack.pop()?, stack.pop()?) else { return None };
    Some(Value::I32(apply(left, right)))
}

fn binary64(stack: &mut Vec<Value>, apply: fn(i64, i64) -> i64) -> Option<Value> {
    let (Value::I64(right), Value::I64(left)) = (stack.pop()?, stack.pop()?) else { return None };
    Some(Value::I64(apply(left, right)))
}
