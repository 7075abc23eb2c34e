//! The first task of a process, started at a bad moment.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pleiad_task::{NoMessage, Task, spawn_future};
use tokio::runtime::Builder;

/// Starts a task when it is dropped.
struct Starts<'a>(&'a mut Option<Task<NoMessage, u8>>);

impl Drop for Starts<'_> {
    fn drop(&mut self) {
        *self.0 = Some(spawn_future(async { 7 }));
    }
}

#[test]
fn a_task_is_started_while_its_thread_panics() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let mut task = None;
    let panics = catch_unwind(AssertUnwindSafe(|| {
        let _starts = Starts(&mut task);
        panic!("on purpose");
    }));
    assert!(panics.is_err());
    assert_eq!(runtime.block_on(task.unwrap().join()), Ok(7));
}
