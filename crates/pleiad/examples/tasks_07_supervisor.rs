//! A cashier fails now and then, and is replaced; the money is safe with somebody else.
//!
//! Shows a supervisor: it starts tasks, and starts them again when they fail. The new one is found
//! by the name of the old one: by whoever wants to know which it is ([`TaskRef::locate`]), and by
//! whoever does not ([`NamedRef`]).
//!
//! ```sh
//! cargo run --example tasks_07_supervisor
//! ```
//!
//! ```text
//! cashier/3: 20 is in the till, which has 20
//! cashier/3: 12 is in the till, which has 32
//! cashier/3 failed: I cannot read "seven": invalid digit found in string
//! cashier/4: 8 is in the till, which has 40
//! cashier/4 failed: I cannot read "": cannot parse integer from empty string
//! cashier/5: 2 is in the till, which has 42
//! till     was restarted 0 times
//! cashier  was restarted 2 times
//! ```

use std::time::Duration;

use pleiad::{Context, Mailbox, NamedRef, Reply, Strategy, Supervisor, TaskRef};

/// How long to wait for who is being replaced.
const PATIENCE: Duration = Duration::from_secs(10);

/// Money for the till, and where to tell what is in there then.
struct Deposit(u64, Reply<u64>);

/// Keeps what must not be lost, and does nothing at which it could fail.
async fn till(mut mailbox: Mailbox<Deposit>) {
    let mut money = 0;
    while let Some(Deposit(more, reply)) = mailbox.recv().await {
        money += more;
        reply.send(money);
    }
}

/// A sum of money, in writing.
struct Bill(&'static str, Reply<String>);

/// Does what may fail, and has nothing to lose. It finds the till by its name, whoever that is.
async fn cashier(mut mailbox: Mailbox<Bill>, till: NamedRef<Deposit>) -> pleiad::Result<()> {
    while let Some(Bill(text, reply)) = mailbox.recv().await {
        let sum = text.parse().context(format!("I cannot read {text:?}"))?;
        let money = till.ask(|reply| Deposit(sum, reply)).await?;
        reply.send(format!("{sum} is in the till, which has {money}"));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    // When one fails, the other goes on.
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .child("till", till)
        .try_child("cashier", |mailbox| cashier(mailbox, NamedRef::new("till").timeout(PATIENCE)))
        .start()
        .await?;

    for bill in ["20", "12", "seven", "8", "", "2"] {
        // Waits until somebody has the name. If all fail too often, nobody will.
        let cashier: TaskRef<Bill> = TaskRef::locate("cashier").timeout(PATIENCE).await?;
        match cashier.ask(|reply| Bill(bill, reply)).await {
            Ok(answer) => println!("{cashier}: {answer}"),
            // It has ended with the bill in its hands.
            Err(_) => println!("{}", cashier.ended().await),
        }
    }

    for child in supervisor.stop().await? {
        println!("{:8} was restarted {} times", child.name, child.restarts);
    }
    Ok(())
}
