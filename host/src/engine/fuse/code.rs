//! Function bodies: what they use, and the same bodies with other indices.
//!
//! A body's bytes are copied as they are but for the operators that name something by an
//! index of its module. The operators are those of [`super::super::tuning::FEATURES`];
//! the merged module is validated against them again.

use wasm_encoder::{BlockType, Encode, Ieee32, Ieee64, Instruction};
use wasmparser::{BlockType as ParsedBlockType, FunctionBody, Operator};

use super::constant::Value;
use super::refusal::{NotFusable, dangling};

/// What a body uses, by indices of its own module.
#[derive(Default)]
pub(super) struct Uses {
    /// Functions that it calls.
    pub(super) calls: Vec<u32>,
    /// Functions that it makes references to.
    pub(super) references: Vec<u32>,
    /// Globals that it sets.
    pub(super) globals_set: Vec<u32>,
    /// Tables that it writes.
    pub(super) tables_written: Vec<u32>,
    /// Set when it does nothing but hand its parameters on.
    pub(super) jump: Option<Jump>,
}

/// A body that calls what stands at a constant place of a table, with its own parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    /// The type that is called.
    pub(super) ty: u32,
    /// The table.
    pub(super) table: u32,
    /// The place in it.
    pub(super) slot: u32,
}

/// Looks through a body. `params` is the number of its function's parameters.
pub(super) fn uses(body: &FunctionBody<'_>, params: usize) -> Result<Uses, NotFusable> {
    let mut uses = Uses::default();
    let mut shape = Shape::new(body, params)?;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let operator = operators.read()?;
        shape.next(&operator);
        match operator {
            Operator::Call { function_index } => uses.calls.push(function_index),
            Operator::RefFunc { function_index } => uses.references.push(function_index),
            Operator::GlobalSet { global_index } => uses.globals_set.push(global_index),
            Operator::TableSet { table }
            | Operator::TableGrow { table }
            | Operator::TableFill { table }
            | Operator::TableInit { table, .. }
            | Operator::TableCopy { dst_table: table, .. } => uses.tables_written.push(table),
            // All data is part of the memory's initial image: nothing names a segment.
            Operator::MemoryInit { .. } | Operator::DataDrop { .. } => {
                return Err(NotFusable::Unsupported { what: "code that copies data segments" });
            }
            _ => {}
        }
    }
    for list in [&mut uses.calls, &mut uses.references, &mut uses.globals_set, &mut uses.tables_written] {
        list.sort_unstable();
        list.dedup();
        list.shrink_to_fit();
    }
    uses.jump = shape.jump();
    Ok(uses)
}

/// Recognises `local.get 0 … local.get n-1, i32.const slot, call_indirect, end`.
struct Shape {
    params: usize,
    /// Operators that fitted so far; `None` once one did not.
    fitted: Option<usize>,
    slot: u32,
    jump: Option<Jump>,
}

impl Shape {
    fn new(body: &FunctionBody<'_>, params: usize) -> Result<Self, NotFusable> {
        let fitted = (body.get_locals_reader()?.get_count() == 0).then_some(0);
        Ok(Self { params, fitted, slot: 0, jump: None })
    }

    fn next(&mut self, operator: &Operator<'_>) {
        let Some(at) = self.fitted else { return };
        let fits = match *operator {
            Operator::LocalGet { local_index } => at < self.params && local_index as usize == at,
            Operator::I32Const { value } if at == self.params => {
                self.slot = value.cast_unsigned();
                true
            }
            Operator::CallIndirect { type_index, table_index } if at == self.params + 1 => {
                self.jump = Some(Jump { ty: type_index, table: table_index, slot: self.slot });
                true
            }
            Operator::End => at == self.params + 2,
            _ => false,
        };
        self.fitted = fits.then_some(at + 1);
    }

    fn jump(self) -> Option<Jump> {
        self.jump.filter(|_| self.fitted == Some(self.params + 3))
    }
}

/// A module's indices in the merged module. `None` marks what is not there any more.
pub(super) struct Indices {
    pub(super) types: Vec<u32>,
    pub(super) functions: Vec<Option<u32>>,
    pub(super) tables: Vec<u32>,
    pub(super) globals: Vec<Place>,
    /// Added to the index of an element segment.
    pub(super) elements: u32,
}

/// Where a global went.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// It never changes, and is a number.
    Folded(Value),
    /// It is a global still.
    Kept(u32),
}

impl Indices {
    fn ty(&self, index: u32) -> Result<u32, NotFusable> {
        self.types.get(index as usize).copied().ok_or_else(dangling)
    }

    fn function(&self, index: u32) -> Result<u32, NotFusable> {
        self.functions.get(index as usize).copied().flatten().ok_or_else(dangling)
    }

    fn table(&self, index: u32) -> Result<u32, NotFusable> {
        self.tables.get(index as usize).copied().ok_or_else(dangling)
    }

    fn block(&self, ty: ParsedBlockType) -> Result<Option<BlockType>, NotFusable> {
        match ty {
            ParsedBlockType::FuncType(index) => Ok(Some(BlockType::FunctionType(self.ty(index)?))),
            ParsedBlockType::Empty | ParsedBlockType::Type(_) => Ok(None),
        }
    }

    /// The operator with this module's indices replaced; `None` where it has none.
    fn replace(&self, operator: &Operator<'_>) -> Result<Option<Instruction<'static>>, NotFusable> {
        let replaced = match *operator {
            Operator::Block { blockty } => return Ok(self.block(blockty)?.map(Instruction::Block)),
            Operator::Loop { blockty } => return Ok(self.block(blockty)?.map(Instruction::Loop)),
            Operator::If { blockty } => return Ok(self.block(blockty)?.map(Instruction::If)),
            Operator::Call { function_index } => Instruction::Call(self.function(function_index)?),
            Operator::CallIndirect { type_index, table_index } => Instruction::CallIndirect {
                type_index: self.ty(type_index)?,
                table_index: self.table(table_index)?,
            },
            Operator::RefFunc { function_index } => Instruction::RefFunc(self.function(function_index)?),
            Operator::GlobalGet { global_index } => {
                match *self.globals.get(global_index as usize).ok_or_else(dangling)? {
                    Place::Kept(index) => Instruction::GlobalGet(index),
                    Place::Folded(value) => number(value).ok_or_else(dangling)?,
                }
            }
            Operator::GlobalSet { global_index } => {
                match *self.globals.get(global_index as usize).ok_or_else(dangling)? {
                    Place::Kept(index) => Instruction::GlobalSet(index),
                    Place::Folded(_) => return Err(dangling()),
                }
            }
            Operator::TableGet { table } => Instruction::TableGet(self.table(table)?),
            Operator::TableSet { table } => Instruction::TableSet(self.table(table)?),
            Operator::TableGrow { table } => Instruction::TableGrow(self.table(table)?),
            Operator::TableSize { table } => Instruction::TableSize(self.table(table)?),
            Operator::TableFill { table } => Instruction::TableFill(self.table(table)?),
            Operator::TableCopy { dst_table, src_table } => Instruction::TableCopy {
                src_table: self.table(src_table)?,
                dst_table: self.table(dst_table)?,
            },
            Operator::TableInit { elem_index, table } => Instruction::TableInit {
                elem_index: elem_index.checked_add(self.elements).ok_or_else(dangling)?,
                table: self.table(table)?,
            },
            Operator::ElemDrop { elem_index } => {
                Instruction::ElemDrop(elem_index.checked_add(self.elements).ok_or_else(dangling)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(replaced))
    }
}

/// The instruction that pushes a number; `None` for a reference.
pub(super) fn number(value: Value) -> Option<Instruction<'static>> {
    match value {
        Value::I32(value) => Some(Instruction::I32Const(value)),
        Value::I64(value) => Some(Instruction::I64Const(value)),
        Value::F32(bits) => Some(Instruction::F32Const(Ieee32::new(bits))),
        Value::F64(bits) => Some(Instruction::F64Const(Ieee64::new(bits))),
        Value::V128(value) => Some(Instruction::V128Const(value)),
        Value::Null | Value::Function(_) => None,
    }
}

/// A body with its indices replaced, appended to `into` without its length. Returns how
/// many reads of globals became constants.
pub(super) fn rewrite(
    body: &FunctionBody<'_>,
    indices: &Indices,
    into: &mut Vec<u8>,
) -> Result<u32, NotFusable> {
    let (bytes, start) = (body.as_bytes(), body.range().start);
    let mut operators = body.get_operators_reader()?;
    let (mut copied, mut folded) = (0, 0);
    while !operators.eof() {
        let (operator, at) = operators.read_with_offset()?;
        if let Some(instruction) = indices.replace(&operator)? {
            into.extend_from_slice(bytes.get(copied..at - start).ok_or_else(dangling)?);
            instruction.encode(into);
            copied = operators.original_position() - start;
            let was_read = matches!(operator, Operator::GlobalGet { .. });
            folded += u32::from(was_read && !matches!(instruction, Instruction::GlobalGet(_)));
        }
    }
    into.extend_from_slice(bytes.get(copied..).ok_or_else(dangling)?);
    Ok(folded)
}
