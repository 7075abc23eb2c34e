use std::marker::PhantomData;

use pleiad_types::limits::{SHAPE_NODES_MAX, SHAPE_STEPS_MAX};
use serde::de::{EnumAccess, Error, IgnoredAny, SeqAccess, VariantAccess, Visitor};

use super::*;

shapes! {
    with {
        pub(super) struct Plain { #[serde(deserialize_with = "tenths")] a: f64, b: u8 }
        pub(super) struct Bytes { #[serde(with = "serde_bytes")] a: Vec<u8>, b: u8 }
        pub(super) struct Numbers { a: Vec<u8>, b: u8 }
        #[serde(untagged)]
        pub(super) enum Any { Number(u64), Point { x: u32 } }
        #[serde(untagged)]
        pub(super) enum OtherAny { Number(u64), Point { x: u64 } }
        pub(super) struct AfterAny { any: Any, b: u8 }
        pub(super) struct AfterAnyWide { any: Any, b: u16 }
        pub(super) struct Named { #[serde(alias = "c")] a: u8, b: u16 }
        pub(super) struct Skips { a: u8, #[serde(skip)] b: u16, #[serde(default)] c: u32 }
    }
    after {
        pub(super) struct After<T, U> { first: T, last: U }
        pub(super) enum Either<T, U> { First(T), Last(U) }
    }
}
use after::{After, Either};

fn tenths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    u32::deserialize(deserializer).map(|tenths| f64::from(tenths) / 10.0)
}

#[test]
fn what_is_read_counts_not_what_is_made_of_it() {
    assert_eq!(text::<with::Plain>(), "Plain { a: u32, b: u8 }");
    assert_eq!(text::<with::Bytes>(), "Bytes { a: bytes, b: u8 }");
    assert_eq!(text::<with::Numbers>(), "Numbers { a: [u8], b: u8 }");
    assert_eq!(text::<with::Skips>(), "Skips { a: u8, c: u32 }");
    assert_eq!(text::<with::Named>(), "Named { a, c, b }");
}

#[test]
fn what_can_be_anything_is_not_looked_into_but_what_follows_is() {
    assert_same::<with::Any, with::OtherAny>();
    assert_ne!(hash::<with::AfterAny>(), hash::<with::AfterAnyWide>());
}

/// Reads a string or a number, and takes only one.
struct Only<T>(PhantomData<T>);

impl<'de> Deserialize<'de> for Only<String> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<SocketAddr>().map(|_| Self(PhantomData)).map_err(Error::custom)
    }
}

impl<'de> Deserialize<'de> for Only<u32> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            77 => Ok(Self(PhantomData)),
            _ => Err(Error::custom("it is not 77")),
        }
    }
}

#[test]
fn what_follows_a_value_that_takes_another_dummy_is_seen() {
    assert_ne!(hash::<After<Only<String>, u32>>(), hash::<After<Only<String>, u64>>());
    assert_eq!(text::<After<Only<String>, [u8; 9]>>(), "After { first: str, last: [u8; 9] }");
}

#[test]
fn what_follows_a_value_that_takes_none_is_seen_if_there_is_a_way_around() {
    type Around<T> = After<Option<Only<u32>>, T>;
    assert_ne!(hash::<Around<u32>>(), hash::<Around<u64>>());
    type Empty<T> = After<Vec<(u8, Only<u32>)>, T>;
    assert_ne!(hash::<Empty<u32>>(), hash::<Empty<u64>>());
    type Other<T> = After<Either<Only<u32>, u8>, T>;
    assert_ne!(hash::<Other<u32>>(), hash::<Other<u64>>());
    assert_ne!(hash::<Either<Only<u32>, u32>>(), hash::<Either<Only<u32>, u64>>());

    // There is none here. It is still the same each time, and not as something else.
    assert_eq!(hash::<After<Only<u32>, u32>>(), hash::<After<Only<u32>, u64>>());
    assert_ne!(hash::<After<Only<u32>, u32>>(), hash::<After<u8, u32>>());
    assert_eq!(text::<After<Only<u32>, u32>>(), "After { first, last }");
}

#[derive(Deserialize)]
#[serde(try_from = "(u32, u32)")]
struct Range;

impl TryFrom<(u32, u32)> for Range {
    type Error = String;

    fn try_from((start, end): (u32, u32)) -> Result<Self, String> {
        if start < end { Ok(Self) } else { Err("it is empty".into()) }
    }
}

#[test]
fn only_what_is_close_to_a_failure_is_blamed() {
    // Two dummies, and each time a pair, sixteen numbers, and the number that takes none.
    let steps = 1 + (1 + 1 + 16 * 2) + (1 + 1);
    assert_eq!(trace::trace::<([u32; 16], Only<u32>)>().steps, 2 * steps);
}

#[test]
fn a_check_of_several_values_finds_those_that_suit() {
    assert_ne!(hash::<After<Range, u32>>(), hash::<After<Range, u64>>());
}

/// Panics for the first dummy.
struct Picky;

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            0 => Ok(Self),
            _ => std::panic::resume_unwind(Box::new("no message from the panic hook")),
        }
    }
}

#[test]
fn a_panic_is_as_an_error() {
    assert_ne!(hash::<After<Picky, u32>>(), hash::<After<Picky, u64>>());
    assert_same::<After<Picky, u32>, After<u64, u32>>();
}

/// Hides each error.
struct Lenient<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let _ = T::deserialize(deserializer);
        Ok(Self(PhantomData))
    }
}

#[test]
fn an_error_that_is_hidden_stops_nothing() {
    type Hidden<T> = After<Lenient<Either<Only<u32>, T>>, T>;
    assert_ne!(hash::<Hidden<u32>>(), hash::<Hidden<u64>>());
    assert_eq!(
        text::<Hidden<u32>>(),
        "After { first: Either { First(u32), Last(u32) }, last: u32 }",
    );
}

/// Hides the error of what is first in it.
struct Careless<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Careless<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Visit<T> {
            type Value = Careless<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("something and a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let _ = seq.next_element::<Only<u32>>();
                seq.next_element::<T>()?;
                Ok(Careless(PhantomData))
            }
        }

        deserializer.deserialize_tuple(2, Visit(PhantomData))
    }
}

#[test]
fn an_error_after_one_that_is_hidden_is_dealt_with_first() {
    type Hidden<T> = Careless<After<Only<String>, T>>;
    assert_ne!(hash::<Hidden<u32>>(), hash::<Hidden<u64>>());
    // The eleventh string is taken, and nothing else is tried.
    assert_eq!(trace::trace::<Hidden<u32>>().steps, 11 * (1 + 2 + 2 + 2) + 2);
}

/// Asks for other things if it is told other things.
struct Tagged;

impl<'de> Deserialize<'de> for Tagged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = Tagged;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a tag and a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tagged, A::Error> {
                let tag: Option<bool> = seq.next_element()?;
                match tag {
                    Some(true) => {
                        seq.next_element::<u32>()?;
                        Err(Error::custom("there are no such numbers"))
                    }
                    _ => seq.next_element::<String>().map(|_| Tagged),
                }
            }
        }

        deserializer.deserialize_tuple(2, Visit)
    }
}

#[test]
fn a_place_that_is_asked_for_several_things_has_all_of_them_in_its_shape() {
    assert_all_differ(&[
        hash::<Tagged>(),
        hash::<(bool, u32)>(),
        hash::<(bool, String)>(),
        hash::<After<Tagged, u32>>(),
        hash::<After<Tagged, u64>>(),
    ]);
}

/// An enum with as many variants as wanted, each with a number, and nothing in the last.
struct Huge<const VARIANTS: usize, T>(PhantomData<T>);

static NAMES: [&str; 1000] = ["V"; 1000];

impl<'de, const VARIANTS: usize, T: Deserialize<'de>> Deserialize<'de> for Huge<VARIANTS, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<const VARIANTS: usize, T>(PhantomData<T>);

        impl<'de, const VARIANTS: usize, T: Deserialize<'de>> Visitor<'de> for Visit<VARIANTS, T> {
            type Value = Huge<VARIANTS, T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a variant")
            }

            fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Self::Value, A::Error> {
                let (index, variant): (u32, _) = data.variant()?;
                if index as usize == VARIANTS - 1 {
                    variant.newtype_variant::<T>()?;
                } else {
                    variant.newtype_variant::<u64>()?;
                }
                Ok(Huge(PhantomData))
            }
        }

        deserializer.deserialize_enum("Huge", &NAMES[..VARIANTS], Visit(PhantomData))
    }
}

#[test]
fn all_variants_of_a_huge_enum_are_seen() {
    assert_ne!(hash::<Huge<300, u32>>(), hash::<Huge<300, u64>>());
    assert_ne!(hash::<Huge<300, Huge<1000, u32>>>(), hash::<Huge<300, Huge<1000, u64>>>());
    assert_eq!(trace::trace::<Huge<300, u64>>().steps, 600);
}

/// Asks until it is told that there is no more; tells that there is always more.
struct Greedy<const LEN: usize>;

impl<'de, const LEN: usize> Deserialize<'de> for Greedy<LEN> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<const LEN: usize>;

        impl<'de, const LEN: usize> Visitor<'de> for Visit<LEN> {
            type Value = Greedy<LEN>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("very much")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while LEN == 0 || seq.next_element::<IgnoredAny>()?.is_some() {
                    if LEN == 0 {
                        seq.next_element::<IgnoredAny>()?;
                    }
                }
                Ok(Greedy)
            }
        }

        deserializer.deserialize_tuple(LEN, Visit)
    }
}

#[test]
fn a_type_that_asks_for_ever_is_stopped() {
    let traces = [trace::trace::<Greedy<{ usize::MAX }>>(), trace::trace::<Greedy<0>>()];
    for trace in &traces {
        assert!(trace.steps <= SHAPE_STEPS_MAX + 1);
        assert!(trace.graph.nodes.len() <= SHAPE_NODES_MAX);
    }
    assert_same::<Greedy<{ usize::MAX }>, Greedy<{ usize::MAX }>>();
}
