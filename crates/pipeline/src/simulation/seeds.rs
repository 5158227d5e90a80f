/// Seeds that found a bug once, and what it was. They run in every test.
///
/// A change of what a world draws gives them another world. Find the bug again then (undo the fix, run `./dev simulate`), and
/// keep the seed that finds it now.
pub(super) const KEPT: &[(u64, &str)] = &[
    (130, "an offset commit that waited behind a rebalance takes the group back"),
    (160, "an offset commit that waited behind a rebalance takes a retry topic back"),
];
