use serde::Deserializer;
use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::graph::{Kind, NodeId, Request};
use super::trace::{Cut, Trace};

/// Answers one request with a dummy, and notes it. It answers in the way of postcard, but does not
/// refuse what postcard cannot do.
#[derive(Debug)]
pub(super) struct Tracer<'a> {
    trace: &'a mut Trace,
    node: NodeId,
}

/// What types check: a number, a version, a UUID, points in time, a duration, addresses.
const STRINGS: &[&str] = &[
    "a",
    "1",
    "1.0.0",
    "00000000-0000-0000-0000-000000000001",
    "2000-01-01T00:00:00Z",
    "2000-01-01T00:00:00",
    "2000-01-01",
    "00:00:00",
    "1s",
    "127.0.0.1",
    "127.0.0.1:1",
    "127.0.0.1/32",
    "http://a/",
    "/",
    "",
];

/// One byte; then the usual lengths of identifiers, digests, keys and signatures; then none.
const BYTES: &[&[u8]] =
    &[b"a", &[b'a'; 16], &[b'a'; 32], &[b'a'; 20], &[b'a'; 12], &[b'a'; 8], &[b'a'; 64], b""];

impl<'a> Tracer<'a> {
    pub(super) fn new(trace: &'a mut Trace, node: NodeId) -> Self {
        Self { trace, node }
    }

    /// Notes a request, and tells which of `count` dummies to answer with.
    fn choose<V>(&mut self, kind: Kind, count: usize) -> Result<usize, Cut> {
        let node = self.trace.ask::<V>(self.node, Request::of(kind))?;
        Ok(self.trace.choose(node, count))
    }

    fn elements<'de, V: Visitor<'de>>(
        self,
        request: Request,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Cut> {
        let parent = self.trace.ask::<V>(self.node, request)?;
        visitor.visit_seq(Elements { trace: self.trace, parent, asked: 0, len })
    }
}

macro_rules! scalars {
    ($($method:ident: $kind:ident => $visit:ident($($dummy:expr),+);)+) => {$(
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Cut> {
            let dummies = [$($dummy),+];
            let pick = self.choose::<V>(Kind::$kind, dummies.len())?;
            visitor.$visit(dummies[pick])
        }
    )+};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Cut;

    scalars! {
        deserialize_bool: Bool => visit_bool(true, false);
        deserialize_i8: I8 => visit_i8(1, 0);
        deserialize_i16: I16 => visit_i16(1, 0);
        deserialize_i32: I32 => visit_i32(1, 0);
        deserialize_i64: I64 => visit_i64(1, 0);
        deserialize_i128: I128 => visit_i128(1, 0);
        deserialize_u8: U8 => visit_u8(1, 0);
        deserialize_u16: U16 => visit_u16(1, 0);
        deserialize_u32: U32 => visit_u32(1, 0);
        deserialize_u64: U64 => visit_u64(1, 0);
        deserialize_u128: U128 => visit_u128(1, 0);
        deserialize_f32: F32 => visit_f32(1.0, 0.0);
        deserialize_f64: F64 => visit_f64(1.0, 0.0);
        deserialize_char: Char => visit_char('a', '0');
        deserialize_identifier: Identifier => visit_u64(0, 1);
    }

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Cut> {
        match self.choose::<V>(Kind::Any, 4)? {
            0 => visitor.visit_u64(1),
            1 => visitor.visit_borrowed_str("a"),
            2 => visitor.visit_bool(true),
            _ => visitor.visit_unit(),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Cut> {
        let pick = self.choose::<V>(Kind::Str, STRINGS.len())?;
        visitor.visit_borrowed_str(STRINGS[pick])
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cut> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Cut> {
        let pick = self.choose::<V>(Kind::Bytes, BYTES.len())?;
        visitor.visit_borrowed_bytes(BYTES[pick])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cut> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Cut> {
        self.choose::<V>(Kind::Unit, 1)?;
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Cut> {
        self.choose::<V>(Kind::Ignored, 1)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Cut> {
        self.trace.ask::<V>(self.node, Request { name, ..Request::of(Kind::UnitStruct) })?;
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cut> {
        let node = self.trace.ask::<V>(self.node, Request::of(Kind::Option))?;
        if !self.trace.choose_presence(node) {
            return visitor.visit_none();
        }
        let child = self.trace.child(node, 0)?;
        self.trace.position(child, |tracer| visitor.visit_some(tracer))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Cut> {
        let request = Request { name, ..Request::of(Kind::NewtypeStruct) };
        let node = self.trace.ask::<V>(self.node, request)?;
        let child = self.trace.child(node, 0)?;
        self.trace.position(child, |tracer| visitor.visit_newtype_struct(tracer))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cut> {
        let parent = self.trace.ask::<V>(self.node, Request::of(Kind::Seq))?;
        let len = usize::from(self.trace.choose_presence(parent));
        visitor.visit_seq(Elements { trace: self.trace, parent, asked: 0, len })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cut> {
        let parent = self.trace.ask::<V>(self.node, Request::of(Kind::Map))?;
        let is_left = self.trace.choose_presence(parent);
        visitor.visit_map(Entry { trace: self.trace, parent, is_left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Cut> {
        self.elements(Request { len, ..Request::of(Kind::Tuple) }, len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Cut> {
        self.elements(Request { name, len, ..Request::of(Kind::TupleStruct) }, len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Cut> {
        let request = Request { name, names, ..Request::of(Kind::Struct) };
        self.elements(request, names.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Cut> {
        let request = Request { name, names, ..Request::of(Kind::Enum) };
        let node = self.trace.ask::<V>(self.node, request)?;
        self.trace.variant(node, names.len(), |trace, index| {
            visitor.visit_enum(Variant { trace, parent: node, index })
        })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// What is in a sequence, tuple, struct or variant.
struct Elements<'a> {
    trace: &'a mut Trace,
    parent: NodeId,
    asked: usize,
    len: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Cut;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Cut> {
        self.trace.step()?;
        if self.asked == self.len {
            return Ok(None);
        }
        let child = self.trace.child(self.parent, self.asked)?;
        self.asked += 1;
        self.trace.position(child, |tracer| seed.deserialize(tracer)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.len - self.asked)
    }
}

/// The only entry of a map, or none.
struct Entry<'a> {
    trace: &'a mut Trace,
    parent: NodeId,
    is_left: bool,
}

impl<'de> MapAccess<'de> for Entry<'_> {
    type Error = Cut;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Cut> {
        self.trace.step()?;
        if !self.is_left {
            return Ok(None);
        }
        self.is_left = false;
        let child = self.trace.child(self.parent, 0)?;
        self.trace.position(child, |tracer| seed.deserialize(tracer)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Cut> {
        self.trace.step()?;
        let child = self.trace.child(self.parent, 1)?;
        self.trace.position(child, |tracer| seed.deserialize(tracer))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(usize::from(self.is_left))
    }
}

/// One variant of an enum: first which it is, then what is in it.
struct Variant<'a> {
    trace: &'a mut Trace,
    parent: NodeId,
    index: usize,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Cut;
    type Variant = Tracer<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Tracer<'a>), Cut> {
        let node = self.trace.child(self.parent, self.index)?;
        let index = u32::try_from(self.index).map_err(|_| Cut)?;
        let index: U32Deserializer<Cut> = index.into_deserializer();
        Ok((seed.deserialize(index)?, Tracer { trace: self.trace, node }))
    }
}

impl<'de> VariantAccess<'de> for Tracer<'_> {
    type Error = Cut;

    fn unit_variant(self) -> Result<(), Cut> {
        self.trace.record(self.node, Request::of(Kind::UnitVariant))?;
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Cut> {
        let (node, _) = self.trace.record(self.node, Request::of(Kind::NewtypeVariant))?;
        let child = self.trace.child(node, 0)?;
        self.trace.position(child, |tracer| seed.deserialize(tracer))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Cut> {
        let request = Request { len, ..Request::of(Kind::TupleVariant) };
        let (parent, _) = self.trace.record(self.node, request)?;
        visitor.visit_seq(Elements { trace: self.trace, parent, asked: 0, len })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Cut> {
        let request = Request { names, ..Request::of(Kind::StructVariant) };
        let (parent, _) = self.trace.record(self.node, request)?;
        visitor.visit_seq(Elements { trace: self.trace, parent, asked: 0, len: names.len() })
    }
}
