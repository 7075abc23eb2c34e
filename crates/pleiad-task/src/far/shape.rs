use std::any::TypeId;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use serde::de::DeserializeOwned;

mod graph;
#[cfg(test)]
mod tests;
mod text;
mod trace;
mod tracer;

/// What two programs compare to know that they mean the same by a type of messages.
///
/// It is made of what the type's [`Deserialize`](serde::Deserialize) asks for: kinds of values, lengths
/// of tuples, and the names of structs, fields and variants, in their order. Names of crates and
/// modules, and of types that serde does not know by name (as type parameters), are no part of it.
///
/// # What is promised
///
/// - *Same definition, same shape*: in all programs, with all compilers and on all platforms, as long
///   as they use the same major version of serde and the same version of this crate.
/// - *Recursive types* have a shape; it is the same however often, and in however many copies, a type
///   is used within.
/// - *Cost*: once for each type and process. Measured: 7 µs for three variants, 80 µs for a type of
///   120 positions, 0.6 ms for 300 variants, and 0.1 s at the limits, where what was seen counts:
///   [`SHAPE_STEPS_MAX`](crate::limits::SHAPE_STEPS_MAX),
///   [`SHAPE_NODES_MAX`](crate::limits::SHAPE_NODES_MAX),
///   [`SHAPE_DEPTH_MAX`](crate::limits::SHAPE_DEPTH_MAX).
///
/// # What it does not see
///
/// - The meaning of a value: metres are as feet, a `Vec` as a set, a tuple as an array, `String` as
///   `&str`. `#[serde(transparent)]`, `Box` and `Arc` are as what is in them.
/// - Encodings within a value: what is in a string or in bytes, a struct behind `#[serde(from)]` but
///   for what is read, `#[serde(untagged)]` and whatever else asks for "any" value.
/// - What follows, in the same struct, tuple or variant, a value that refuses all that is tried: one
///   and nought; a few lengths of bytes; numbers, versions, dates, addresses and the like as strings.
///   It goes on after the closest sequence, map, option or enum around it, which can do without.
/// - What is more than [`SHAPE_LEVELS`](crate::limits::SHAPE_LEVELS) deep, if nothing above differs.
/// - Two visitors of the same type in one value that read different things: the first is believed.
///
/// It sees more than what is on the wire: a new name of a type, field or variant, and also an
/// `#[serde(alias)]`, makes another shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// A hash (FNV-1a, 64 bits) of all that was asked for. No protection against bad intent.
    pub hash: u64,

    /// For people: `Count { Add(u64), Get(Reply) }`, at most
    /// [`SHAPE_TEXT_BYTES`](crate::limits::SHAPE_TEXT_BYTES). Two different shapes may have the same text.
    /// Labels are wrong where a variant has an alias.
    pub text: String,
}

/// The shape of `T`. It is found once, and then remembered: as many shapes as there are types.
///
/// `T` is read several times from dummies, and what is read is dropped. A panic of its code counts as
/// an error of its code, but is still reported by the panic hook. Within such a reading, on the same
/// thread, this gives an empty shape: one that asks for another would otherwise depend on which of
/// the two was first.
pub fn shape_of<T: DeserializeOwned + 'static>() -> Arc<Shape> {
    if is_tracing() {
        return Arc::new(Shape { hash: 0, text: String::new() });
    }
    let id = TypeId::of::<T>();
    if let Some(shape) = SHAPES.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
        return shape.clone();
    }
    // No lock is held meanwhile. Two that do this at once find the same.
    let graph = {
        let _tracing = Tracing::start();
        trace::trace::<T>().graph
    };
    let shape = Arc::new(Shape { hash: graph.hash(), text: text::text(&graph) });
    SHAPES.write().unwrap_or_else(PoisonError::into_inner).entry(id).or_insert(shape).clone()
}

/// Whether this thread is reading dummies. A type that is more than its bytes, as the reference to a
/// task, then gives a dummy. It can show what messages it is for all the same: in a newtype struct, it
/// reads one and drops it, be it a value or an error. This ends also if they contain each other.
pub(crate) fn is_tracing() -> bool {
    TRACING.get()
}

static SHAPES: LazyLock<RwLock<HashMap<TypeId, Arc<Shape>>>> = LazyLock::new(RwLock::default);

thread_local! {
    static TRACING: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, [`is_tracing`].
struct Tracing;

impl Tracing {
    fn start() -> Self {
        TRACING.set(true);
        Self
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        TRACING.set(false);
    }
}
