use std::fmt;
use std::marker::PhantomData;

use serde::de::Visitor;

use super::*;

shapes! {
    list {
        pub(super) struct List { value: u32, next: Option<Box<Self>> }
        pub(super) struct Tree { value: u32, children: Vec<Self> }
        pub(super) struct Named { value: u32, children: HashMap<String, Self> }
        #[serde(transparent)]
        pub(super) struct Nest(Vec<Self>);
    }
    list_same { pub(super) struct List { value: u32, next: Option<Box<Self>> } }
    list_wide { pub(super) struct List { value: u64, next: Option<Box<Self>> } }
    list_more { pub(super) struct List { value: u32, next: Option<Box<Self>>, last: u8 } }
    list_last { pub(super) struct List { value: u32, next: Option<Box<Self>>, last: u16 } }

    expr {
        pub(super) enum Expr {
            Add(Box<Self>, Box<Self>), Not(Box<Self>),
            If { then: Box<Self>, or: u8 },
            Number(i64),
        }
    }
    expr_same {
        pub(super) enum Expr {
            Add(Box<Self>, Box<Self>), Not(Box<Self>),
            If { then: Box<Self>, or: u8 },
            Number(i64),
        }
    }
    expr_inner {
        pub(super) enum Expr {
            Add(Box<Self>, Box<Self>), Not(Box<Self>),
            If { then: Box<Self>, or: u16 },
            Number(i64),
        }
    }
    expr_leaf {
        pub(super) enum Expr {
            Add(Box<Self>, Box<Self>), Not(Box<Self>),
            If { then: Box<Self>, or: u8 },
            Number(i32),
        }
    }
    // Only what is in the list differs: the same names, but not the same type.
    expr_other {
        pub(super) enum Expr {
            Add(Box<expr::Expr>, Box<Self>), Not(Box<Self>),
            If { then: Box<Self>, or: u8 },
            Number(i32),
        }
    }

    mutual {
        pub(super) struct File { name: String, parent: Box<Entry> }
        pub(super) enum Entry { File(File), Folder(Folder), Nothing }
        pub(super) struct Folder { entries: Vec<Entry>, owner: Option<Box<Self>>, size: u64 }
    }
    mutual_same {
        pub(super) struct File { name: String, parent: Box<Entry> }
        pub(super) enum Entry { File(File), Folder(Folder), Nothing }
        pub(super) struct Folder { entries: Vec<Entry>, owner: Option<Box<Self>>, size: u64 }
    }
    mutual_wide {
        pub(super) struct File { name: String, parent: Box<Entry> }
        pub(super) enum Entry { File(File), Folder(Folder), Nothing }
        pub(super) struct Folder { entries: Vec<Entry>, owner: Option<Box<Self>>, size: u32 }
    }
    // One more copy of a type on the way round.
    mutual_long {
        pub(super) struct Tree { value: u32, children: Vec<list::Tree> }
    }

    endless {
        pub(super) struct Ring { value: u32, next: Box<Self> }
        pub(super) enum Never { Again(Box<Self>) }
    }
    endless_wide { pub(super) struct Ring { value: u64, next: Box<Self> } }
}

#[test]
fn a_type_within_itself_has_a_shape() {
    assert_same::<list::List, list_same::List>();
    assert_same::<expr::Expr, expr_same::Expr>();
    assert_all_differ(&[
        hash::<list::List>(),
        hash::<list_wide::List>(),
        hash::<list_more::List>(),
        hash::<list_last::List>(),
        hash::<list::Tree>(),
        hash::<list::Named>(),
        hash::<list::Nest>(),
        hash::<expr::Expr>(),
        hash::<expr_inner::Expr>(),
        hash::<expr_leaf::Expr>(),
        hash::<expr_other::Expr>(),
    ]);
}

#[test]
fn types_within_each_other_have_a_shape() {
    assert_same::<mutual::Entry, mutual_same::Entry>();
    assert_same::<mutual::Folder, mutual_same::Folder>();
    assert_same::<mutual::File, mutual_same::File>();
    assert_all_differ(&[
        hash::<mutual::Entry>(),
        hash::<mutual_wide::Entry>(),
        hash::<mutual::Folder>(),
        hash::<mutual_wide::Folder>(),
        hash::<mutual::File>(),
        hash::<mutual_wide::File>(),
    ]);
}

#[test]
fn a_copy_of_a_type_on_the_way_round_is_no_difference() {
    assert_same::<list::Tree, mutual_long::Tree>();
}

#[test]
fn a_type_without_values_has_a_shape() {
    assert_all_differ(&[
        hash::<endless::Ring>(),
        hash::<endless_wide::Ring>(),
        hash::<endless::Never>(),
    ]);
    assert_eq!(text::<endless::Ring>(), "Ring { value: u32, next: Ring }");
}

/// Goal: what is written out would have 2^30 positions; it must take no more than it has types.
#[test]
fn types_that_are_used_many_times_cost_as_much_as_once() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only what it looks like counts")]
    struct Two<T> {
        one: Option<Box<T>>,
        two: Option<Box<T>>,
    }
    type Five<T> = Two<Two<Two<Two<Two<T>>>>>;
    type Thirty<T> = Five<Five<Five<Five<Five<Five<T>>>>>>;

    assert_ne!(hash::<Thirty<u32>>(), hash::<Thirty<u64>>());
    assert!(trace::trace::<Thirty<u32>>().steps < 500);
}

/// As a reference to a task that takes `M`.
struct Reference<M>(PhantomData<M>);

impl<'de, M: DeserializeOwned> Deserialize<'de> for Reference<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<M>(PhantomData<M>);

        impl<'de, M: DeserializeOwned> Visitor<'de> for Visit<M> {
            type Value = Reference<M>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reference")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Reference<M>, D::Error> {
                if is_tracing() {
                    let _ = M::deserialize(deserializer);
                    return Ok(Reference(PhantomData));
                }
                u32::deserialize(deserializer).map(|_| Reference(PhantomData))
            }
        }

        deserializer.deserialize_newtype_struct("Reference", Visit(PhantomData))
    }
}

shapes! {
    talk {
        pub(super) enum Ping { Send(Reference<Pong>), Forward(Reference<Self>), Stop }
        pub(super) struct Pong { from: Reference<Ping>, count: u32 }
    }
    talk_same {
        pub(super) enum Ping { Send(Reference<Pong>), Forward(Reference<Self>), Stop }
        pub(super) struct Pong { from: Reference<Ping>, count: u32 }
    }
    talk_wide {
        pub(super) enum Ping { Send(Reference<Pong>), Forward(Reference<Self>), Stop }
        pub(super) struct Pong { from: Reference<Ping>, count: u64 }
    }
}

#[test]
fn references_can_show_the_messages_they_are_for() {
    assert_ne!(hash::<Reference<u32>>(), hash::<Reference<u64>>());
    assert_same::<talk::Ping, talk_same::Ping>();
    assert_ne!(hash::<talk::Ping>(), hash::<talk_wide::Ping>());
    assert_ne!(hash::<talk::Pong>(), hash::<talk_wide::Pong>());
    assert_eq!(
        text::<talk::Pong>(),
        "Pong { from: Reference(Ping { Send(Reference(Pong)), Forward(Reference), Stop }), count: u32 }",
    );
}
