//! A look at an upload before anything of it is compiled: what it is, how large its
//! parts are, what it asks for and what it offers.

use wasmparser::{ComponentExternalKind, ComponentTypeRef, Encoding, Parser, Payload, Validator};

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
// Sized from real guests: Python has 14 modules, 13,475 functions, the largest of 427 KB,
// 6,409 data segments; each bound leaves room for four times that or more.
const MODULES_MAX: usize = 64;
const FUNCTIONS_MAX: u64 = 60_000;
const FUNCTION_BYTES_MAX: usize = 2 << 20;
const DATA_SEGMENTS_MAX: u64 = 30_000;
const MEMORIES_MAX: u64 = 2;

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
    let surface = sizes_and_surface(bytes)?;
    let world = surface.world()?;
    Validator::new_with_features(FEATURES).validate_all(bytes).map_err(|error| ScanError::Invalid {
        reason: error.message().to_owned(),
        at: error.offset() as u64,
    })?;
    Ok(world)
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

fn sizes_and_surface(bytes: &[u8]) -> Result<Surface, ScanError> {
    let mut surface = Surface::default();
    // Nesting: 0 is the component itself; only its own imports and exports are its world.
    let mut depth = 0usize;
    let (mut modules, mut functions, mut data_segments, mut memories) = (0usize, 0u64, 0u64, 0u64);
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| {
            if error.message().contains("unexpected end") || error.offset() >= bytes.len() {
                ScanError::Truncated { at: bytes.len() }
            } else {
                ScanError::Invalid { reason: error.message().to_owned(), at: error.offset() as u64 }
            }
        })?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(ScanError::CoreModule);
            }
            Payload::ModuleSection { .. } => {
                depth += 1;
                modules += 1;
                limit("core modules", modules as u64, MODULES_MAX as u64)?;
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::FunctionSection(section) => {
                functions += u64::from(section.count());
                limit("functions", functions, FUNCTIONS_MAX)?;
            }
            Payload::CodeSectionEntry(body) => {
                limit("bytes in one function", body.range().len() as u64, FUNCTION_BYTES_MAX as u64)?;
            }
            Payload::DataSection(section) => {
                data_segments += u64::from(section.count());
                limit("data segments", data_segments, DATA_SEGMENTS_MAX)?;
            }
            Payload::MemorySection(section) => {
                memories += u64::from(section.count());
                limit("memories", memories, MEMORIES_MAX)?;
            }
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
}
