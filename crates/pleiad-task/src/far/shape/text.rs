use pleiad_types::limits::SHAPE_TEXT_BYTES;

use super::graph::{Graph, Kind, NodeId, ROOT, Request};

/// What a person reads: as many levels of types with names as there is room for, but no type within
/// itself.
pub(super) fn text(graph: &Graph) -> String {
    let mut best = String::new();
    for levels in 1.. {
        let mut writer = Writer { graph, out: String::new(), path: Vec::new(), is_cut: false };
        writer.position(ROOT, levels);
        let is_too_long = writer.out.len() > SHAPE_TEXT_BYTES;
        if best.is_empty() || !is_too_long {
            best = writer.out;
        }
        if is_too_long || !writer.is_cut {
            break;
        }
    }
    shorten(best)
}

fn shorten(mut text: String) -> String {
    const MORE: &str = "…";
    if text.len() > SHAPE_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(SHAPE_TEXT_BYTES - MORE.len()));
        text.push_str(MORE);
    }
    text
}

struct Writer<'a> {
    graph: &'a Graph,
    out: String,
    path: Vec<NodeId>,
    /// Whether more levels would give more.
    is_cut: bool,
}

impl Writer<'_> {
    fn position(&mut self, id: NodeId, levels: usize) {
        let id = self.graph.resolve(id);
        let Some(request) = self.graph.nodes[id].request else { return self.out.push('?') };
        if !request.kind.is_compound() {
            return self.out.push_str(plain(&request));
        }
        let is_within_itself = self.path.contains(&id);
        let is_named = !request.name.is_empty();
        if is_within_itself || (is_named && levels == 0) {
            self.is_cut |= !is_within_itself;
            return self.out.push_str(if is_named { request.name } else { "…" });
        }
        self.path.push(id);
        self.compound(id, request, levels - usize::from(is_named));
        self.path.pop();
    }

    fn compound(&mut self, id: NodeId, request: Request, levels: usize) {
        let children: &[NodeId] = &self.graph.nodes[id].children;
        match request.kind {
            Kind::Option => self.list("Option<", children, ">", levels),
            Kind::Seq => self.list("[", children, "]", levels),
            Kind::Map => {
                self.out.push('{');
                for (place, &child) in children.iter().enumerate() {
                    self.out.push_str(if place == 0 { "" } else { ": " });
                    self.position(child, levels);
                }
                self.out.push('}');
            }
            Kind::Enum => self.variants(children, &request, levels),
            Kind::Struct => {
                self.out.push_str(request.name);
                self.out.push(' ');
                self.fields(children, request.names, levels);
            }
            _ => {
                self.out.push_str(request.name);
                self.tuple(children, request.len, levels);
            }
        }
    }

    fn variants(&mut self, children: &[NodeId], request: &Request, levels: usize) {
        self.out.push_str(request.name);
        self.out.push_str(" { ");
        for (place, &child) in children.iter().enumerate() {
            if self.is_full() {
                break;
            }
            self.out.push_str(if place == 0 { "" } else { ", " });
            self.out.push_str(request.names.get(place).unwrap_or(&"?"));
            let node = &self.graph.nodes[child];
            match node.request {
                Some(Request { kind: Kind::UnitVariant, .. }) | None => {}
                Some(Request { kind: Kind::StructVariant, names, .. }) => {
                    self.out.push(' ');
                    self.fields(&node.children, names, levels);
                }
                Some(Request { len, .. }) => self.tuple(&node.children, len, levels),
            }
        }
        self.out.push_str(" }");
    }

    fn fields(&mut self, children: &[NodeId], names: &[&str], levels: usize) {
        self.out.push_str("{ ");
        for (place, name) in names.iter().enumerate() {
            if self.is_full() {
                break;
            }
            self.out.push_str(if place == 0 { "" } else { ", " });
            self.out.push_str(name);
            // Another name of a field has no place of its own: which one has, is not known.
            if children.len() == names.len() {
                self.out.push_str(": ");
                self.position(children[place], levels);
            }
        }
        self.out.push_str(" }");
    }

    fn tuple(&mut self, children: &[NodeId], len: usize, levels: usize) {
        let is_array = len > 3
            && len == children.len()
            && children.windows(2).all(|pair| self.is_same(pair[0], pair[1]));
        if is_array {
            self.list("[", &children[..1], "; ", levels);
            self.out.push_str(&len.to_string());
            self.out.push(']');
        } else {
            self.list("(", children, ")", levels);
        }
    }

    fn list(&mut self, open: &str, children: &[NodeId], close: &str, levels: usize) {
        self.out.push_str(open);
        for (place, &child) in children.iter().enumerate() {
            if self.is_full() {
                break;
            }
            self.out.push_str(if place == 0 { "" } else { ", " });
            self.position(child, levels);
        }
        self.out.push_str(close);
    }

    fn is_same(&self, a: NodeId, b: NodeId) -> bool {
        let [a, b] = [a, b].map(|id| self.graph.resolve(id));
        let request = self.graph.nodes[a].request;
        let is_plain = request.is_none_or(|request| !request.kind.is_compound());
        a == b || (is_plain && request == self.graph.nodes[b].request)
    }

    fn is_full(&self) -> bool {
        self.out.len() > SHAPE_TEXT_BYTES
    }
}

fn plain(request: &Request) -> &'static str {
    match request.kind {
        Kind::Bool => "bool",
        Kind::I8 => "i8",
        Kind::I16 => "i16",
        Kind::I32 => "i32",
        Kind::I64 => "i64",
        Kind::I128 => "i128",
        Kind::U8 => "u8",
        Kind::U16 => "u16",
        Kind::U32 => "u32",
        Kind::U64 => "u64",
        Kind::U128 => "u128",
        Kind::F32 => "f32",
        Kind::F64 => "f64",
        Kind::Char => "char",
        Kind::Str => "str",
        Kind::Bytes => "bytes",
        Kind::Unit => "()",
        Kind::UnitStruct => request.name,
        _ => "any",
    }
}
