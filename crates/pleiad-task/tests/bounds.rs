//! What can go to another thread, and be polled without pinning. All of this is checked by the compiler:
//! the messages, values and states here can be sent, but not shared.

use std::cell::Cell;
use std::time::Duration;

use pleiad_task::{
    AnyTask, Channel, Child, Flow, Join, Locate, Mailbox, Monitor, NamedRef, Offer, Recipient,
    Reply, Subscriber, Supervisor, SupervisorRef, SwapMailbox, SwapRef, SwapTask, Task, TaskRef,
    Timer, WeakTaskRef, join_all, run_at_exit,
};

/// Can be sent, but not shared.
type Unshared = Cell<u8>;

const SOON: Duration = Duration::from_secs(10);

fn send<T: Send>(_: T) {}
fn is_send<T: Send>() {}
fn is_shared<T: Send + Sync + 'static>() {}
fn is_unpin<T: Unpin>(_: &T) {}

#[test]
fn handles_are_shared_by_threads() {
    is_shared::<TaskRef<Unshared>>();
    is_shared::<WeakTaskRef<Unshared>>();
    is_shared::<Recipient<Unshared>>();
    is_shared::<NamedRef<Unshared>>();
    is_shared::<Channel<Unshared>>();
    is_shared::<SwapRef<Unshared, Unshared>>();
    is_shared::<SupervisorRef>();
    is_shared::<AnyTask>();
    is_shared::<Monitor>();
    is_shared::<Timer>();
    is_shared::<Task<Unshared, Unshared>>();
    is_shared::<SwapTask<Unshared, Unshared>>();
}

#[test]
fn what_one_task_has_goes_to_other_threads() {
    is_send::<Mailbox<Unshared>>();
    is_send::<SwapMailbox<Unshared, Unshared>>();
    is_send::<Subscriber<Unshared>>();
    is_send::<Reply<Unshared>>();
    is_send::<Offer<Unshared, Unshared>>();
    is_send::<Flow<Unshared, Unshared>>();
    is_send::<Join<Unshared>>();
    is_send::<Child>();
    is_send::<Supervisor>();
}

/// Only compiled: nothing calls these.
#[expect(dead_code, reason = "the compiler is the test")]
mod futures {
    use super::*;

    fn of_a_reference(task: &TaskRef<Unshared>, reply: fn(Reply<Unshared>) -> Unshared) {
        let (deliver, ask, ended) = (task.deliver(Cell::new(1)), task.ask(reply), task.ended());
        is_unpin(&deliver);
        is_unpin(&ask);
        is_unpin(&ended);
        send(deliver.timeout(SOON));
        send(ask.timeout(SOON));
        send(ended);
        let locate: Locate<TaskRef<Unshared>> = TaskRef::locate("name");
        is_unpin(&locate);
        send(locate);
    }

    fn of_a_task(task: Task<Unshared, Unshared>, other: Task<Unshared, Unshared>) {
        let join = task.join();
        is_unpin(&join);
        send(join);
        send(other.join_timeout(SOON));
    }

    fn of_a_mailbox(mailbox: &mut Mailbox<Unshared>) {
        send(mailbox.recv());
        send(mailbox.recv_timeout(SOON));
        send(mailbox.recv_matching(|_| true));
        send(mailbox.stopping());
    }

    fn of_hot_swap(
        task: &SwapRef<Unshared, Unshared>,
        mailbox: &mut SwapMailbox<Unshared, Unshared>,
    ) {
        let swap = task.hot_swap(|_, state| async { Flow::Done(state) });
        is_unpin(&swap);
        send(swap);
        send(mailbox.next());
    }

    fn of_a_channel(channel: &Channel<Unshared>, stream: &mut Subscriber<Unshared>) {
        let broadcast = channel.deliver(Cell::new(1)).at_least(1).timeout(SOON);
        is_unpin(&broadcast);
        send(broadcast);
        send(stream.recv());
    }

    fn of_names_and_parts(named: &NamedRef<Unshared>, part: &Recipient<Unshared>) {
        send(named.deliver(Cell::new(1)));
        send(named.ask(|_: Reply<Unshared>| Cell::new(1)));
        send(part.deliver(Cell::new(1)));
    }

    fn of_supervisors(supervisor: Supervisor, running: &SupervisorRef, child: Child) {
        send(supervisor.start());
        send(running.add(child));
        send(running.restart_child("name"));
        send(running.stop());
    }

    fn of_the_end() {
        let all = join_all();
        is_unpin(&all);
        send(all);
        send(run_at_exit());
    }
}
