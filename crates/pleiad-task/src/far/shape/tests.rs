use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use pleiad_types::limits::SHAPE_TEXT_BYTES;

use super::*;

mod hard;
mod recursive;

/// Defines types that are only there to have a shape, each set in a module of its own.
macro_rules! shapes {
    ($($module:ident { $($item:item)+ })+) => {$(
        mod $module {
            #![expect(dead_code, reason = "only what they look like counts")]
            use super::*;
            $(
                #[derive(Deserialize)]
                $item
            )+
        }
    )+};
}
use shapes;

shapes! {
    one {
        pub(super) struct Point { x: u32, y: u32 }
        pub(super) enum Count { Add(u64), Get { at: Point }, Stop }
    }
    same {
        pub(super) struct Point { x: u32, y: u32 }
        pub(super) enum Count { Add(u64), Get { at: Point }, Stop }
    }
    name { pub(super) struct Dot { x: u32, y: u32 } }
    field { pub(super) struct Point { x: u32, z: u32 } }
    order { pub(super) struct Point { y: u32, x: u32 } }
    wide { pub(super) struct Point { x: u32, y: u64 } }
    more { pub(super) struct Point { x: u32, y: u32, z: u32 } }
    maybe { pub(super) struct Point { x: u32, y: Option<u32> } }
    tuple { pub(super) struct Point(u32, u32); }
    added { pub(super) enum Count { Add(u64), Get { at: one::Point }, Stop, Go } }
    renamed { pub(super) enum Count { Add(u64), Get { at: one::Point }, End } }
    moved { pub(super) enum Count { Get { at: one::Point }, Add(u64), Stop } }
    within { pub(super) enum Count { Add(u64), Get { at: wide::Point }, Stop } }
    last { pub(super) enum Count { Add(u64), Get { at: one::Point }, Stop(()) } }
}

#[test]
fn the_same_definition_has_the_same_shape_wherever_it_stands() {
    assert_eq!(shape_of::<one::Point>(), shape_of::<same::Point>());
    assert_eq!(shape_of::<one::Count>(), shape_of::<same::Count>());
    // Whether a type is used twice, or two that are the same, is no difference.
    assert_same::<(one::Point, one::Point, one::Count), (one::Point, same::Point, same::Count)>();
}

#[test]
fn another_definition_has_another_shape() {
    assert_all_differ(&[
        hash::<one::Point>(),
        hash::<name::Dot>(),
        hash::<field::Point>(),
        hash::<order::Point>(),
        hash::<wide::Point>(),
        hash::<more::Point>(),
        hash::<maybe::Point>(),
        hash::<tuple::Point>(),
        hash::<one::Count>(),
        hash::<added::Count>(),
        hash::<renamed::Count>(),
        hash::<moved::Count>(),
        hash::<within::Count>(),
        hash::<last::Count>(),
    ]);
}

#[test]
fn types_of_the_standard_library_are_told_apart() {
    assert_all_differ(&[
        hash::<u32>(),
        hash::<u64>(),
        hash::<i64>(),
        hash::<Option<u32>>(),
        hash::<Option<Option<u32>>>(),
        hash::<Vec<u32>>(),
        hash::<Vec<Vec<u32>>>(),
        hash::<[u32; 3]>(),
        hash::<[u32; 4]>(),
        hash::<Vec<u8>>(),
        hash::<serde_bytes::ByteBuf>(),
        hash::<String>(),
        hash::<char>(),
        hash::<()>(),
        hash::<HashMap<u32, String>>(),
        hash::<HashMap<String, u32>>(),
        hash::<IpAddr>(),
        hash::<SocketAddr>(),
        hash::<Duration>(),
        hash::<Result<u32, String>>(),
        hash::<Result<String, u32>>(),
    ]);
}

#[test]
fn what_is_the_same_to_serde_has_the_same_shape() {
    assert_same::<u32, NonZeroU32>();
    assert_same::<u64, Box<usize>>();
    assert_same::<(u8, u8, u8), [u8; 3]>();
    assert_same::<String, Box<str>>();
    assert_same::<HashMap<u32, String>, BTreeMap<u32, String>>();
}

shapes! {
    generic {
        pub(super) enum Maybe<T> { No, Yes(T) }
        pub(super) struct Both<A, B> { a: Maybe<A>, b: Maybe<B> }
    }
}

/// Goal: two types with the same name for serde are not taken for one.
#[test]
fn parameters_of_a_type_are_a_part_of_its_shape() {
    use generic::{Both, Maybe};

    assert_all_differ(&[
        hash::<Maybe<u32>>(),
        hash::<Maybe<u64>>(),
        hash::<Maybe<Maybe<u32>>>(),
        hash::<Maybe<Maybe<u64>>>(),
    ]);
    assert_all_differ(&[
        hash::<Both<u32, u32>>(),
        hash::<Both<u32, u64>>(),
        hash::<Both<u64, u32>>(),
        hash::<Both<u64, u64>>(),
    ]);
}

shapes! {
    text {
        pub(super) struct Reply(u64);
        pub(super) struct Empty;
        pub(super) enum Count {
            Add(u64), Get(Reply), Put { key: [u8; 16], to: Option<Empty> }, Stop,
        }
        pub(super) struct List { value: char, next: Option<Box<Self>> }
        pub(super) enum Large { A(Wide, Wide), B(Vec<Wide>) }
        pub(super) struct Wide {
            first_of_the_names: u32, second_of_the_names: u32, third_of_the_names: u32,
            fourth_of_the_names: u32, fifth_of_the_names: u32, sixth_of_the_names: u32,
        }
        pub(super) struct Umlaut {
            #[serde(rename = "ääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää")]
            a: u8,
            #[serde(rename = "öööööööööööööööööööööööööööööööööööööööööööööööööööööööööööööööööööööööööööööö")]
            o: u8,
        }
    }
}

#[test]
fn the_text_is_what_a_person_would_write() {
    assert_eq!(text::<HashMap<String, (u8, f64)>>(), "{str: (u8, f64)}");
    assert_eq!(
        text::<text::Count>(),
        "Count { Add(u64), Get(Reply(u64)), Put { key: [u8; 16], to: Option<Empty> }, Stop }",
    );
    assert_eq!(text::<text::List>(), "List { value: char, next: Option<List> }");
}

#[test]
fn the_text_leaves_out_what_is_deep_before_it_is_cut() {
    assert_eq!(text::<text::Large>(), "Large { A(Wide, Wide), B([Wide]) }");
    let cut = text::<text::Umlaut>();
    assert!(cut.len() <= SHAPE_TEXT_BYTES && cut.ends_with('…'), "{cut}");
}

#[test]
fn a_shape_is_found_once_and_can_be_asked_for_anywhere() {
    let shapes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(shape_of::<one::Count>)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(shapes.iter().all(|shape| Arc::ptr_eq(shape, &shape_of::<one::Count>())));
}

/// Goal: the hash is part of what is said between programs, so it must not change by accident. If this
/// fails, programs that are built with the version before do not find each other's tasks.
#[test]
fn the_hash_of_a_type_does_not_change() {
    assert_eq!(hash::<u32>(), 5_474_642_884_282_996_090);
    assert_eq!(hash::<one::Count>(), 14_171_962_374_879_680_204);
}

#[test]
fn a_type_can_know_that_only_its_shape_is_wanted() {
    thread_local! {
        static READ: Cell<u32> = const { Cell::new(0) };
    }

    struct Reference;

    impl<'de> Deserialize<'de> for Reference {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            assert!(is_tracing());
            assert_eq!(*shape_of::<Self>(), Shape { hash: 0, text: String::new() });
            READ.set(READ.get() + 1);
            u64::deserialize(deserializer).map(|_| Self)
        }
    }

    assert!(!is_tracing());
    assert_same::<Reference, u64>();
    assert_eq!(READ.get(), 1);
    assert!(!is_tracing());
}

#[test]
fn a_shape_takes_one_reading_for_each_variant() {
    // An enum is a request, as are a number, a struct, and the question for a next field.
    assert_eq!(trace::trace::<one::Count>().steps, (1 + 1) + (1 + 2 + 2 * 2) + 1);
}

fn assert_same<A: DeserializeOwned + 'static, B: DeserializeOwned + 'static>() {
    assert_eq!(hash::<A>(), hash::<B>());
}

fn assert_all_differ(hashes: &[u64]) {
    for (place, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..place].contains(hash), "number {place} is as one before");
    }
}

fn hash<T: DeserializeOwned + 'static>() -> u64 {
    shape_of::<T>().hash
}

fn text<T: DeserializeOwned + 'static>() -> String {
    shape_of::<T>().text.clone()
}
