//! The log over real files, and everything that can be done to them.

use super::*;

const KEY: [u8; 32] = [7; 32];
const DAYS: u32 = 400;

fn open(data: &Path) -> AuditLog {
    AuditLog::open(data, KEY, DAYS, 1 << 30).unwrap()
}

fn event(object: &str) -> Event {
    Event {
        who: "ada".to_owned(),
        via: "session".to_owned(),
        what: "workflow.deploy",
        object: object.to_owned(),
        details: vec!["version 3".to_owned()],
        address: Some(IpAddr::from([127, 0, 0, 1])),
        status: 201,
    }
}

fn filled(entries: usize) -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let audit = open(data.path());
    for number in 0..entries {
        audit.append(event(&format!("w{number}"))).unwrap();
    }
    data
}

fn file(data: &tempfile::TempDir) -> PathBuf {
    path(&data.path().join(FOLDER), 1)
}

fn problem(data: &tempfile::TempDir) -> Option<String> {
    open(data.path()).verify().unwrap().problem
}

#[test]
fn entries_come_back_newest_first_and_in_pages() {
    let data = filled(5);
    let audit = open(data.path());
    let objects = |before, limit| {
        let page = audit.list(before, limit).unwrap();
        page.into_iter().map(|entry| (entry.seq, entry.object)).collect::<Vec<_>>()
    };
    let named = |list: &[u64]| list.iter().map(|seq| (*seq, format!("w{}", seq - 1))).collect::<Vec<_>>();
    assert_eq!(objects(None, 2), named(&[5, 4]));
    assert_eq!(objects(Some(4), 2), named(&[3, 2]));
    assert_eq!(objects(Some(2), 100), named(&[1]));
    let verified = audit.verify().unwrap();
    assert_eq!(
        verified,
        AuditVerification { entries: 5, first: 1, last: 5, problem: None, key: String::new() }
    );
    let empty = tempfile::tempdir().unwrap();
    let verified = open(empty.path()).verify().unwrap();
    assert_eq!(
        verified,
        AuditVerification { entries: 0, first: 0, last: 0, problem: None, key: String::new() }
    );
}

#[test]
fn any_flipped_bit_is_found() {
    let data = filled(4);
    let path = file(&data);
    let original = std::fs::read(&path).unwrap();
    let audit = open(data.path());
    for at in 0..original.len() {
        for bit in 0..8 {
            let mut bytes = original.clone();
            bytes[at] ^= 1 << bit;
            std::fs::write(&path, &bytes).unwrap();
            assert!(audit.verify().unwrap().problem.is_some(), "bit {bit} of byte {at}");
        }
    }
    std::fs::write(&path, &original).unwrap();
    assert_eq!(audit.verify().unwrap().problem, None);
}

#[test]
fn removed_swapped_and_added_entries_are_found() {
    let data = filled(6);
    let path = file(&data);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let is_found = |lines: &[&str]| {
        std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        problem(&data).is_some()
    };
    for from in 0..lines.len() {
        for to in from + 1..=lines.len() {
            let without = [&lines[..from], &lines[to..]].concat();
            assert!(is_found(&without), "without {from}..{to}");
        }
        for other in 0..from {
            let mut swapped = lines.clone();
            swapped.swap(from, other);
            assert!(is_found(&swapped), "{from} and {other} swapped");
        }
        let twice = [&lines[..=from], &lines[from..]].concat();
        assert!(is_found(&twice), "{from} twice");
    }
    assert!(!is_found(&lines));
    std::fs::remove_file(&path).unwrap();
    assert!(problem(&data).is_some(), "the whole file");
}

#[test]
fn lost_or_foreign_ends_are_found() {
    let data = filled(3);
    let head = data.path().join(FOLDER).join(HEAD_FILE);
    let original = std::fs::read(&head).unwrap();
    let audit = open(data.path());
    for at in 0..original.len() {
        let mut bytes = original.clone();
        bytes[at] ^= 1;
        std::fs::write(&head, &bytes).unwrap();
        // A flip in the slot that does not count, or between the slots, changes nothing.
        let found = audit.verify().unwrap().problem.is_some();
        let later = if audit.lock().head_file_writes().is_multiple_of(2) { 0 } else { SLOT };
        let counts = (later..later + SLOT_USED).contains(&at);
        assert_eq!(found, counts, "byte {at}");
    }
    drop(audit);
    std::fs::remove_file(&head).unwrap();
    let audit = open(data.path());
    assert_eq!(audit.list(None, 1).unwrap()[0].what, "audit.head-lost");
    drop(audit);
    let other = AuditLog::open(data.path(), [8; 32], DAYS, 1 << 30).unwrap();
    assert!(other.verify().unwrap().problem.is_some(), "another key");
}

const SLOT: usize = 512;
const SLOT_USED: usize = 128;

impl Open {
    fn head_file_writes(&self) -> u64 {
        self.head_file.writes()
    }
}

#[test]
fn entry_that_a_crash_cut_off_goes_and_one_that_it_did_not_count_stays() {
    let data = filled(3);
    let (log, head) = (file(&data), data.path().join(FOLDER).join(HEAD_FILE));
    let (old_log, old_head) = (std::fs::read(&log).unwrap(), std::fs::read(&head).unwrap());
    open(data.path()).append(event("last")).unwrap();
    let new_log = std::fs::read(&log).unwrap();
    for bytes in old_log.len()..=new_log.len() {
        std::fs::write(&log, &new_log[..bytes]).unwrap();
        std::fs::write(&head, &old_head).unwrap();
        let audit = open(data.path());
        let stays = bytes == new_log.len();
        audit.append(event("next")).unwrap();
        let verified = audit.verify().unwrap();
        assert_eq!((verified.entries, verified.problem), (if stays { 5 } else { 4 }, None), "{bytes}");
    }
}

#[test]
fn truncation_is_still_found_after_further_entries() {
    let data = filled(5);
    let path = file(&data);
    let text = std::fs::read_to_string(&path).unwrap();
    let kept: String = text.lines().take(3).map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, kept).unwrap();
    let audit = open(data.path());
    audit.append(event("next")).unwrap();
    assert!(audit.verify().unwrap().problem.unwrap().contains("line 4"));
}

#[test]
fn old_files_go_and_the_rest_is_still_whole() {
    let data = tempfile::tempdir().unwrap();
    let audit = AuditLog::open(data.path(), KEY, DAYS, FILE_BYTES_MAX * 5 / 2).unwrap();
    let long = Event { details: vec!["x".repeat(TEXT_BYTES_MAX); DETAILS_MAX], ..event("w") };
    let folder = data.path().join(FOLDER);
    while numbers(&folder).unwrap().len() < 3 {
        // What takes long is the flush of each; a file is filled by what has one line break.
        let mut open = audit.lock();
        let mut bytes = Vec::new();
        for _ in 0..1000 {
            let entry = long.clone().into_entry(open.head.last_seq + 1, Timestamp::now());
            let line = chain::line(&entry, &open.head.last, &audit.key).unwrap();
            (open.head.last_seq, open.head.last) = (entry.seq, line.mac);
            bytes.extend(line.bytes);
        }
        open.log.write_all(&bytes).unwrap();
        open.bytes += bytes.len() as u64;
        drop(open);
        audit.append(long.clone()).unwrap();
    }
    assert_eq!(audit.verify().unwrap().problem, None);
    let before = audit.verify().unwrap();
    assert!(audit.prune(Timestamp::now()).unwrap() > 0);
    let after = audit.verify().unwrap();
    assert_eq!((after.problem, after.last), (None, before.last));
    assert!(after.first > 1 && after.entries < before.entries);
    drop(audit);
    let audit = AuditLog::open(data.path(), KEY, DAYS, FILE_BYTES_MAX * 5 / 2).unwrap();
    assert_eq!(audit.prune(Timestamp::now()).unwrap(), 0);
    let later = Timestamp::now() + SignedDuration::from_hours(24 * 401);
    assert!(audit.prune(later).unwrap() > 0);
    assert_eq!(audit.verify().unwrap().problem, None);
    std::fs::remove_file(path(&folder, numbers(&folder).unwrap()[0])).unwrap();
    assert!(audit.verify().unwrap().problem.is_some());
}

#[test]
fn copy_is_a_log_of_its_own() {
    let data = filled(3);
    let copy = tempfile::tempdir().unwrap();
    for (name, bytes) in open(data.path()).copy().unwrap() {
        let target = copy.path().join(name);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, bytes).unwrap();
    }
    let audit = open(copy.path());
    audit.append(event("next")).unwrap();
    assert_eq!(
        audit.verify().unwrap(),
        AuditVerification { entries: 4, first: 1, last: 4, problem: None, key: String::new() }
    );
}
