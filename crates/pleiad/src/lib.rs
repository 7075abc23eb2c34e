//! Clients, agents, workers and the launcher of pleiad, around its pure scheduler.
