//! Which pages of an address range were written: `PAGEMAP_SCAN`, Linux 6.7 or newer.
//!
//! See `Documentation/admin-guide/mm/pagemap.rst` of the kernel.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::AsRawFd as _;

use super::fault::{self, Call};
use super::space::Space;

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = 0xC060_6610;

/// Backed by a file, so not a private copy of it.
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
/// Read but never written.
const PAGE_IS_PFNZERO: u64 = 1 << 5;

/// Regions that one call reports. A Python hello writes 153 of them, one that sends HTTP 906.
const REGIONS: usize = 512;

/// `struct pm_scan_arg`.
#[repr(C)]
struct ScanArguments {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// This process's page map.
///
/// The descriptor shows the memory of the process that opened it, whoever uses it: a
/// child that had it would see its parent's pages. `File::open` sets `O_CLOEXEC`, and
/// every child of this host is executed, not only forked.
pub(super) struct PageMap {
    file: File,
    page_bytes: usize,
}

impl PageMap {
    /// Opens the page map, and checks on a page of its own that the kernel can scan.
    pub(super) fn open() -> io::Result<Self> {
        let map = Self { file: File::open("/proc/self/pagemap")?, page_bytes: rustix::param::page_size() };
        let page = map.page_bytes;
        let mut space = Space::reserve(3 * page)?;
        space.open(0..3 * page)?;
        space.restore(page..2 * page, &[1]);
        let mut found = Vec::new();
        let end = map.written(&mut space, 0..3 * page, usize::MAX, |_, part| found.push(part))?;
        let sees = end == 3 * page && found == vec![page..2 * page];
        if sees { Ok(map) } else { Err(io::Error::other("the scan does not see what was written")) }
    }

    /// Calls `each` for every range of pages in a part of `space` that were written since
    /// they were mapped, from the lowest on, and stops behind `bytes_max` of them. What was
    /// swapped out counts: it comes back as it was. Returns up to where was looked.
    pub(super) fn written(
        &self,
        space: &mut Space,
        part: Range<usize>,
        bytes_max: usize,
        mut each: impl FnMut(&mut Space, Range<usize>),
    ) -> io::Result<usize> {
        assert!(part.end <= space.bytes(), "{part:?} is not within {}", space.bytes());
        let base = space.start() as usize;
        let (mut at, mut pages_left) = (part.start, bytes_max / self.page_bytes);
        let mut regions = [const { MaybeUninit::<PageRegion>::uninit() }; REGIONS];
        while at < part.end && pages_left > 0 {
            fault::check(Call::Scan)?;
            let mut arguments = ScanArguments {
                size: size_of::<ScanArguments>() as u64,
                flags: 0,
                start: (base + at) as u64,
                end: (base + part.end) as u64,
                walk_end: 0,
                vec: regions.as_mut_ptr() as u64,
                vec_len: REGIONS as u64,
                max_pages: pages_left as u64,
                // Neither a file's nor the zero page, and present or swapped out.
                category_inverted: PAGE_IS_FILE | PAGE_IS_PFNZERO,
                category_mask: PAGE_IS_FILE | PAGE_IS_PFNZERO,
                category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                return_mask: 0,
            };
            // SAFETY: the arguments have the kernel's layout and live through the call; the
            // kernel writes at most `vec_len` regions to `vec`, which has room for them. Without
            // flags it changes no page.
            let found = unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN, &raw mut arguments) };
            let found = usize::try_from(found).map_err(|_| io::Error::last_os_error())?;
            for region in &regions[..found] {
                // SAFETY: the kernel says that it wrote so many regions.
                let region = unsafe { region.assume_init() };
                let written = region.start as usize - base..region.end as usize - base;
                pages_left = pages_left.saturating_sub(written.len() / self.page_bytes);
                each(space, written);
            }
            let reached = arguments.walk_end as usize - base;
            if reached <= at {
                return Err(io::Error::other("the scan does not get on"));
            }
            at = reached;
        }
        Ok(at)
    }
}
