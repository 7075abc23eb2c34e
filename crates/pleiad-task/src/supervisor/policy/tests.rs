use std::collections::BTreeMap;

use proptest::prelude::{Just, any, prop, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use super::*;

const A: ChildId = ChildId(0);
const B: ChildId = ChildId(1);
const C: ChildId = ChildId(2);
const ALWAYS: [Restart; 3] = [Restart::Always; 3];

#[test]
fn children_start_in_order_and_stop_in_the_reverse_order_one_by_one() {
    let mut world = World::new(Strategy::OneForOne, &ALWAYS);
    assert_eq!(world.take(), ["start 0", "start 1", "start 2"]);

    world.policy.stop();
    world.run();
    assert_eq!(world.take(), ["stop 2"], "the others wait for its end");
    world.end(C, End::Returned);
    assert_eq!(world.take(), ["rest 2", "stop 1"]);
    world.end(B, End::Terminated);
    world.end(A, End::Failed);
    assert_eq!(world.take(), ["rest 1", "stop 0", "rest 0", "finish"]);
}

#[test]
fn one_for_one_restarts_only_the_child_that_failed() {
    let mut world = World::begun(Strategy::OneForOne, &ALWAYS);
    world.end(B, End::Failed);
    assert_eq!(world.take(), ["restart 1 after 0 ms, 1 in period", "start 1"]);
}

#[test]
fn one_for_all_stops_the_others_backwards_and_then_starts_all() {
    let mut world = World::begun(Strategy::OneForAll, &ALWAYS);
    world.end(B, End::Failed);
    assert_eq!(world.take(), ["restart 1 after 0 ms, 1 in period", "stop 2"]);
    world.end(C, End::Returned);
    assert_eq!(world.take(), ["stop 0"]);
    world.end(A, End::Terminated);
    assert_eq!(world.take(), ["start 0", "start 1", "start 2"]);
}

#[test]
fn rest_for_one_stops_those_after_it_backwards_and_starts_them_after_it() {
    let mut world = World::begun(Strategy::RestForOne, &[Restart::Always; 4]);
    world.end(B, End::Returned);
    assert_eq!(world.take(), ["restart 1 after 0 ms, 1 in period", "stop 3"]);
    world.end(ChildId(3), End::Terminated);
    world.end(C, End::Terminated);
    assert_eq!(world.take(), ["stop 2", "start 1", "start 2", "start 3"]);
}

#[test]
fn a_group_waits_for_the_back_off_of_the_child_that_failed() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let mut world = World::begun(strategy, &ALWAYS[..2]);
        world.end(A, End::Failed);
        world.end(B, End::Terminated);
        world.take();
        world.end(A, End::Failed);
        world.end(B, End::Terminated);
        assert_eq!(world.take(), ["restart 0 after 100 ms, 2 in period", "stop 1"]);
        world.pass(99);
        assert_eq!(world.take(), [""; 0]);
        world.pass(1);
        assert_eq!(world.take(), ["start 0", "start 1"]);
    }
}

#[test]
fn waits_double_in_a_row_and_begin_anew_after_a_calm_period() {
    let mut world = World::begun(Strategy::OneForOne, &ALWAYS[..1]);
    world.policy.options.restarts = 100;
    for wait in [0, 100, 200, 400, 400] {
        world.end(A, End::Failed);
        assert!(world.take()[0].starts_with(&format!("restart 0 after {wait} ms")));
        world.pass(wait);
        assert_eq!(world.take().len(), usize::from(wait > 0));
    }
    world.pass(5001);
    world.end(A, End::Failed);
    assert_eq!(world.take(), ["restart 0 after 0 ms, 1 in period", "start 0"]);
}

#[test]
fn each_restart_rule_looks_at_the_end() {
    let ends = [End::Returned, End::Failed, End::Terminated];
    let rules = [
        (Restart::Always, [true, true, true]),
        (Restart::OnFailure, [false, true, true]),
        (Restart::Never, [false, false, false]),
    ];
    for (rule, expected) in rules {
        for (end, expected) in ends.into_iter().zip(expected) {
            let mut world = World::begun(Strategy::OneForOne, &[rule]);
            world.end(A, end);
            let outputs = world.take();
            assert_eq!(outputs.contains(&"start 0".to_owned()), expected, "{rule:?} {end:?}");
            assert_eq!(outputs == ["rest 0"], !expected, "{rule:?} {end:?}");
        }
    }
}

#[test]
fn one_restart_too_many_within_the_period_stops_all() {
    let mut world = World::begun(Strategy::OneForOne, &ALWAYS);
    world.policy.options.backoff = Backoff::NONE;
    for child in [A, B, A] {
        world.end(child, End::Failed);
    }
    world.take();
    world.pass(5000);
    world.end(C, End::Failed);
    assert_eq!(world.take(), ["give up 2", "stop 1"], "5000 ms are within 5000 ms");
    world.end(B, End::Terminated);
    world.end(A, End::Terminated);
    assert_eq!(world.take(), ["rest 1", "stop 0", "rest 0", "finish"]);
}

#[test]
fn restarts_that_are_older_than_the_period_are_forgotten() {
    let mut world = World::begun(Strategy::OneForOne, &ALWAYS);
    world.policy.options.backoff = Backoff::NONE;
    for child in [A, B, A] {
        world.end(child, End::Failed);
    }
    world.take();
    world.pass(5001);
    world.end(C, End::Failed);
    assert_eq!(world.take(), ["restart 2 after 0 ms, 1 in period", "start 2"]);
}

#[test]
fn without_restarts_the_first_failure_is_the_end() {
    let mut world = World::begun(Strategy::OneForOne, &ALWAYS[..1]);
    world.policy.options.restarts = 0;
    world.end(A, End::Failed);
    assert_eq!(world.take(), ["give up 0", "finish"]);
}

#[test]
fn children_that_are_never_restarted_stay_down_when_their_group_goes_up() {
    let rules = [Restart::Always, Restart::Never, Restart::OnFailure];
    let mut world = World::begun(Strategy::OneForAll, &rules);
    world.end(A, End::Failed);
    world.end(C, End::Returned);
    world.end(B, End::Returned);
    let expected =
        ["restart 0 after 0 ms, 1 in period", "stop 2", "stop 1", "rest 1", "start 0", "start 2"];
    assert_eq!(world.take(), expected);
}

#[test]
fn a_child_that_was_stopped_by_hand_rests_until_it_is_restarted_by_hand() {
    let mut world = World::begun(Strategy::OneForAll, &ALWAYS[..2]);
    world.policy.stop_child(A);
    world.run();
    world.end(A, End::Returned);
    assert_eq!(world.take(), ["stop 0", "rest 0"]);
    world.end(B, End::Failed);
    assert_eq!(world.take(), ["restart 1 after 0 ms, 1 in period", "start 1"]);
    world.policy.restart_child(A);
    world.run();
    assert_eq!(world.take(), ["start 0"]);
}

#[test]
fn a_restart_by_hand_does_not_count_and_does_not_wait() {
    let mut world = World::begun(Strategy::OneForOne, &ALWAYS[..1]);
    for _ in 0..10 {
        world.policy.restart_child(A);
        world.run();
        world.end(A, End::Terminated);
        assert_eq!(world.take(), ["stop 0", "start 0"]);
    }
}

#[test]
fn a_removed_child_is_forgotten_when_it_has_ended() {
    let mut world = World::begun(Strategy::OneForOne, &ALWAYS[..2]);
    world.policy.remove_child(A);
    world.policy.restart_child(A);
    world.run();
    assert_eq!(world.policy.state(A), Some(State::Stopping(Then::Remove)));
    world.end(A, End::Failed);
    assert_eq!(world.take(), ["stop 0", "removed 0"]);
    assert_eq!(world.policy.state(A), None);
}

#[test]
fn a_first_start_that_goes_wrong_is_not_tried_again() {
    let mut world = World::new_unstartable(B);
    world.run();
    assert_eq!(world.take(), ["start 0", "start 1", "removed 1", "start 2"]);
}

#[test]
fn a_restart_that_goes_wrong_counts_as_a_failure() {
    let mut world = World::begun(Strategy::OneForOne, &ALWAYS[..1]);
    world.unstartable = Some(A);
    world.end(A, End::Failed);
    assert_eq!(
        world.take(),
        ["restart 0 after 0 ms, 1 in period", "start 0", "restart 0 after 100 ms, 2 in period",]
    );
}

#[test]
fn the_end_of_an_older_incarnation_changes_nothing() {
    let mut world = World::begun(Strategy::OneForOne, &ALWAYS[..1]);
    world.end(A, End::Failed);
    world.take();
    world.policy.handle_ended(world.now, A, Attempt(1), End::Failed);
    world.run();
    assert_eq!(world.take(), [""; 0]);
}

#[derive(Debug, Clone)]
enum Step {
    Add(Restart),
    End(usize, End),
    AnswerStops,
    StopChild(u32),
    RestartChild(u32),
    RemoveChild(u32),
    Pass(u64),
    Stop,
}

fn steps() -> impl Generator<Value = Vec<Step>> {
    let rule =
        || prop_oneof![Just(Restart::Always), Just(Restart::OnFailure), Just(Restart::Never)];
    let end = prop_oneof![Just(End::Returned), Just(End::Failed), Just(End::Terminated)];
    let step = prop_oneof![
        3 => rule().prop_map(Step::Add),
        8 => (0..8_usize, end).prop_map(|(index, end)| Step::End(index, end)),
        4 => Just(Step::AnswerStops),
        1 => (0..8_u32).prop_map(Step::StopChild),
        1 => (0..8_u32).prop_map(Step::RestartChild),
        1 => (0..8_u32).prop_map(Step::RemoveChild),
        4 => (0..3000_u64).prop_map(Step::Pass),
    ];
    let stop = any::<bool>();
    (prop::collection::vec(step, 1..60), stop).prop_map(|(mut steps, stop)| {
        if stop {
            steps.push(Step::Stop);
        }
        steps
    })
}

proptest! {
    /// Goal: whatever happens in whatever order, no child runs twice, the limit holds, stops of a
    /// group go backwards, nothing starts in a group that is being stopped, and all comes to rest.
    /// Method: random steps in a world that checks each output (see `World::act`).
    #[test]
    fn whatever_happens_the_rules_hold(
        strategy in prop_oneof![
            Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)
        ],
        steps in steps(),
    ) {
        let mut world = World::new(strategy, &[]);
        for step in steps {
            match step {
                Step::Add(rule) => { world.policy.add(rule); }
                Step::End(index, end) => {
                    let live: Vec<_> = world.live.keys().copied().collect();
                    if !live.is_empty() { world.end(live[index % live.len()], end); }
                }
                Step::AnswerStops => world.answer_stops(),
                Step::StopChild(id) => world.policy.stop_child(ChildId(id)),
                Step::RestartChild(id) => world.policy.restart_child(ChildId(id)),
                Step::RemoveChild(id) => world.policy.remove_child(ChildId(id)),
                Step::Pass(ms) => world.pass(ms),
                Step::Stop => world.policy.stop(),
            }
            world.run();
        }
        world.come_to_rest();
    }
}

/// Children that do what they are told, and a clock that is moved by hand.
struct World {
    policy: Policy,
    strategy: Strategy,
    now: Time,
    live: BTreeMap<ChildId, Attempt>,
    stopping: Vec<ChildId>,
    restarts: Vec<Time>,
    unstartable: Option<ChildId>,
    finished: bool,
    said: Vec<String>,
}

impl World {
    fn new(strategy: Strategy, children: &[Restart]) -> Self {
        let backoff =
            Backoff { first: Duration::from_millis(100), max: Duration::from_millis(400) };
        let options = Options { strategy, restarts: 3, period: Duration::from_secs(5), backoff };
        let mut policy = Policy::new(options);
        for &rule in children {
            policy.add(rule);
        }
        let mut world = Self {
            policy,
            strategy,
            now: Time::from_millis(1000),
            live: BTreeMap::new(),
            stopping: Vec::new(),
            restarts: Vec::new(),
            unstartable: None,
            finished: false,
            said: Vec::new(),
        };
        if !children.is_empty() {
            world.run();
        }
        world
    }

    fn begun(strategy: Strategy, children: &[Restart]) -> Self {
        let mut world = Self::new(strategy, children);
        world.take();
        world
    }

    fn new_unstartable(child: ChildId) -> Self {
        let mut world = Self::new(Strategy::OneForOne, &[]);
        world.unstartable = Some(child);
        for rule in ALWAYS {
            world.policy.add(rule);
        }
        world
    }

    fn end(&mut self, child: ChildId, end: End) {
        let attempt = self.live.remove(&child).expect("a child that ends has run");
        self.stopping.retain(|&stopping| stopping != child);
        self.policy.handle_ended(self.now, child, attempt, end);
        self.run();
    }

    fn answer_stops(&mut self) {
        for child in self.stopping.clone() {
            self.end(child, End::Terminated);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        self.policy.handle_timeout(self.now);
        self.run();
    }

    fn run(&mut self) {
        while let Some(output) = self.policy.poll_output() {
            self.act(output);
        }
    }

    fn act(&mut self, output: Output) {
        assert!(!self.finished, "after the end came {output:?}");
        let is_group = self.strategy != Strategy::OneForOne;
        self.said.push(match output {
            Output::Start { child, attempt } => {
                assert!(!self.policy.is_stopping());
                assert!(!self.live.contains_key(&child), "it runs already");
                assert!(!is_group || self.stopping.is_empty(), "its group is being stopped");
                if self.unstartable == Some(child) {
                    self.policy.handle_ended(self.now, child, attempt, End::NotStarted);
                } else {
                    self.live.insert(child, attempt);
                    self.policy.handle_started(self.now, child, attempt);
                }
                format!("start {}", child.0)
            }
            Output::Stop { child, attempt } => {
                // One that ended at the same time cannot be stopped any more.
                if self.live.get(&child) == Some(&attempt) {
                    self.stopping.push(child);
                }
                format!("stop {}", child.0)
            }
            Output::Restart { child, wait, restarts } => {
                self.restarts.push(self.now);
                let period = Duration::from_secs(5);
                let recent = self.restarts.iter().filter(|&&at| self.now.since(at) <= period);
                assert_eq!(recent.count(), restarts as usize);
                assert!(restarts <= self.policy.options.restarts, "too many restarts");
                let ms = wait.as_millis();
                format!("restart {} after {ms} ms, {restarts} in period", child.0)
            }
            Output::Rest { child } => format!("rest {}", child.0),
            Output::Removed { child } => format!("removed {}", child.0),
            Output::GiveUp { child } => format!("give up {}", child.0),
            Output::Finish => {
                assert!(self.live.is_empty(), "children outlive their supervisor");
                self.finished = true;
                "finish".to_owned()
            }
        });
    }

    /// Lets everything happen that is under way.
    fn come_to_rest(&mut self) {
        for _ in 0..1000 {
            if !self.stopping.is_empty() {
                self.answer_stops();
            } else if let Some(at) = self.policy.poll_timeout() {
                assert!(!self.policy.is_stopping());
                self.now = self.now.max(at);
                self.pass(0);
            } else {
                break;
            }
        }
        assert_eq!(self.finished, self.policy.is_stopping());
        for (&id, child) in &self.policy.children {
            let runs = matches!(child.state, State::Running { .. });
            assert!(runs || child.state == State::Resting, "{id:?} hangs: {:?}", child.state);
            assert_eq!(runs, self.live.contains_key(&id));
        }
        assert!(self.policy.restarts.len() <= self.policy.options.restarts as usize);
    }

    /// What was said since the last time.
    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }
}
