//! The conversations between two nodes, and every byte that they exchange. Pure: no socket, clock, thread.
