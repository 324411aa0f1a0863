//! The power is cut under a store that works: everything it has written is on a file
//! system whose disk loses what nobody flushed, sled's own files among it.

use std::path::Path;

use rand::RngExt as _;

use super::crash_tests::{Acknowledged, FOLDER_CYCLES, Load, open, progress, restless, soak};
use super::mount::{Cut, Mount, skipped};
use super::{RunFilter, Store as _};

/// Set by `make soak` to more than the tests' number of cuts.
const CUTS_VARIABLE: &str = "TIDEGATE_SOAK_CUTS";
const CUTS: usize = 20;
const DISK_MEGABYTES: u32 = 256;

#[tokio::test(flavor = "multi_thread")]
async fn power_cut_of_a_disk_loses_nothing_that_was_acknowledged_as_durable() {
    let Some(disk) = Mount::on_disk(DISK_MEGABYTES) else { return skipped() };
    let mut left = soak(CUTS_VARIABLE, CUTS);
    while left > 0 {
        let cuts = left.min(FOLDER_CYCLES);
        cut_and_check(&disk, cuts).await;
        std::fs::remove_dir_all(disk.path().join("data")).unwrap();
        left -= cuts;
        progress(left, "power cuts under the store");
    }
}

async fn cut_and_check(disk: &Mount, cuts: usize) {
    let data = disk.path().join("data");
    let mut acknowledged = Acknowledged { is_power_cut: true, ..Acknowledged::default() };
    for cut in 0..cuts {
        let runs_before = acknowledged.runs.len();
        tokio::task::block_in_place(|| work_and_cut(disk, &data, &mut acknowledged));
        // Sometimes the next child opens what a cut left, unchecked.
        if cut % 3 == 2 || cut + 1 == cuts {
            let store = open(&data, restless());
            acknowledged.check(&store, runs_before).await;
            let lost = lost_checkpoints(&data);
            assert!(lost.is_empty(), "{lost:?}: {:?}", store.health().warnings);
            assert!(!store.runs(RunFilter::default(), None, 10).await.unwrap().runs.is_empty());
            store.close().await.unwrap();
        }
    }
    let Acknowledged { runs, workflows, settings, claims, ended, .. } = acknowledged;
    let least = [runs.len(), workflows.len(), settings.len(), claims.len(), ended.len()].into_iter().min();
    assert!(least > Some(cuts / 2), "the children came to too little");
}

/// Lets a child work on the folder, and cuts the power in the middle.
fn work_and_cut(disk: &Mount, data: &Path, acknowledged: &mut Acknowledged) {
    let mut random = rand::rng();
    let mut load = Load::start(data);
    load.take(random.random_range(1..600), acknowledged);
    write_back_some(data);
    // What it says while the power goes is no promise: nobody would hear it.
    load.freeze(acknowledged);
    disk.cut_power(if random.random_bool(0.5) { Cut::All } else { Cut::Data });
    load.kill(&mut Acknowledged::default());
    disk.power_on();
}

/// The databases that were there and could not be opened.
fn lost_checkpoints(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data.join("metadata")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("sled.broken")).collect()
}

/// The system writes pages when it likes: some of some files, in no order.
fn write_back_some(folder: &Path) {
    let mut random = rand::rng();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            write_back_some(&path);
        } else if random.random_bool(0.3)
            && let Ok(file) = std::fs::File::open(&path)
        {
            let pages = file.metadata().map_or(0, |file| file.len()) / 4096 + 1;
            let from = random.random_range(0..pages) * 4096;
            let bytes = random.random_range(1..=8) * 4096;
            let flags = libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
            // SAFETY: the descriptor is open; the call takes no pointers.
            unsafe {
                libc::sync_file_range(
                    std::os::fd::AsRawFd::as_raw_fd(&file),
                    i64::try_from(from).unwrap(),
                    bytes,
                    flags,
                );
            }
        }
    }
}
