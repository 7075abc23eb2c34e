//! Connections: bytes that come in pieces, late, slowly, in part, or not at all.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use pleiad_types::Time;

use crate::agenda::{Agenda, Event};
use crate::random::Random;
use crate::scenario::Scenario;

/// Names a connection.
pub(crate) type ConnId = usize;

/// The side that dialled, and the one that was dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Dialler,
    Dialled,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Dialler, Self::Dialled];

    pub(crate) fn other(self) -> Self {
        if self == Self::Dialler { Self::Dialled } else { Self::Dialler }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Net {
    conns: Vec<Conn>,
    /// Those that are not gone on both sides.
    live: BTreeSet<ConnId>,
    /// Ways between hosts that carry nothing.
    cuts: BTreeSet<(usize, usize)>,
}

#[derive(Debug)]
struct Conn {
    hosts: [usize; 2],
    is_clogged: bool,
    /// What the sides have written.
    flows: [Flow; 2],
    /// Sides that hold it open.
    is_open: [bool; 2],
}

#[derive(Debug, Default)]
struct Flow {
    on_the_way: VecDeque<(Time, Piece)>,
    bytes_on_the_way: usize,
    latest: Time,
    arrived: BytesMut,
    /// What comes is at its end, after what has arrived.
    is_at_end: bool,
    /// Everything that is written is lost.
    is_void: bool,
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// The writer has closed.
    End,
    /// The connection has broken: what has not been read is lost too.
    Break,
}

/// How a connection ends for the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It hears of it after all that was written.
    Orderly,
    /// It hears of it; something of what was written is lost.
    Torn,
    /// It hears nothing.
    Unnoticed,
}

impl Net {
    /// A connection that is dialled.
    pub(crate) fn dial(&mut self, from: usize, to: usize) -> ConnId {
        self.conns.push(Conn {
            hosts: [from, to],
            is_clogged: false,
            flows: Default::default(),
            is_open: [true, true],
        });
        self.live.insert(self.conns.len() - 1);
        self.conns.len() - 1
    }

    pub(crate) fn host(&self, conn: ConnId, side: Side) -> usize {
        self.conns[conn].hosts[side as usize]
    }

    pub(crate) fn is_open(&self, conn: ConnId, side: Side) -> bool {
        self.conns[conn].is_open[side as usize]
    }

    pub(crate) fn live(&self) -> Vec<ConnId> {
        self.live.iter().copied().collect()
    }

    /// What the host holds open.
    pub(crate) fn of_host(&self, host: usize) -> Vec<(ConnId, Side)> {
        let live = self.live.iter().flat_map(|conn| Side::BOTH.map(|side| (*conn, side)));
        live.filter(|(conn, side)| {
            self.host(*conn, *side) == host && self.conns[*conn].is_open[*side as usize]
        })
        .collect()
    }

    /// Whether bytes do not come through from there to there.
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    pub(crate) fn heal(&mut self, from: usize, to: usize) {
        self.cuts.remove(&(from, to));
    }

    pub(crate) fn clog(&mut self, conn: ConnId, is_clogged: bool) {
        self.conns[conn].is_clogged = is_clogged;
    }

    /// What was held up may go on.
    pub(crate) fn release(&mut self, agenda: &mut Agenda, random: &mut Random) {
        self.cuts.clear();
        for conn in self.live() {
            self.conns[conn].is_clogged = false;
            self.go_on(conn, agenda, random);
        }
    }

    /// It is sent again, some time later.
    pub(crate) fn go_on(&mut self, conn: ConnId, agenda: &mut Agenda, random: &mut Random) {
        for side in Side::BOTH {
            agenda.after(random.millis(1, 400), Event::Carry(conn, side));
        }
    }

    /// Bytes that may be written now.
    pub(crate) fn room(&self, conn: ConnId, side: Side, scenario: &Scenario) -> usize {
        let flow = &self.conns[conn].flows[side as usize];
        scenario.window.saturating_sub(flow.bytes_on_the_way + flow.arrived.len())
    }

    pub(crate) fn write(
        &mut self,
        conn: ConnId,
        side: Side,
        mut bytes: Bytes,
        scenario: &Scenario,
        agenda: &mut Agenda,
        random: &mut Random,
    ) {
        let flow = &mut self.conns[conn].flows[side as usize];
        flow.bytes_on_the_way += bytes.len();
        while !bytes.is_empty() {
            let most = if random.percent(10) { 50 } else { scenario.piece_bytes_max };
            let length = bytes.len().min(1 + random.below(most));
            let piece = bytes.split_to(length);
            let way =
                std::time::Duration::from_micros(length as u64 * 1000 / scenario.bytes_per_ms);
            let at = flow.latest.max(agenda.now() + scenario.delay + late(scenario, random)) + way;
            flow.latest = at;
            flow.on_the_way.push_back((at, Piece::Bytes(piece)));
            agenda.at(at, Event::Carry(conn, side));
        }
    }

    /// A side has it open no more.
    pub(crate) fn close(
        &mut self,
        conn: ConnId,
        side: Side,
        ending: Ending,
        scenario: &Scenario,
        agenda: &mut Agenda,
        random: &mut Random,
    ) {
        let state = &mut self.conns[conn];
        if !std::mem::replace(&mut state.is_open[side as usize], false) {
            return;
        }
        // What comes to it is lost.
        let incoming = &mut state.flows[side.other() as usize];
        *incoming = Flow { is_void: true, ..Flow::default() };
        let flow = &mut state.flows[side as usize];
        let mut at = flow.latest.max(agenda.now() + scenario.delay + late(scenario, random));
        match ending {
            Ending::Orderly => flow.on_the_way.push_back((at, Piece::End)),
            Ending::Torn => {
                let left = random.below(flow.on_the_way.len() + 1);
                flow.on_the_way.truncate(left);
                at = flow.on_the_way.back().map_or(agenda.now() + scenario.delay, |(at, _)| *at);
                let is_read = random.percent(50);
                flow.on_the_way.push_back((at, if is_read { Piece::End } else { Piece::Break }));
            }
            Ending::Unnoticed => flow.is_void = true,
        }
        flow.latest = at;
        agenda.at(at, Event::Carry(conn, side));
        if state.is_open == [false, false] {
            self.live.remove(&conn);
        }
    }

    /// Brings what is due to the other side. True, if there is something to read.
    pub(crate) fn carry(&mut self, conn: ConnId, from: Side, now: Time) -> bool {
        let state = &mut self.conns[conn];
        let way = (state.hosts[from as usize], state.hosts[from.other() as usize]);
        if state.is_clogged || self.cuts.contains(&way) {
            return false;
        }
        let flow = &mut state.flows[from as usize];
        let mut is_news = false;
        while let Some((_, piece)) = flow.on_the_way.pop_front_if(|(at, _)| *at <= now) {
            match piece {
                Piece::Bytes(bytes) => {
                    flow.bytes_on_the_way -= bytes.len();
                    if flow.is_void {
                        continue;
                    }
                    flow.arrived.extend_from_slice(&bytes);
                }
                Piece::End => flow.is_at_end = true,
                Piece::Break => {
                    flow.arrived.clear();
                    flow.is_at_end = true;
                }
            }
            is_news = true;
        }
        is_news && state.is_open[from.other() as usize]
    }

    /// What has come to a side, at most so much; and whether that was the end.
    pub(crate) fn read(&mut self, conn: ConnId, side: Side, most: usize) -> (BytesMut, bool) {
        let flow = &mut self.conns[conn].flows[side.other() as usize];
        let bytes = flow.arrived.split_to(flow.arrived.len().min(most));
        (bytes, flow.arrived.is_empty() && flow.is_at_end)
    }
}

fn late(scenario: &Scenario, random: &mut Random) -> std::time::Duration {
    let most = scenario.jitter.as_micros() as u64;
    if random.percent(80) { random.micros(0, most / 4) } else { random.micros(0, most) }
}
