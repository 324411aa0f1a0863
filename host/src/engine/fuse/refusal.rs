//! Why a component is run as it is.

use super::module::Kind;

/// Why a component is not fused. It can still be run as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotFusable {
    /// The bytes are no valid component.
    #[error("the component is not valid: {0}")]
    Invalid(String),
    /// There is nothing to merge.
    #[error("it has fewer than two core modules to merge")]
    FewModules,
    /// A part whose meaning is tied to indices that fusing changes, or that may run code
    /// while the component is instantiated.
    #[error("it has {what}")]
    Unsupported {
        /// The part, with its article or in the plural.
        what: &'static str,
    },
    /// Two instances of one module cannot share its globals.
    #[error("core module {module} is instantiated more than once")]
    InstantiatedAgain {
        /// The module's index.
        module: usize,
    },
    /// Nobody makes such components; what it is meant for is unknown.
    #[error("core module {module} is never instantiated")]
    NeverInstantiated {
        /// The module's index.
        module: usize,
    },
    /// Its start function does something: the component was not pre-initialised.
    #[error("core module {module} has a start function that is not empty")]
    StartFunction {
        /// The module's index.
        module: usize,
    },
    /// Exactly one memory is what a merged module can have.
    #[error("its core modules define {found} memories, not one")]
    Memories {
        /// How many there are.
        found: usize,
    },
    /// A module that must be instantiated after the merged one has more than functions and
    /// tables.
    #[error("core module {module}, which comes after the others, has {what}")]
    LateModule {
        /// The module's index.
        module: usize,
        /// What it has.
        what: &'static str,
    },
    /// Two modules write the same table, and merging would change the order.
    #[error("core modules {first} and {second} write the same table, and their order would change")]
    TableOrder {
        /// The one that is instantiated first.
        first: usize,
        /// The other.
        second: usize,
    },
    /// A data segment that is copied at run time cannot become part of a memory image.
    #[error("core module {module} has a passive data segment")]
    PassiveData {
        /// The module's index.
        module: usize,
    },
    /// Instantiation would trap, which must stay as it is.
    #[error("{what} {index} of core module {module} does not fit into what it initialises")]
    OutOfBounds {
        /// The module's index.
        module: usize,
        /// The kind of segment.
        what: &'static str,
        /// Its index.
        index: usize,
    },
    /// A merged module needs it before it exists.
    #[error("{kind} {index} is defined after the first use of the modules that import it")]
    DefinedLate {
        /// Its kind.
        kind: Kind,
        /// Its index in the component.
        index: u32,
    },
    /// The result was checked and is no valid component: a fault of ours, not of the
    /// component.
    #[error("merging gave a component that is not valid: {0}")]
    Result(String),
}

impl From<wasmparser::BinaryReaderError> for NotFusable {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        NotFusable::Invalid(error.message().to_owned())
    }
}

/// An initial value that is more than a constant. With the engine's features there is none.
pub(super) const NOT_CONSTANT: NotFusable =
    NotFusable::Unsupported { what: "an initial value that is not a constant" };

/// An index that points nowhere. A validated component has none.
pub(super) fn dangling() -> NotFusable {
    NotFusable::Invalid("an index is out of bounds".to_owned())
}
