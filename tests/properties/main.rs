//! Random sequences of commands, run on a real store and on a small model.
//!
//! After each step both must agree, and everything that a reader can see must keep the promises. The sequences are
//! the same in every run. For more of them: `PROPTEST_CASES=2000 cargo test --test properties`, with
//! `PROPTEST_RNG_SEED=N` to repeat what it found.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod checks;
mod model;
#[path = "../testkit/mod.rs"]
mod testkit;
mod world;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestError, TestRunner};

use world::World;

/// The token that a command presents: the current one, an earlier one, or an invented one.
#[derive(Clone, Copy, Debug)]
enum Proof {
    Current,
    Earlier(usize),
    Foreign,
}

/// What a new task waits for.
#[derive(Clone, Copy, Debug)]
enum After {
    Nothing,
    /// This task: until it has completed, or with `true`, until it has ended anyhow.
    Task(usize, bool),
    /// All tasks of a group.
    Group(usize),
}

/// One step. Tasks are given by number, counted round; times are in seconds.
#[derive(Clone, Debug)]
enum Step {
    Submit {
        lane: usize,
        priority: i32,
        delay: i64,
        max: Option<u32>,
        vendor: usize,
        key: Option<usize>,
        after: After,
        /// Which of two exclusive keys it has, as bits.
        exclusive: usize,
        deadline: Option<i64>,
        group: usize,
    },
    Claim {
        task: usize,
        length: i64,
    },
    Next {
        lanes: usize,
        vendor: usize,
        length: i64,
    },
    Peek {
        lanes: usize,
        vendor: usize,
    },
    Renew {
        task: usize,
        proof: Proof,
        length: Option<i64>,
    },
    Release {
        task: usize,
        proof: Proof,
        delay: i64,
        spent: bool,
    },
    Respond {
        task: usize,
        proof: Option<Proof>,
        success: bool,
        body: usize,
    },
    Note {
        task: usize,
        proof: Option<Proof>,
    },
    Tell {
        task: usize,
    },
    Read {
        task: usize,
        proof: Proof,
        through: usize,
    },
    Ask {
        task: usize,
        proof: Proof,
        default: Option<i64>,
        keeps_claim: bool,
    },
    Answer {
        task: usize,
        number: Option<usize>,
        text: usize,
    },
    Cancel {
        task: usize,
    },
    Move {
        task: usize,
        lane: usize,
    },
    Pause {
        lane: usize,
    },
    Resume {
        lane: usize,
    },
    Retry {
        task: usize,
    },
    Settle {
        task: usize,
    },
    /// Both clocks advance.
    Pass {
        seconds: i64,
    },
    /// The wall clock is set.
    Jump {
        seconds: i64,
    },
    /// The index is deleted; the next command rebuilds it.
    LoseIndex,
    /// A copy of the store without its index hands out the same tasks as the model, in the same order.
    DrainCopy {
        lanes: usize,
        vendor: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let task = || 0_usize..12;
    let lane = || 0_usize..2;
    let lanes = || 0_usize..4;
    let vendor = || prop_oneof![2 => Just(0_usize), 1 => 1_usize..3];
    let length = || prop_oneof![Just(10_i64), Just(60), Just(4000)];
    let delay = || prop_oneof![3 => Just(0_i64), 1 => Just(30), 1 => Just(4000)];
    let proof = || prop_oneof![5 => Just(Proof::Current), 1 => (0_usize..4).prop_map(Proof::Earlier), 1 => Just(Proof::Foreign)];
    let maybe_proof = || prop_oneof![1 => Just(None), 3 => proof().prop_map(Some)];
    let after = || {
        prop_oneof![
            5 => Just(After::Nothing),
            3 => (task(), any::<bool>()).prop_map(|(task, anyhow)| After::Task(task, anyhow)),
            1 => (0_usize..2).prop_map(After::Group),
        ]
    };
    let exclusive = || prop_oneof![3 => Just(0_usize), 2 => 1_usize..4];
    let deadline = || prop_oneof![4 => Just(None), 1 => Just(Some(30_i64)), 1 => Just(Some(4000))];
    let default = || prop_oneof![1 => Just(None), 1 => Just(Some(30_i64)), 1 => Just(Some(4000))];
    prop_oneof![
        7 => (lane(), -1..2_i32, delay(), prop_oneof![2 => Just(None), 1 => (1_u32..3).prop_map(Some)], 0_usize..3,
              prop_oneof![3 => Just(None), 1 => (0_usize..2).prop_map(Some)], after(), exclusive(), deadline(), 0_usize..3)
            .prop_map(|(lane, priority, delay, max, vendor, key, after, exclusive, deadline, group)| {
                Step::Submit { lane, priority, delay, max, vendor, key, after, exclusive, deadline, group }
            }),
        2 => (task(), length()).prop_map(|(task, length)| Step::Claim { task, length }),
        6 => (lanes(), vendor(), length()).prop_map(|(lanes, vendor, length)| Step::Next { lanes, vendor, length }),
        2 => (lanes(), vendor()).prop_map(|(lanes, vendor)| Step::Peek { lanes, vendor }),
        3 => (task(), proof(), proptest::option::of(length()))
            .prop_map(|(task, proof, length)| Step::Renew { task, proof, length }),
        4 => (task(), proof(), delay(), any::<bool>())
            .prop_map(|(task, proof, delay, spent)| Step::Release { task, proof, delay, spent }),
        4 => (task(), maybe_proof(), any::<bool>(), 0_usize..2)
            .prop_map(|(task, proof, success, body)| Step::Respond { task, proof, success, body }),
        2 => (task(), maybe_proof()).prop_map(|(task, proof)| Step::Note { task, proof }),
        2 => task().prop_map(|task| Step::Tell { task }),
        2 => (task(), proof(), 0_usize..4).prop_map(|(task, proof, through)| Step::Read { task, proof, through }),
        4 => (task(), proof(), default(), any::<bool>())
            .prop_map(|(task, proof, default, keeps_claim)| Step::Ask { task, proof, default, keeps_claim }),
        4 => (task(), proptest::option::of(0_usize..3), 0_usize..2)
            .prop_map(|(task, number, text)| Step::Answer { task, number, text }),
        1 => task().prop_map(|task| Step::Cancel { task }),
        2 => (task(), lane()).prop_map(|(task, lane)| Step::Move { task, lane }),
        1 => lane().prop_map(|lane| Step::Pause { lane }),
        2 => lane().prop_map(|lane| Step::Resume { lane }),
        2 => task().prop_map(|task| Step::Retry { task }),
        2 => task().prop_map(|task| Step::Settle { task }),
        5 => prop_oneof![Just(1_i64), Just(11), Just(61), Just(4001)].prop_map(|seconds| Step::Pass { seconds }),
        2 => prop_oneof![Just(-90_000_i64), Just(-20), Just(20), Just(90_000)]
            .prop_map(|seconds| Step::Jump { seconds }),
        1 => Just(Step::LoseIndex),
        1 => (lanes(), vendor()).prop_map(|(lanes, vendor)| Step::DrainCopy { lanes, vendor }),
    ]
}

/// Plays sequences of up to `steps` on stores that hold `waiting` tasks from the beginning.
fn play(cases: u32, steps: usize, waiting: usize) {
    let default =
        ProptestConfig { failure_persistence: None, max_shrink_iters: 1000, ..ProptestConfig::default() };
    // The variables of the environment take effect through the defaults.
    let explore = default.cases != 256 || default.rng_seed != RngSeed::Random;
    let fixed = ProptestConfig { cases, rng_seed: RngSeed::Fixed(20_261_121), ..default.clone() };
    let mut runner = TestRunner::new(if explore { default } else { fixed });
    let sequences = proptest::collection::vec(step(), 1..steps);
    let result = runner.run(&sequences, |sequence| {
        let mut world = World::new(waiting);
        for step in &sequence {
            world.play(step);
        }
        world.finish();
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, sequence)) => {
            let steps: Vec<String> = sequence.iter().map(|step| format!("  {step:?}")).collect();
            panic!("{reason}\n{}", steps.join("\n"));
        }
        Err(abort) => panic!("{abort}"),
    }
}

#[test]
fn the_store_agrees_with_the_model() {
    play(40, 80, 0);
}

#[test]
fn the_same_holds_in_a_lane_of_several_chunks() {
    play(3, 60, 260);
}
