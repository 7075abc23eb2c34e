//! What holds whatever happens: random commands, random faults of machines, and messages that are
//! late, repeated or made up. After each step all books are compared.

use pleiad_sched::Output;
use proptest::prelude::*;

#[cfg(test)]
mod sim;

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: every accepted job is told to be final exactly once, attempts rise, `once` is once, no
    /// machine is over-committed, and the same calls give the same answers.
    /// Method: see [`Sim`]; when the faults stop, everything must come to an end.
    #[test]
    fn every_job_becomes_final_exactly_once(
        steps in prop::collection::vec(step(), 1..250),
        with_stray_messages in any::<bool>(),
    ) {
        let log = run(&steps, with_stray_messages, true);
        prop_assert!(log == run(&steps, with_stray_messages, false), "two runs differ");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Submit {
        class: usize,
        count: usize,
        after: Vec<usize>,
    },
    Cancel(usize),
    FinishEarly(usize),
    Release(usize),
    Join {
        cpus: u32,
        tagged: bool,
    },
    Lose(usize),
    SetCpus(usize, u32),
    Drain(usize, bool),
    Advance(u64),
    /// The machine reads some of what it was told.
    Receive(usize, usize),
    /// The first job of a lane ends.
    Work {
        machine: usize,
        lane: usize,
        ran: u64,
        end: u32,
    },
    /// All lanes of a machine end a few jobs well, and everything arrives.
    WorkHard(usize, usize),
    /// The scheduler reads some of what a machine has said.
    Deliver(usize, usize),
    /// Something that was said long ago, by whomever, is said again.
    Repeat(usize),
    /// Something that nobody has said.
    Stray {
        machine: u32,
        lane: u32,
        job: u64,
        attempt: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..1_000_usize;
    let after = prop::collection::vec(0..8_usize, 0..3);
    prop_oneof![
        6 => (which.clone(), 1..30_usize).prop_map(|(class, count)| Step::Submit { class, count, after: vec![] }),
        4 => (which.clone(), 1..4_usize, after).prop_map(|(class, count, after)| Step::Submit { class, count, after }),
        3 => which.clone().prop_map(Step::Cancel),
        1 => which.clone().prop_map(Step::FinishEarly),
        2 => which.clone().prop_map(Step::Release),
        2 => (0..5_u32, any::<bool>()).prop_map(|(cpus, tagged)| Step::Join { cpus, tagged }),
        1 => which.clone().prop_map(Step::Lose),
        1 => (which.clone(), 0..5_u32).prop_map(|(machine, cpus)| Step::SetCpus(machine, cpus)),
        1 => (which.clone(), any::<bool>()).prop_map(|(machine, yes)| Step::Drain(machine, yes)),
        6 => (1..120_u64).prop_map(Step::Advance),
        10 => (which.clone(), 1..20_usize).prop_map(|(machine, n)| Step::Receive(machine, n)),
        16 => (which.clone(), which.clone(), 0..30_000_u64, 0..20_u32)
            .prop_map(|(machine, lane, ran, end)| Step::Work { machine, lane, ran, end }),
        4 => (which.clone(), 1..10_usize).prop_map(|(machine, n)| Step::WorkHard(machine, n)),
        10 => (which.clone(), 1..20_usize).prop_map(|(machine, n)| Step::Deliver(machine, n)),
        2 => which.prop_map(Step::Repeat),
        1 => (0..4_u32, 0..8_u32, 0..20_u64, 0..3_u32)
            .prop_map(|(machine, lane, job, attempt)| Step::Stray { machine, lane, job, attempt }),
    ]
}

/// Runs the steps, lets everything come to an end, and gives all outputs.
fn run(steps: &[Step], with_stray_messages: bool, with_checks: bool) -> Vec<Output<u32>> {
    let mut sim = sim::Sim::new(with_stray_messages, with_checks);
    for step in steps {
        sim.step(step);
    }
    sim.come_to_an_end();
    sim.into_log()
}
