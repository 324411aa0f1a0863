//! What a program's memory looks like before its first instruction.

use std::fs::File;
use std::io;

use super::space::View;

/// A memory's initial bytes, from its address 0 on; what lies behind them is zero. The
/// file is mapped by every slot that shows it, and its pages are the system's to drop.
pub(in crate::engine) struct Image {
    file: File,
    view: View,
}

impl Image {
    /// The image in a file whose length is a multiple of the page size.
    ///
    /// # Errors
    /// When the file cannot be mapped, or has another length.
    ///
    /// # Safety
    /// Nobody may write to the file or cut it off as long as the image or a slot that
    /// showed it exists. Renaming and deleting it is fine.
    pub(in crate::engine) unsafe fn of(file: File) -> io::Result<Self> {
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if bytes % rustix::param::page_size() != 0 {
            return Err(io::Error::other("an image must be a whole number of pages long"));
        }
        // SAFETY: our caller promises the same.
        let view = unsafe { View::of(&file, bytes)? };
        Ok(Self { file, view })
    }

    /// Its bytes.
    pub(in crate::engine) fn bytes(&self) -> &[u8] {
        self.view.bytes()
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}
