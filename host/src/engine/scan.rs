//! A look at an upload before anything of it is compiled: what it is, how large its
//! parts are, what it asks for and what it offers.

use wasmparser::{
    ComponentExternalKind, ComponentTypeRef, Encoding, FunctionBody, Parser, Payload, Validator,
};

use super::tuning::{FEATURES, TABLE_ELEMENTS_MAX};

/// The interfaces that are offered, without their versions. Present does not mean
/// allowed: files, sockets and the environment answer that there is nothing.
const OFFERED: [&str; 30] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
    "tidegate:workflow/types",
];

/// Ours, beside `types`.
const OURS: [&str; 3] = ["tidegate:workflow/log", "tidegate:workflow/program", "tidegate:workflow/settings"];

/// The largest component that is looked at, in bytes.
const COMPONENT_BYTES_MAX: usize = 64 << 20;
// Sized from real guests: Python has 14 modules in 1 component, 13,670 functions, the
// largest of 427 KB with 271 locals, 11,756 data segments, 1,133 types, 2,589 imports,
// 4,328 exports, 874 globals, 8 element segments and 2,236 parts of the component model;
// each bound leaves room for more than twice that.
const MODULES_MAX: u64 = 64;
const COMPONENTS_MAX: u64 = 64;
const NESTING_MAX: usize = 8;
const FUNCTIONS_MAX: u64 = 60_000;
const FUNCTION_BYTES_MAX: u64 = 2 << 20;
const LOCALS_MAX: u64 = 10_000;
const DATA_SEGMENTS_MAX: u64 = 30_000;
const ELEMENT_SEGMENTS_MAX: u64 = 1_000;
const MEMORIES_MAX: u64 = 2;
const TABLES_MAX: u64 = 64;
const TYPES_MAX: u64 = 20_000;
const IMPORTS_MAX: u64 = 20_000;
const EXPORTS_MAX: u64 = 40_000;
const GLOBALS_MAX: u64 = 20_000;
/// Types, instances, aliases, canonical functions, imports and exports of components.
const PARTS_MAX: u64 = 40_000;

/// The world that a component was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// A workflow of its own.
    Workflow,
    /// A language runtime.
    Runtime,
}

/// Why an upload is refused. [`ScanError::hint`] says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// No wasm at all.
    #[error("this is not a WebAssembly component: it does not begin with the wasm magic number")]
    NotWasm,
    /// A core module.
    #[error("this is a core WebAssembly module, not a component")]
    CoreModule,
    /// Native code of some wasmtime.
    #[error("this is a compiled artefact, not a component")]
    Artefact,
    /// The bytes end too early.
    #[error("the component is cut off: it ends at byte {at}, in the middle of a section")]
    Truncated {
        /// Where.
        at: usize,
    },
    /// The bytes are no valid component, or need a feature that is off.
    #[error("the component is not valid: {reason} (at byte {at:#x})")]
    Invalid {
        /// What the validator says.
        reason: String,
        /// Where.
        at: u64,
    },
    /// A part is too large.
    #[error("the component has {found} {what}, more than the limit of {limit}")]
    TooLarge {
        /// The part, in the plural.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Imports that are not offered.
    #[error("the component imports what this host does not offer: {}", names.join(", "))]
    Imports {
        /// The imports' names.
        names: Vec<String>,
    },
    /// Built for another world.
    #[error(
        "the component was built for another world: it does not export the function `workflow`, only {}",
        if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") }
    )]
    OtherWorld {
        /// What it exports.
        exports: Vec<String>,
    },
}

impl ScanError {
    /// What to do next with a component whose exports do not fit.
    pub const WORLD_HINT: &str = "build against the world `workflow` of tidegate:workflow@0.1.0; see wit/";

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            ScanError::NotWasm | ScanError::Artefact => "upload the .wasm file that `tidegate build` makes",
            ScanError::CoreModule => {
                "build for the target wasm32-wasip2, which makes components, or use `wasm-tools component new`"
            }
            ScanError::Truncated { .. } => "upload the file again",
            ScanError::Invalid { .. } => {
                "threads, 64-bit memories, garbage collection, exceptions and component-model async are off; build without them"
            }
            ScanError::TooLarge { .. } => "build with optimisation for size, and without what is not used",
            ScanError::Imports { .. } => {
                "workflows may import WASI 0.2, wasi:http/outgoing-handler and tidegate:workflow; see wit/"
            }
            ScanError::OtherWorld { .. } => Self::WORLD_HINT,
        }
    }
}

/// Looks at a component, and tells its world.
///
/// # Errors
/// The first reason to refuse it.
pub(super) fn scan(bytes: &[u8]) -> Result<World, ScanError> {
    if bytes.starts_with(b"\x7fELF") {
        return Err(ScanError::Artefact);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(ScanError::NotWasm);
    }
    limit("bytes", bytes.len() as u64, COMPONENT_BYTES_MAX as u64)?;
    sizes_and_surface(bytes)?.world()
}

/// Checks every rule of the format. Takes time and memory that only limits of a process
/// bound, so the compiler's child does it.
///
/// # Errors
/// The first rule that is broken.
pub(super) fn validate(bytes: &[u8]) -> Result<(), ScanError> {
    let valid = Validator::new_with_features(FEATURES).validate_all(bytes);
    valid
        .map(drop)
        .map_err(|error| ScanError::Invalid { reason: error.message().to_owned(), at: error.offset() as u64 })
}

#[derive(Default)]
struct Surface {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Surface {
    fn world(self) -> Result<World, ScanError> {
        let refused: Vec<String> = self.imports.into_iter().filter(|import| !offered(import)).collect();
        if !refused.is_empty() {
            return Err(ScanError::Imports { names: refused });
        }
        let has = |name: &str| self.exports.iter().any(|export| export == name);
        if has("workflow") {
            Ok(World::Workflow)
        } else if ["describe", "compile", "check", "run"].into_iter().all(has) {
            Ok(World::Runtime)
        } else {
            Err(ScanError::OtherWorld { exports: self.exports })
        }
    }
}

/// Whether an import's name stands for an interface that is linked, at a version that is
/// compatible with ours (the linker treats 0.2.x as compatible, as semver does).
fn offered(import: &str) -> bool {
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    if OURS.contains(&interface) || interface == "tidegate:workflow/types" {
        return version.starts_with("0.1.");
    }
    OFFERED.contains(&interface) && version.starts_with("0.2.")
}

fn limit(what: &'static str, found: u64, limit: u64) -> Result<(), ScanError> {
    if found > limit {
        return Err(ScanError::TooLarge { what, found, limit });
    }
    Ok(())
}

/// How many there are of each part that has a bound, in the whole upload.
#[derive(Default)]
struct Sizes {
    modules: u64,
    components: u64,
    functions: u64,
    data_segments: u64,
    element_segments: u64,
    memories: u64,
    tables: u64,
    types: u64,
    imports: u64,
    exports: u64,
    globals: u64,
    parts: u64,
}

impl Sizes {
    fn add(&mut self, payload: &Payload<'_>) -> Result<(), ScanError> {
        let (total, more, what, max) = match payload {
            Payload::ModuleSection { .. } => (&mut self.modules, 1, "core modules", MODULES_MAX),
            Payload::ComponentSection { .. } => (&mut self.components, 1, "components", COMPONENTS_MAX),
            Payload::FunctionSection(all) => (&mut self.functions, all.count(), "functions", FUNCTIONS_MAX),
            Payload::DataSection(all) => {
                (&mut self.data_segments, all.count(), "data segments", DATA_SEGMENTS_MAX)
            }
            Payload::ElementSection(all) => {
                (&mut self.element_segments, all.count(), "element segments", ELEMENT_SEGMENTS_MAX)
            }
            Payload::MemorySection(all) => (&mut self.memories, all.count(), "memories", MEMORIES_MAX),
            Payload::TableSection(all) => (&mut self.tables, all.count(), "tables", TABLES_MAX),
            Payload::TypeSection(all) => (&mut self.types, all.count(), "types", TYPES_MAX),
            Payload::ImportSection(all) => (&mut self.imports, all.count(), "imports", IMPORTS_MAX),
            Payload::ExportSection(all) => (&mut self.exports, all.count(), "exports", EXPORTS_MAX),
            Payload::GlobalSection(all) => (&mut self.globals, all.count(), "globals", GLOBALS_MAX),
            Payload::CoreTypeSection(all) => (&mut self.parts, all.count(), PARTS, PARTS_MAX),
            Payload::ComponentTypeSection(all) => (&mut self.parts, all.count(), PARTS, PARTS_MAX),
            Payload::InstanceSection(all) => (&mut self.parts, all.count(), PARTS, PARTS_MAX),
            Payload::ComponentInstanceSection(all) => (&mut self.parts, all.count(), PARTS, PARTS_MAX),
            Payload::ComponentAliasSection(all) => (&mut self.parts, all.count(), PARTS, PARTS_MAX),
            Payload::ComponentCanonicalSection(all) => (&mut self.parts, all.count(), PARTS, PARTS_MAX),
            Payload::ComponentImportSection(all) => (&mut self.parts, all.count(), PARTS, PARTS_MAX),
            Payload::ComponentExportSection(all) => (&mut self.parts, all.count(), PARTS, PARTS_MAX),
            _ => return Ok(()),
        };
        *total += u64::from(more);
        limit(what, *total, max)
    }
}

/// What [`PARTS_MAX`] counts, in a message.
const PARTS: &str = "parts of the component model";

fn function(body: &FunctionBody<'_>) -> Result<(), ScanError> {
    limit("bytes in one function", body.range().len() as u64, FUNCTION_BYTES_MAX)?;
    let mut locals = 0u64;
    for group in body.get_locals_reader().into_iter().flatten() {
        // What does not parse is for the validator to say.
        let Ok((count, _)) = group else { break };
        locals += u64::from(count);
        limit("locals in one function", locals, LOCALS_MAX)?;
    }
    Ok(())
}

fn sizes_and_surface(bytes: &[u8]) -> Result<Surface, ScanError> {
    let mut surface = Surface::default();
    let mut sizes = Sizes::default();
    // Nesting: 0 is the component itself; only its own imports and exports are its world.
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| {
            if error.message().contains("unexpected end") || error.offset() >= bytes.len() {
                ScanError::Truncated { at: bytes.len() }
            } else {
                ScanError::Invalid { reason: error.message().to_owned(), at: error.offset() as u64 }
            }
        })?;
        sizes.add(&payload)?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(ScanError::CoreModule);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                limit("levels of nesting", depth as u64, NESTING_MAX as u64)?;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionEntry(body) => function(&body)?,
            Payload::TableSection(section) => {
                for table in section.into_iter().flatten() {
                    limit("elements in one table", table.ty.initial, TABLE_ELEMENTS_MAX as u64)?;
                }
            }
            Payload::ComponentImportSection(section) if depth == 0 => {
                // Imported types only give names to what an imported interface defines.
                let needed =
                    section.into_iter().flatten().filter(|one| !matches!(one.ty, ComponentTypeRef::Type(_)));
                surface.imports.extend(needed.map(|import| import.name.name.to_owned()));
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                let named = section.into_iter().flatten().filter(|export| {
                    matches!(export.kind, ComponentExternalKind::Func | ComponentExternalKind::Instance)
                });
                surface.exports.extend(named.map(|export| export.name.name.to_owned()));
            }
            _ => {}
        }
    }
    Ok(surface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_component_is_told_apart() {
        assert_eq!(scan(b""), Err(ScanError::NotWasm));
        assert_eq!(scan(b"def workflow(): pass"), Err(ScanError::NotWasm));
        assert_eq!(scan(b"\x7fELF\x02\x01"), Err(ScanError::Artefact));
        assert_eq!(scan(b"\0asm\x01\0\0\0"), Err(ScanError::CoreModule));
        assert!(matches!(scan(b"\0asm\x0d\0\x01\0\x07\x20"), Err(ScanError::Truncated { .. })));
        assert!(matches!(scan(b"\0asm"), Err(ScanError::Truncated { .. })));
        assert_eq!(scan(b"\0asm\x0d\0\x01\0"), Err(ScanError::OtherWorld { exports: vec![] }));
    }

    #[test]
    fn imports_are_offered_by_interface_and_compatible_version() {
        for yes in ["wasi:cli/stdout@0.2.0", "wasi:http/types@0.2.12", "tidegate:workflow/log@0.1.0"] {
            assert!(offered(yes), "{yes}");
        }
        for no in [
            "wasi:cli/stdout@0.3.0",
            "wasi:nn/graph@0.2.0",
            "tidegate:workflow/log@0.2.0",
            "env",
            "wasi:cli/stdout",
        ] {
            assert!(!offered(no), "{no}");
        }
    }

    fn leb(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number > 0x7f {
            bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        [vec![id], leb(content.len() as u64), content.to_vec()].concat()
    }

    fn component(sections: &[u8]) -> Vec<u8> {
        [b"\0asm\x0d\0\x01\0", sections].concat()
    }

    /// What [`scan`] says of a component with a module with so many of one item.
    fn with(id: u8, count: u64, item: &[u8]) -> Result<World, ScanError> {
        let list = section(id, &[leb(count), item.repeat(count as usize)].concat());
        scan(&component(&section(1, &[b"\0asm\x01\0\0\0", &list[..]].concat())))
    }

    #[test]
    fn each_bound_lets_its_edge_through_and_nothing_beyond() {
        // Nothing here has the world's exports: that is said of what is not too large.
        let fits = |result| matches!(result, Err(ScanError::OtherWorld { .. }));
        let bounds: [(u8, u64, &[u8]); 9] = [
            (1, TYPES_MAX, b"\x60\0\0"),
            (2, IMPORTS_MAX, b"\0\0\x03\x7f\0"),
            (4, TABLES_MAX, b"\x70\0\0"),
            (5, MEMORIES_MAX, b"\0\0"),
            (6, GLOBALS_MAX, b"\x7f\0\x41\0\x0b"),
            (7, EXPORTS_MAX, b"\0\0\0"),
            (9, ELEMENT_SEGMENTS_MAX, b"\x01\0\0"),
            (11, DATA_SEGMENTS_MAX, b"\x01\0"),
            (3, FUNCTIONS_MAX, b"\0"),
        ];
        for (id, max, item) in bounds {
            // Functions without bodies are cut off, which is seen behind their number.
            let edge = with(id, max, item);
            assert!(
                fits(edge.clone()) || id == 3 && matches!(edge, Err(ScanError::Truncated { .. })),
                "{id}: {edge:?}"
            );
            let over = with(id, max + 1, item);
            assert!(
                matches!(&over, Err(ScanError::TooLarge { found, limit, .. }) if (*found, *limit) == (max + 1, max)),
                "{id}: {over:?}"
            );
        }
        let table = |elements: u64| with(4, 1, &[b"\x70\0", &leb(elements)[..]].concat());
        assert!(fits(table(TABLE_ELEMENTS_MAX as u64)));
        assert!(matches!(table(TABLE_ELEMENTS_MAX as u64 + 1), Err(ScanError::TooLarge { .. })));

        let module = section(1, b"\0asm\x01\0\0\0");
        let modules = |count: u64| scan(&component(&module.repeat(count as usize)));
        assert!(fits(modules(MODULES_MAX)));
        assert!(matches!(modules(MODULES_MAX + 1), Err(ScanError::TooLarge { what: "core modules", .. })));
        let empty = section(4, &component(b""));
        let components = |count: u64| scan(&component(&empty.repeat(count as usize)));
        assert!(fits(components(COMPONENTS_MAX)));
        assert!(matches!(components(COMPONENTS_MAX + 1), Err(ScanError::TooLarge { .. })));
        let nested =
            |levels: usize| (0..levels).fold(component(b""), |inner, _| component(&section(4, &inner)));
        assert!(fits(scan(&nested(NESTING_MAX))));
        assert!(matches!(scan(&nested(NESTING_MAX + 1)), Err(ScanError::TooLarge { .. })));
        // (type u8), as often.
        let parts = |count: u64| {
            scan(&component(&section(7, &[leb(count), b"\x7d".repeat(count as usize)].concat())))
        };
        assert!(fits(parts(PARTS_MAX)));
        assert!(matches!(parts(PARTS_MAX + 1), Err(ScanError::TooLarge { what: PARTS, .. })));
    }

    #[test]
    fn a_function_has_so_many_bytes_and_locals_and_no_more() {
        let with_body = |body: Vec<u8>| {
            let code = [leb(1), leb(body.len() as u64), body].concat();
            let sections = [section(1, b"\x01\x60\0\0"), section(3, b"\x01\0"), section(10, &code)].concat();
            scan(&component(&section(1, &[b"\0asm\x01\0\0\0", &sections[..]].concat())))
        };
        let bytes = |bytes: u64| with_body([vec![0], vec![1; bytes as usize - 2], vec![0x0b]].concat());
        assert!(matches!(bytes(FUNCTION_BYTES_MAX), Err(ScanError::OtherWorld { .. })));
        let over = bytes(FUNCTION_BYTES_MAX + 1);
        assert!(matches!(over, Err(ScanError::TooLarge { what: "bytes in one function", .. })), "{over:?}");
        let locals = |count: u64| with_body([vec![1], leb(count), vec![0x7f, 0x0b]].concat());
        assert!(matches!(locals(LOCALS_MAX), Err(ScanError::OtherWorld { .. })));
        let over = locals(LOCALS_MAX + 1);
        assert!(matches!(over, Err(ScanError::TooLarge { what: "locals in one function", .. })), "{over:?}");
    }
}
