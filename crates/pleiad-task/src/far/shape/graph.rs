use pleiad_types::limits::SHAPE_LEVELS;

pub(super) type NodeId = usize;

/// Where a graph begins.
pub(super) const ROOT: NodeId = 0;

/// What was asked for, and where: a tree of positions, in which a type that comes again is a pointer to
/// where it came first.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
}

/// One position in a value.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// None: nobody has asked there.
    pub(super) request: Option<Request>,
    /// Of an enum: by variant. Of a map: key and value. Of an option or sequence: what is in it.
    pub(super) children: Vec<NodeId>,
    /// Where the same is described. Then the own children only serve to make a value.
    pub(super) target: Option<NodeId>,
    /// The same position, where another run asked for something else.
    pub(super) other: Option<NodeId>,
    pub(super) choice: Choice,
}

/// Which dummy a position answers with.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Dummies there are.
    pub(super) count: usize,
    /// The one in use.
    pub(super) pick: usize,
    /// The last one that was tried, in their order.
    pub(super) tried: usize,
    /// The first that its position was content with.
    pub(super) settled: Option<usize>,
    /// Of an enum that comes again: the variant to begin with.
    pub(super) start: usize,
    /// Of an enum that is described here: variants, those that were gone through, and those of them
    /// that gave a value.
    pub(super) variants: usize,
    pub(super) explored: usize,
    pub(super) worked: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    /// Of fields or variants.
    pub(super) names: &'static [&'static str],
    /// Of a tuple.
    pub(super) len: usize,
}

/// Their numbers are a part of the hash: do not change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    Any = 1,
    Bool = 2,
    I8 = 3,
    I16 = 4,
    I32 = 5,
    I64 = 6,
    I128 = 7,
    U8 = 8,
    U16 = 9,
    U32 = 10,
    U64 = 11,
    U128 = 12,
    F32 = 13,
    F64 = 14,
    Char = 15,
    Str = 16,
    Bytes = 17,
    Unit = 18,
    UnitStruct = 19,
    Identifier = 20,
    Ignored = 21,
    Option = 22,
    Seq = 23,
    Map = 24,
    Tuple = 25,
    TupleStruct = 26,
    NewtypeStruct = 27,
    Struct = 28,
    Enum = 29,
    UnitVariant = 30,
    NewtypeVariant = 31,
    TupleVariant = 32,
    StructVariant = 33,
}

impl Graph {
    /// Of all that was asked for, as if it were written out, without pointers, to a certain depth.
    ///
    /// Each round gives each node a hash of itself and of what its children had in the round before:
    /// after n rounds, it tells apart whatever differs within n levels, and nothing else. So it makes no
    /// difference whether a type is used two times, or two types that are the same.
    pub(super) fn hash(&self) -> u64 {
        let reached = self.reached();
        let mut hashes: Vec<u64> = reached.iter().map(|node| node.label).collect();
        let mut next = hashes.clone();
        for _ in 0..SHAPE_LEVELS {
            for (node, next) in reached.iter().zip(&mut next) {
                let mut hash = Fnv(node.label);
                for &child in &node.below {
                    hash.number(hashes[child]);
                }
                *next = hash.0;
            }
            std::mem::swap(&mut hashes, &mut next);
        }
        hashes[0]
    }

    /// Where what is at this position is described.
    pub(super) fn resolve(&self, id: NodeId) -> NodeId {
        self.nodes[id].target.unwrap_or(id)
    }

    /// What can be reached from the root, with the root first. It stands under a node of its own, since
    /// it may have been asked for several things.
    fn reached(&self) -> Vec<Reached> {
        let mut places = vec![None; self.nodes.len()];
        let mut found = Vec::new();
        let mut reached = vec![self.reach(None, &[ROOT], &mut places, &mut found)];
        let mut at = 0;
        while let Some(&id) = found.get(at) {
            let node = &self.nodes[id];
            reached.push(self.reach(node.request, &node.children, &mut places, &mut found));
            at += 1;
        }
        reached
    }

    fn reach(
        &self,
        request: Option<Request>,
        children: &[NodeId],
        places: &mut [Option<usize>],
        found: &mut Vec<NodeId>,
    ) -> Reached {
        let mut label = Fnv::new();
        match request {
            Some(request) => label.request(request),
            None => label.number(0),
        }
        let mut below = Vec::with_capacity(children.len());
        for &child in children {
            let before = below.len();
            let mut position = Some(child);
            while let Some(id) = position {
                let described = self.resolve(id);
                below.push(*places[described].get_or_insert_with(|| {
                    found.push(described);
                    found.len()
                }));
                position = self.nodes[id].other;
            }
            label.number((below.len() - before) as u64);
        }
        Reached { label: label.0, below }
    }
}

/// A node and, by their place in the list of all, what is below it.
struct Reached {
    label: u64,
    below: Vec<usize>,
}

impl Request {
    pub(super) fn of(kind: Kind) -> Self {
        Self { kind, name: "", names: &[], len: 0 }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        let same_names = std::ptr::eq(self.names, other.names) || self.names == other.names;
        self.kind == other.kind && self.len == other.len && self.name == other.name && same_names
    }
}

impl Kind {
    /// Whether there may be values below, and so the type itself.
    pub(super) fn is_compound(self) -> bool {
        (Self::Option as u8..=Self::Enum as u8).contains(&(self as u8))
    }
}

/// FNV-1a with 64 bits (Fowler, Noll and Vo).
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn request(&mut self, request: Request) {
        self.number(request.kind as u64);
        self.text(request.name);
        self.number(request.names.len() as u64);
        for name in request.names {
            self.text(name);
        }
        self.number(request.len as u64);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
