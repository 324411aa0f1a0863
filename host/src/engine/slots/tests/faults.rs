//! What happens when the system refuses.

use super::super::fault::{Call, failing};
use super::*;

#[test]
fn a_slot_that_cannot_be_made_fails_the_instantiation_alone() {
    let rig = Rig::new(LIMITS);
    let guest = rig.guest(GUEST, &pattern(4096));
    for call in [Call::Reserve, Call::Show, Call::Open] {
        let error = failing(call, || rig.instantiate(&guest).err()).unwrap();
        assert!(format!("{error:#}").contains("there is no memory"), "{call:?}: {error:#}");
        assert_eq!(rig.slots.figures(), SlotFigures::default(), "{call:?}");
    }
    assert_eq!(rig.call(&guest, "grow").unwrap().unwrap(), 80);
}

#[test]
fn a_growth_that_the_system_refuses_is_told_to_the_guest() {
    let rig = Rig::new(LIMITS);
    let guest = rig.guest(GUEST, &pattern(4096));
    let (mut store, instance) = rig.instantiate(&guest).unwrap();
    let grown = failing(Call::Open, || {
        // The stack is there already.
        instance.get_memory(&mut store, "memory").unwrap().grow(&mut store, 1).is_ok()
    });
    assert!(!grown);
    assert_eq!(run(&mut store, instance, "grow").unwrap().unwrap(), 80, "the next one succeeds");
    drop(store);
    assert_eq!(rig.differences(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_reset_is_not_used_again_and_the_result_stands() {
    let rig = Rig::new(LIMITS);
    let guest = rig.guest(GUEST, &pattern(4096));
    // The scan is needed by the stack too; only much writing needs the others.
    for (call, name, result, lost) in
        [(Call::Scan, "return", 0, 2), (Call::Forget, "much", 0, 1), (Call::Close, "grow", 80, 1)]
    {
        let before = rig.slots.figures();
        let (mut store, instance) = rig.instantiate(&guest).unwrap();
        assert_eq!(run(&mut store, instance, name).unwrap().unwrap(), result, "{call:?}");
        failing(call, || drop(store));
        let after = rig.slots.figures();
        assert_eq!((after.slots, after.discarded), (0, before.discarded + lost), "{call:?}");
        assert_eq!(after.resets, before.resets, "{call:?}");
        assert_eq!(trap_of(rig.call(&guest, "grown-behind")), Some(Trap::MemoryOutOfBounds));
        assert_eq!(rig.differences(), Vec::<String>::new());
        assert_eq!(rig.slots.figures().slots, 1, "another one was made");
    }
}

#[test]
fn without_a_scan_there_are_no_slots() {
    assert!(failing(Call::Scan, || Slots::new(LIMITS).err()).is_some());
    assert!(Slots::new(LIMITS).is_ok());
}

#[test]
fn an_image_that_cannot_be_mapped_is_an_error() {
    let file = tempfile::tempfile().unwrap();
    // SAFETY: an unnamed file that nobody else has.
    assert!(failing(Call::View, || unsafe { Image::of(file) }.err()).is_some());
}
