//! What comes from the peer, and what is to be done.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, TryLockError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pleiad_proto::wire::{LaneKind, Mention, Reason};
use pleiad_proto::{Arrival as RawArrival, Output, Place, Undelivered};
use pleiad_task::ExitReason;
use pleiad_task::far::{
    self, Answerer, Arrival, Arrived, FarRefusal, FarTask, How, Inlet, Reference, Refused, Stopped,
    Unanswered,
};
use pleiad_types::limits::SMALL_BODY_BYTES;

use crate::link::answers::{FarAnswerer, unanswered_of};
use crate::link::outgoing::{cut, exit_reason_of, how_of};
use crate::link::{About, Link, Target};

/// What happens here, and is to be done in order with what comes from the peer.
pub(super) enum Event {
    /// A task of this node has ended, of which the peer has a reference.
    Ended(u64, Reason),
    /// A message that had to wait for room is in the mailbox of this task, or is not.
    Delivered(u64, Result<(), Refused>),
}

/// The hand that does it.
#[derive(Default)]
pub(super) struct Work {
    inboxes: BTreeMap<u64, Inbox>,
    /// Those into which something has come, in this turn.
    touched: Vec<u64>,
    /// Empty, to be used again.
    outputs: VecDeque<Output>,
}

/// Messages to one task that are not in its mailbox yet.
struct Inbox {
    inlet: Weak<dyn Inlet>,
    /// As long as there are messages.
    hold: Option<Arc<dyn Inlet>>,
    arrivals: VecDeque<Arrival>,
    /// Their sizes.
    sizes: VecDeque<u64>,
    /// The first of them waits for room: this is its size.
    waiting: Option<u64>,
    /// Urgent messages that went before it, and their bytes: they are told as taken after it, since the
    /// peer takes the count for the order.
    early: (u64, u64),
    /// The task has ended meanwhile: that is told when it is known what became of the one that waits,
    /// which may be the last that the task has read.
    ended: Option<Reason>,
}

impl Link {
    /// Does what there is to do. If another thread is at it, that one does this too.
    pub(crate) fn work(self: &Arc<Self>) {
        loop {
            let mut work = match self.work.try_lock() {
                Ok(work) => work,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            while self.turn(&mut work) {}
            drop(work);
            // What came while the hand was just leaving.
            if !self.has_work() {
                break;
            }
        }
        if self.with_session(|session| session.has_portion(LaneKind::Messages)) {
            self.flush_soon(LaneKind::Messages, false);
        }
    }

    pub(super) fn push_event(self: &Arc<Self>, event: Event) {
        self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(event);
        self.work();
    }

    fn has_work(&self) -> bool {
        let has_events =
            !self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_empty();
        has_events || self.core().session.has_output()
    }

    /// Whether there was something to do.
    fn turn(self: &Arc<Self>, work: &mut Work) -> bool {
        let mut outputs = std::mem::take(&mut work.outputs);
        self.core().session.take_outputs(&mut outputs);
        let events = std::mem::take(
            &mut *self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        if outputs.is_empty() && events.is_empty() {
            work.outputs = outputs;
            return false;
        }
        for output in outputs.drain(..) {
            match output {
                Output::Arrived(arrival) => self.take_in(work, arrival),
                other => {
                    // What came before it goes first.
                    self.accept_touched(work);
                    self.act(work, other);
                }
            }
        }
        work.outputs = outputs;
        self.accept_touched(work);
        for event in events {
            match event {
                Event::Ended(task, reason) => self.settle_ended(work, task, reason),
                Event::Delivered(task, result) => self.settle_delivered(work, task, result),
            }
        }
        true
    }

    fn act(self: &Arc<Self>, work: &mut Work, output: Output) {
        match output {
            Output::Arrived(_) => (),
            Output::Finish(ticket, result) => {
                let end = self.core().take_ticket(ticket);
                if let Some(end) = end {
                    let _ = end.send(result.map_err(refusal_of));
                }
            }
            Output::Answer { question, attached, body } => {
                let arrived = self.resolve(attached);
                let pending = self.core().take_question(question);
                if let Some(pending) = pending {
                    pending.answer(&body, arrived);
                }
            }
            Output::Unanswered(question, why) => {
                let pending = self.core().take_question(question);
                if let Some(pending) = pending {
                    pending.fail(unanswered_of(why));
                }
            }
            Output::Unwanted(question) => {
                let wanted = self.core().asked.remove(&question);
                if let Some(wanted) = wanted {
                    wanted.end();
                }
            }
            Output::Room(task) => {
                let wakers = self.core().take_room(task);
                wakers.into_iter().for_each(Waker::wake);
            }
            Output::Ended(task, reason) => {
                let target = self.core().imports.get(&task).and_then(Weak::upgrade);
                if let Some(target) = target {
                    target.end(&exit_reason_of(reason));
                }
                self.settle_handed(task);
            }
            Output::Adopted(task) => {
                self.with_session(|session| session.handle_adopted((self.peer, task)));
                self.settle_handed(task);
            }
            Output::Adopt(task) => match self.mesh.inlet(task) {
                Some(inlet) => self.give_here(inlet, |session, _| session.adopted(task)),
                None => self.with_session(|session| session.ended(task, Reason::NotFound)),
            },
            Output::Unneeded(place) => {
                let given = self.core().given.remove(&place);
                drop(given);
            }
            Output::Stop(task, grace) => self.stop_here(task, grace),
            Output::Kill(task) => {
                if let Some(inlet) = self.mesh.inlet(task) {
                    inlet.any().kill();
                }
            }
            Output::Close(task) => {
                if let Some(inlet) = self.mesh.inlet(task) {
                    inlet.close();
                }
            }
            Output::Lookup(lookup) => self.mesh.answer_lookup(self, &lookup),
            Output::Located(query, mention) => {
                let found = self.resolve(vec![mention]).pop();
                if let Some(Arrived::Task(reference)) = found {
                    self.mesh.handle_located(query, self, reference);
                }
            }
            Output::OtherShape(query, text) => self.mesh.handle_other_shape(query, self, text),
            Output::Introduced { node, name, addresses } => {
                self.mesh.handle_introduced(node, About { name: name.as_str().into(), addresses });
            }
            Output::Disconnect(lane) => {
                if let Some(conn) = self.conn(lane) {
                    self.handle_broken(&conn, None);
                }
            }
            Output::Connect(lane) => self.mesh.clone().connect(self, lane),
            Output::Over(over) => self.finish(work, &over),
            _ => (),
        }
    }

    fn stop_here(&self, task: u64, grace: Option<Duration>) {
        if let Some(inlet) = self.mesh.inlet(task) {
            match grace {
                Some(grace) => inlet.any().terminate_within(grace),
                None => inlet.any().terminate(),
            }
        }
    }

    // ---- messages ----

    /// A message has come to a task of this node.
    fn take_in(self: &Arc<Self>, work: &mut Work, arrival: RawArrival) {
        let RawArrival { task, flags, attached, body } = arrival;
        let arrived = self.resolve(attached);
        let size = body.len() as u64;
        let arrival = Arrival::new(body, arrived, how_of(flags));
        let inbox = match work.inboxes.entry(task) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let Some(inlet) = self.mesh.inlet(task) else {
                    arrival.refuse(&Unanswered::Closed);
                    self.with_session(|session| session.ended(task, Reason::NotFound));
                    return;
                };
                new.insert(Inbox::new(&inlet))
            }
        };
        if inbox.arrivals.is_empty() {
            work.touched.push(task);
        }
        if arrival.how() == How::Urgent && inbox.waiting.is_some() {
            // It is not to wait behind those that do.
            let ahead = inbox.urgent_ahead();
            inbox.arrivals.insert(ahead, arrival);
            inbox.sizes.insert(ahead, size);
            work.touched.push(task);
        } else {
            inbox.arrivals.push_back(arrival);
            inbox.sizes.push_back(size);
        }
    }

    fn accept_touched(self: &Arc<Self>, work: &mut Work) {
        while let Some(task) = work.touched.pop() {
            self.accept(work, task);
        }
    }

    /// Puts as many messages into a mailbox as there is room for.
    fn accept(self: &Arc<Self>, work: &mut Work, task: u64) {
        let Some(inbox) = work.inboxes.get_mut(&task) else { return };
        if inbox.waiting.is_some() {
            return inbox.accept_urgent();
        }
        if inbox.arrivals.is_empty() {
            // All that has waited for room is in: this keeps the mailbox open no longer.
            inbox.hold = None;
            return;
        }
        let Some(inlet) = inbox.inlet(|| self.mesh.inlet(task)) else {
            // It was given back; what comes after that comes from somebody who guesses.
            self.drop_inbox(work, task);
            return self.with_session(|session| session.ended(task, Reason::NotFound));
        };
        let is_large = |size: &u64| *size > SMALL_BODY_BYTES as u64;
        let small = inbox.sizes.iter().position(is_large).unwrap_or(inbox.sizes.len());
        if small == 0
            && let Some(first) = inbox.arrivals.pop_front()
        {
            // To read it takes long, and others wait for this thread.
            inbox.waiting = inbox.sizes.pop_front();
            inbox.hold = Some(inlet.clone());
            return self.deliver_large(task, &inlet, first);
        }
        let mut behind = inbox.arrivals.split_off(small);
        let accepted = inlet.accept(&mut inbox.arrivals);
        inbox.arrivals.append(&mut behind);
        let bytes: u64 = inbox.sizes.drain(..accepted.taken).sum();
        let mut core = self.core();
        for (index, why) in accepted.undecodable {
            core.session.unreadable(task, index as u64, cut(&why));
        }
        if accepted.taken > 0 {
            core.session.taken(task, accepted.taken as u64, bytes);
        }
        if accepted.stopped == Some(Stopped::Closed) {
            core.session.shut(task);
        }
        drop(core);
        match accepted.stopped {
            Some(Stopped::Closed) => self.drop_inbox(work, task),
            Some(Stopped::Full) => {
                if let Some(first) = inbox.arrivals.pop_front() {
                    inbox.waiting = inbox.sizes.pop_front();
                    inbox.hold = Some(inlet.clone());
                    self.deliver(task, &inlet, first);
                }
            }
            None if inbox.arrivals.is_empty() => inbox.hold = None,
            None => self.accept(work, task),
        }
    }

    /// Waits until there is room for a message.
    fn deliver(self: &Arc<Self>, task: u64, inlet: &Arc<dyn Inlet>, arrival: Arrival) {
        let (delivery, link) = (inlet.deliver(arrival), self.clone());
        self.mesh.spawn(async move {
            let result = delivery.await;
            link.push_event(Event::Delivered(task, result));
        });
    }

    /// The same for a message that takes long to be read: on a thread for that.
    fn deliver_large(self: &Arc<Self>, task: u64, inlet: &Arc<dyn Inlet>, arrival: Arrival) {
        let (mut delivery, link) = (inlet.deliver(arrival), self.clone());
        self.mesh.near().spawn_blocking(move || {
            // It is read at the first look.
            match delivery.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => link.push_event(Event::Delivered(task, result)),
                Poll::Pending => link.mesh.clone().spawn(async move {
                    let result = delivery.await;
                    link.push_event(Event::Delivered(task, result));
                }),
            }
        });
    }

    /// A message that waited for room has got it, or has not.
    fn settle_delivered(self: &Arc<Self>, work: &mut Work, task: u64, result: Result<(), Refused>) {
        let Some(inbox) = work.inboxes.get_mut(&task) else { return };
        let Some(size) = inbox.waiting.take() else { return };
        let ended = inbox.ended.take();
        match result {
            Ok(()) => {
                let (count, bytes) = std::mem::take(&mut inbox.early);
                self.with_session(|session| session.taken(task, 1 + count, size + bytes));
            }
            Err(Refused::Closed) => {
                self.with_session(|session| session.shut(task));
                self.drop_inbox(work, task);
            }
            Err(refused) => {
                let (count, bytes) = std::mem::take(&mut inbox.early);
                self.with_session(|session| {
                    session.unreadable(task, 0, cut(&why_refused(refused)));
                    session.taken(task, 1 + count, size + bytes);
                });
            }
        }
        match ended {
            Some(reason) => self.settle_ended(work, task, reason),
            None => self.accept(work, task),
        }
    }

    /// A task of this node has ended.
    fn settle_ended(self: &Arc<Self>, work: &mut Work, task: u64, reason: Reason) {
        if let Some(inbox) = work.inboxes.get_mut(&task)
            && inbox.waiting.is_some()
        {
            inbox.ended = Some(reason);
            return;
        }
        let place = (self.mesh.me(), task);
        self.drop_inbox(work, task);
        let given = {
            let mut core = self.core();
            core.session.ended(task, reason);
            core.monitored.remove(&task);
            core.given.remove(&place)
        };
        drop(given);
    }

    fn drop_inbox(&self, work: &mut Work, task: u64) {
        if let Some(inbox) = work.inboxes.remove(&task) {
            for arrival in inbox.arrivals {
                arrival.refuse(&Unanswered::Closed);
            }
        }
    }

    // ---- references ----

    /// What is mentioned in a message.
    fn resolve(self: &Arc<Self>, mentions: Vec<Mention>) -> Vec<Arrived> {
        // Usually there is none, and nothing is reserved.
        mentions.into_iter().map(|mention| self.resolve_one(mention)).collect()
    }

    fn resolve_one(self: &Arc<Self>, mention: Mention) -> Arrived {
        match mention {
            Mention::Question(question) => {
                let wanted = {
                    let mut core = self.core();
                    core.asked.entry(question).or_default().clone()
                };
                let answerer: Box<dyn Answerer> =
                    Box::new(FarAnswerer::new(self.clone(), question, wanted));
                Arrived::Reply(answerer)
            }
            Mention::Task { node, task, name } if node == self.mesh.me() => {
                let found = self.mesh.inlet(task);
                self.with_session(|session| session.release((node, task)));
                Arrived::Task(match found {
                    Some(inlet) => Reference::Here(inlet),
                    None => Reference::Far(far::nobody(node, task, &name)),
                })
            }
            Mention::Task { node, task, name } if node == self.peer => {
                Arrived::Task(Reference::Far(self.import(task, &name)))
            }
            Mention::Task { node, task, name } => {
                Arrived::Task(Reference::Far(self.import_third(node, task, &name)))
            }
        }
    }

    /// A reference to a task of the peer, which it has mentioned.
    fn import(self: &Arc<Self>, task: u64, name: &str) -> FarTask {
        let Some(id) = far::task_id(self.peer, task) else {
            return far::nobody(self.peer, task, name);
        };
        let mut garbage = None;
        let is_over;
        let (target, known) = {
            let mut core = self.core();
            let known = core.imports.get(&task).and_then(Weak::upgrade);
            let target = known.unwrap_or_else(|| {
                let target = Target::new(self.clone(), task, name.into());
                core.imports.insert(task, Arc::downgrade(&target));
                target
            });
            // Under the lock under which it is looked whether it is deserted.
            let bound = target.bound();
            let known = bound.as_ref().map(far::hold);
            garbage.replace(bound);
            is_over = core.session.is_over();
            (target, known)
        };
        drop(garbage);
        if is_over {
            // Those who are told of the end may have been told already.
            target.end(&ExitReason::Lost { peer: self.lost_name() });
        }
        let (name, node_name) = (target.name.clone(), self.name());
        FarTask { id, name, node_name, target, known }
    }

    /// A reference to a task of a third node: we must make it known there that we have it.
    fn import_third(
        self: &Arc<Self>,
        node: pleiad_types::NodeId,
        task: u64,
        name: &str,
    ) -> FarTask {
        let place: Place = (node, task);
        let Some(home) = self.mesh.link_to(node) else {
            self.with_session(|session| session.release(place));
            return far::nobody(node, task, name);
        };
        let imported = home.import(task, name);
        let mut core = home.core();
        if core.session.is_over() {
            drop(core);
            self.with_session(|session| session.release(place));
            return imported;
        }
        let is_first = !core.handed.contains_key(&task);
        core.handed.entry(task).or_default().push((Arc::downgrade(self), place));
        if is_first {
            core.session.adopt(task);
        }
        drop(core);
        home.flush_soon(LaneKind::Messages, false);
        imported
    }

    /// Whoever has told us of this task of the peer needs to keep it no longer.
    pub(super) fn settle_handed(&self, task: u64) {
        let handed = self.core().handed.remove(&task);
        for (link, place) in handed.into_iter().flatten() {
            if let Some(link) = link.upgrade() {
                link.with_session(|session| session.release(place));
                link.flush_soon(LaneKind::Messages, false);
            }
        }
    }

    /// The last reference of one that stands for a task of the peer was dropped.
    pub(super) fn release_deserted(self: &Arc<Self>, task: u64, bound: &[pleiad_task::AnyTask]) {
        let mut core = self.core();
        if bound.iter().all(far::is_deserted) {
            core.session.release((self.peer, task));
            drop(core);
            self.flush_soon(LaneKind::Messages, false);
        }
    }

    /// Nothing here refers to a task of the peer any more.
    pub(super) fn forget_import(self: &Arc<Self>, task: u64) {
        let mut core = self.core();
        let is_gone = core.imports.get(&task).is_some_and(|target| target.strong_count() == 0);
        if is_gone {
            core.imports.remove(&task);
            core.session.release((self.peer, task));
            drop(core);
            self.flush_soon(LaneKind::Messages, false);
        }
    }
}

impl Inbox {
    fn new(inlet: &Arc<dyn Inlet>) -> Self {
        Self {
            inlet: Arc::downgrade(inlet),
            hold: Some(inlet.clone()),
            arrivals: VecDeque::new(),
            sizes: VecDeque::new(),
            waiting: None,
            early: (0, 0),
            ended: None,
        }
    }

    /// How many urgent ones are before all others.
    fn urgent_ahead(&self) -> usize {
        self.arrivals.iter().take_while(|next| next.how() == How::Urgent).count()
    }

    /// Takes those that do not wait for room.
    fn accept_urgent(&mut self) {
        // As long as one waits for room, it is held.
        let Some(inlet) = self.inlet(|| None) else { return };
        let ahead = self.urgent_ahead();
        let mut urgent: VecDeque<Arrival> = self.arrivals.drain(..ahead).collect();
        let accepted = inlet.accept(&mut urgent);
        while let Some(left) = urgent.pop_back() {
            self.arrivals.push_front(left);
        }
        self.early.0 += accepted.taken as u64;
        self.early.1 += self.sizes.drain(..accepted.taken).sum::<u64>();
    }

    /// `anew`: if the peer has given back all references, and then got another one.
    fn inlet(&mut self, anew: impl FnOnce() -> Option<Arc<dyn Inlet>>) -> Option<Arc<dyn Inlet>> {
        if let Some(inlet) = self.hold.clone().or_else(|| self.inlet.upgrade()) {
            return Some(inlet);
        }
        let inlet = anew()?;
        self.inlet = Arc::downgrade(&inlet);
        Some(inlet)
    }
}

fn refusal_of(undelivered: Undelivered) -> FarRefusal {
    match undelivered {
        Undelivered::Closed => FarRefusal::Closed,
        Undelivered::Unreadable(why) => FarRefusal::Unsendable(why),
    }
}

fn why_refused(refused: Refused) -> String {
    match refused {
        Refused::Undecodable(why) => why,
        Refused::Full => "there is no room for another urgent message".to_owned(),
        Refused::Lost(peer) => format!("it went on to a task that was lost with {peer}"),
        Refused::Closed => "the task takes no more messages".to_owned(),
    }
}

impl Work {
    /// Everything that waits here is in vain.
    pub(super) fn refuse_all(&mut self, why: &Unanswered) {
        for inbox in std::mem::take(&mut self.inboxes).into_values() {
            for arrival in inbox.arrivals {
                arrival.refuse(why);
            }
        }
        self.touched.clear();
    }
}
