//! Streams, one side at a time.

use super::*;

const TASK: u64 = 12;

#[test]
fn a_ticket_is_told_when_its_message_is_taken_and_not_before() {
    let mut delivery = Delivery::default();
    send(&mut delivery, 1, None);
    send(&mut delivery, 1, Some(Ticket(7)));
    delivery.handle_taken(TASK, 1, 1).unwrap();
    assert_eq!(outcomes(&mut delivery), []);
    delivery.handle_taken(TASK, 2, 2).unwrap();
    assert_eq!(outcomes(&mut delivery), [Outcome::Finish(Ticket(7), Ok(()))]);
    delivery.handle_shut(TASK, Some(2));
    assert_eq!(outcomes(&mut delivery), []);
}

#[test]
fn what_was_taken_before_the_shutting_is_delivered_and_the_rest_is_gone() {
    let mut delivery = Delivery::default();
    (1..=3).for_each(|ticket| send(&mut delivery, 1, Some(Ticket(ticket))));
    delivery.handle_shut(TASK, Some(2));
    let closed = Err(Undelivered::Closed);
    let expected = [(1, Ok(())), (2, Ok(())), (3, closed)];
    let expected = expected.map(|(ticket, result)| Outcome::Finish(Ticket(ticket), result));
    assert_eq!(outcomes(&mut delivery), expected);
    assert_eq!(delivery.admit(TASK, 0), Err(Refused::Closed));
    delivery.handle_taken(TASK, 1, 1).unwrap();
    assert_eq!(outcomes(&mut delivery), [], "late news of a closed stream");
}

#[test]
fn a_full_stream_refuses_until_something_is_taken() {
    let mut delivery = Delivery::default();
    (0..STREAM_MESSAGES_MAX).for_each(|_| send(&mut delivery, 1, None));
    assert_eq!(delivery.admit(TASK, 0), Err(Refused::Full));
    assert_eq!(delivery.admit(TASK, flags::EXEMPT), Ok(()));
    delivery.handle_taken(TASK, 1, 1).unwrap();
    assert_eq!(outcomes(&mut delivery), [Outcome::Room(TASK)]);
    assert_eq!(delivery.admit(TASK, 0), Ok(()));
}

#[test]
fn more_than_was_sent_cannot_be_taken() {
    let mut delivery = Delivery::default();
    send(&mut delivery, 1, None);
    assert!(delivery.handle_taken(TASK, 2, 1).is_err());
    assert!(delivery.handle_taken(TASK, 1, 2).is_err());
    assert!(delivery.handle_taken(TASK, 1, 1).is_ok());
    assert!(delivery.handle_taken(TASK, 0, 0).is_err());
}

/// Goal: nobody can send to a task that has ended while its end waits to be told.
#[test]
fn a_stream_stays_closed_until_the_end_is_told() {
    let mut delivery = Delivery::default();
    arrive(&mut delivery, 5, 0);
    delivery.handle_ended(TASK, Reason::Returned).unwrap();
    assert_eq!(delivery.admit(TASK, 0), Err(Refused::Closed));
    assert!(matches!(&outcomes(&mut delivery)[..], [Outcome::Arrived(_)]));
    delivery.taken(5, 1, 1);
    assert_eq!(outcomes(&mut delivery), [Outcome::Ended(TASK, Reason::Returned)]);
    delivery.handle_taken(TASK, 3, 3).unwrap();
    assert_eq!(outcomes(&mut delivery), [], "late news of a task that has ended");
}

#[test]
fn ends_are_told_in_their_order_and_after_what_came_before() {
    let mut delivery = Delivery::default();
    arrive(&mut delivery, 5, 0);
    delivery.handle_ended(1, Reason::Returned).unwrap();
    arrive(&mut delivery, 6, 0);
    delivery.handle_ended(2, Reason::Terminated).unwrap();
    outcomes(&mut delivery);
    delivery.taken(6, 1, 1);
    assert_eq!(outcomes(&mut delivery), []);
    delivery.taken(5, 1, 1);
    let ended = [Outcome::Ended(1, Reason::Returned), Outcome::Ended(2, Reason::Terminated)];
    assert_eq!(outcomes(&mut delivery), ended);
}

/// Goal: who had not sent anything when a task was shut hears of it when it does.
#[test]
fn a_shutting_that_nobody_could_hear_is_said_again() {
    let mut delivery = Delivery::default();
    delivery.shut(TASK);
    let shut = Control::Shut { task: TASK, count: 0 };
    assert_eq!(delivery.poll_control(), Some(shut.clone()));
    arrive(&mut delivery, TASK, 0);
    assert_eq!(delivery.poll_control(), Some(shut));
    assert_eq!(outcomes(&mut delivery), []);
}

#[test]
fn what_waits_behind_a_large_message_is_given_back_if_the_task_is_shut() {
    let mut delivery = Delivery::default();
    let mention = Mention::Question(1);
    let attached = vec![mention.clone()];
    let large = Arrival { task: TASK, flags: 0, attached, body: Bytes::new() };
    assert_eq!(delivery.handle_large(large, 3, 100_000), Ok(true));
    assert!(delivery.is_waiting(TASK));
    delivery.shut(TASK);
    assert_eq!(outcomes(&mut delivery), [Outcome::Dropped(vec![mention])]);
    delivery.handle_body(TASK, 3, Bytes::new());
    assert_eq!(outcomes(&mut delivery), []);
}

/// Goal: the end of a task may be told however large the message before it was.
#[test]
fn what_needs_no_room_finds_some_behind_the_largest_message() {
    let mut delivery = Delivery::default();
    let large = Arrival { task: TASK, flags: 0, attached: Vec::new(), body: Bytes::new() };
    delivery.handle_large(large.clone(), 3, MESSAGE_BYTES_MAX).unwrap();
    let exempt = Arrival { flags: flags::EXEMPT, ..large.clone() };
    assert_eq!(delivery.handle_arrival(exempt, 10), Ok(None), "it waits its turn");
    assert!(delivery.handle_arrival(large, 10).is_err());
}

fn send(delivery: &mut Delivery, bytes: usize, ticket: Option<Ticket>) {
    delivery.admit(TASK, 0).unwrap();
    delivery.count_sent(TASK, bytes, ticket, &[]);
}

fn arrive(delivery: &mut Delivery, task: u64, flags: u8) {
    let arrival = Arrival { task, flags, attached: Vec::new(), body: Bytes::from_static(b"x") };
    let passed = delivery.handle_arrival(arrival, 1).unwrap();
    delivery.outcomes.extend(passed.map(Outcome::Arrived));
}

fn outcomes(delivery: &mut Delivery) -> Vec<Outcome> {
    delivery.sanity_check();
    std::iter::from_fn(|| delivery.poll_outcome()).collect()
}
