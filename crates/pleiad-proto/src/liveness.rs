//! Whether the peer is still there: signs of life, and silence.

use std::time::Duration;

use pleiad_types::Time;
use pleiad_types::limits::LOST_AFTER_MIN;

use crate::wire::LaneKind;

/// Signs of life within the time after which a peer is lost: four may get lost or be late.
const BEATS: u32 = 5;

#[derive(Debug)]
pub(crate) struct Liveness {
    lost_after: Duration,
    beat_every: Duration,
    heard: Time,
    /// The same, of each lane.
    lanes: [Time; 2],
    next_beat: Time,
}

/// What the time has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Nothing,
    /// A sign of life is due.
    Beat,
    /// There was none of the peer for too long.
    Lost,
}

impl Liveness {
    /// `theirs`: the time after which the peer takes us for lost.
    pub(crate) fn new(now: Time, lost_after: Duration, theirs: Duration) -> Self {
        let lost_after = lost_after.max(LOST_AFTER_MIN);
        let beat_every = lost_after.min(theirs.max(LOST_AFTER_MIN)) / BEATS;
        Self { lost_after, beat_every, heard: now, lanes: [now; 2], next_beat: now + beat_every }
    }

    pub(crate) fn handle_heard(&mut self, now: Time, lane: LaneKind) {
        self.heard = self.heard.max(now);
        self.lanes[lane.index()] = self.heard;
    }

    /// Whether the connection of a lane is dead, though the peer is not: nobody has told us of its end.
    pub(crate) fn is_silent(&self, now: Time, lane: LaneKind) -> bool {
        now.since(self.lanes[lane.index()]) >= self.lost_after
    }

    /// When there was the last sign of life.
    pub(crate) fn heard(&self) -> Time {
        self.heard
    }

    pub(crate) fn lost_after(&self) -> Duration {
        self.lost_after
    }

    /// The time after which the peer takes us for lost was learnt.
    pub(crate) fn handle_theirs(&mut self, now: Time, theirs: Duration) {
        self.beat_every = self.lost_after.min(theirs.max(LOST_AFTER_MIN)) / BEATS;
        // The next one was planned for a peer with more patience.
        self.next_beat = self.next_beat.min(now + self.beat_every);
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) -> Turn {
        if now < self.next_beat {
            return Turn::Nothing;
        }
        // If this comes much too late, it was we who stood still: what the peer said meanwhile is still
        // to be read.
        let late = now.since(self.next_beat);
        if late > self.beat_every * 2 {
            self.heard = self.heard.max(now);
            self.lanes = [self.heard; 2];
        }
        self.next_beat = now + self.beat_every;
        if now.since(self.heard) >= self.lost_after { Turn::Lost } else { Turn::Beat }
    }

    pub(crate) fn poll_timeout(&self) -> Time {
        self.next_beat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Ticks until the peer is lost, from `now` on.
    fn run(liveness: &mut Liveness, until: Time) -> Option<Time> {
        while liveness.poll_timeout() <= until {
            let now = liveness.poll_timeout();
            if liveness.handle_timeout(now) == Turn::Lost {
                return Some(now);
            }
        }
        None
    }

    #[test]
    fn a_silent_peer_is_lost_in_time() {
        let mut liveness = Liveness::new(Time::ZERO, 5 * SECOND, 5 * SECOND);
        assert_eq!(run(&mut liveness, Time::from_millis(60_000)), Some(Time::from_millis(5000)));
    }

    #[test]
    fn a_peer_that_pauses_for_three_seconds_is_not_lost() {
        let mut liveness = Liveness::new(Time::ZERO, 5 * SECOND, 5 * SECOND);
        for second in (0..60).step_by(3) {
            liveness.handle_heard(Time::from_millis(second * 1000), LaneKind::Messages);
            assert_eq!(run(&mut liveness, Time::from_millis(second * 1000 + 3000)), None);
        }
    }

    #[test]
    fn a_connection_may_be_dead_though_the_peer_is_not() {
        let mut liveness = Liveness::new(Time::ZERO, 5 * SECOND, 5 * SECOND);
        for second in 1..=6 {
            let now = Time::from_millis(second * 1000);
            liveness.handle_heard(now, LaneKind::Messages);
            assert_eq!(liveness.handle_timeout(now), Turn::Beat);
            assert_eq!(liveness.is_silent(now, LaneKind::Bulk), second >= 5);
            assert!(!liveness.is_silent(now, LaneKind::Messages));
        }
    }

    #[test]
    fn who_stood_still_does_not_blame_the_peer() {
        let mut liveness = Liveness::new(Time::ZERO, 5 * SECOND, 5 * SECOND);
        assert_eq!(liveness.handle_timeout(Time::from_millis(30_000)), Turn::Beat);
        assert_eq!(run(&mut liveness, Time::from_millis(90_000)), Some(Time::from_millis(35_000)));
    }

    #[test]
    fn signs_of_life_come_often_enough_for_the_more_impatient() {
        let liveness = Liveness::new(Time::ZERO, 5 * SECOND, SECOND);
        assert_eq!(liveness.poll_timeout(), Time::from_millis(200));
        let liveness = Liveness::new(Time::ZERO, 5 * SECOND, Duration::ZERO);
        assert_eq!(liveness.poll_timeout(), Time::from_millis(20));
    }

    #[test]
    fn a_peer_that_turns_out_to_be_impatient_need_not_wait_for_the_next_beat() {
        let mut liveness = Liveness::new(Time::ZERO, 5 * SECOND, 5 * SECOND);
        liveness.handle_theirs(Time::from_millis(100), SECOND / 2);
        assert_eq!(liveness.poll_timeout(), Time::from_millis(200));
    }
}
