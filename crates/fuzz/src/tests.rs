#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use std::{cell::RefCell, panic};

use rand::{SeedableRng, rngs::SmallRng};

use crate::{
    Target,
    input::Inputs,
    search::{End, Search},
};

/// A reader with a fault behind three doors, of which each outcome shows that the one before is open.
fn faulty(input: &[u8]) -> u64 {
    match input {
        [b'%', b'P', b'D', b'F', length, rest @ ..] if usize::from(*length) > rest.len() => panic!("beyond the end"),
        [b'%', b'P', b'D', b'F', ..] => 3,
        [b'%', b'P', ..] => 2,
        [b'%', ..] => 1,
        _ => 0,
    }
}

fn search(found: &std::path::Path) -> Search {
    Search { name: "faulty", found: found.to_owned(), end: End::Inputs(200_000) }
}

#[test]
fn a_fault_behind_three_doors_is_found_kept_and_tried_first() {
    let found = std::env::temp_dir().join(format!("docfleet-fuzz-{}", std::process::id()));
    let inputs = || Inputs::new(vec![Vec::new()], vec![b"PD".to_vec()], 64, SmallRng::seed_from_u64(1));
    panic::catch_unwind(|| search(&found).run(inputs(), faulty)).expect_err("it is there");
    let kept: Vec<_> =
        std::fs::read_dir(&found).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].starts_with(b"%PDF") && kept[0].len() == 5, "as small as can be: {:?}", kept[0]);
    let tried = RefCell::new(Vec::new());
    search(&found).run(Inputs::new(vec![], vec![], 64, SmallRng::seed_from_u64(1)), |input| {
        tried.borrow_mut().push(input.to_vec());
        0
    });
    assert_eq!(tried.borrow().first(), kept.first());
    std::fs::remove_dir_all(&found).unwrap();
}

#[test]
fn inputs_stay_within_their_size_and_are_the_same_each_time() {
    let made = || {
        let made = RefCell::new(Vec::new());
        Target::new("sizes").bytes_max(100).seed([b'x'; 300]).tokens(&[&[b'y'; 60]]).run(|input| {
            assert!(input.len() <= 100);
            made.borrow_mut().push(input.to_vec());
        });
        made.into_inner()
    };
    let first = made();
    assert!(first.len() > 1_000);
    assert!(std::env::var("DOCFLEET_FUZZ_MINUTES").is_ok() || first == made());
}
