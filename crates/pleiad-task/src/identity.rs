use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;
use std::sync::Arc;

use pleiad_types::NodeId;

use crate::live;

/// The number of a task, and the node where it runs: different from those of all other tasks, ended
/// ones too. Prints as `task-12`, or `task-12@node-1f3a` if it runs elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// 0: this process.
    node: u64,
    number: NonZeroU64,
}

impl TaskId {
    /// For a task that starts.
    pub(crate) fn next() -> Self {
        Self::here(NonZeroU64::new(live::one_more()).expect("2^64 tasks are never reached"))
    }

    /// Of a task of this process.
    #[inline]
    pub(crate) fn here(number: NonZeroU64) -> Self {
        Self { node: 0, number }
    }

    /// Of a task of another node.
    #[cfg(feature = "far")]
    pub(crate) fn far(node: NodeId, number: u64) -> Option<Self> {
        let number = NonZeroU64::new(number)?;
        (node.0 != 0).then_some(Self { node: node.0, number })
    }

    /// From 1 on, in the order of the spawns of its process.
    pub fn number(self) -> u64 {
        self.number.get()
    }

    /// Where the task runs, if it is not in this process.
    pub fn node(self) -> Option<NodeId> {
        (self.node != 0).then_some(NodeId(self.node))
    }

    pub(crate) fn non_zero(self) -> NonZeroU64 {
        self.number
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task-{}", self.number)?;
        self.node().map_or(Ok(()), |node| write!(f, "@{node}"))
    }
}

/// Which task it is: number and name. Prints as `counter/12`; of a task of another node as
/// `counter/12@shop`, with the name of the node.
///
/// The name is that of the task's function, or the one that
/// [`TaskBuilder::name`](crate::TaskBuilder::name) has given. Compared by number and node only.
#[derive(Clone)]
pub struct Identity {
    id: TaskId,
    name: Name,
}

#[derive(Clone)]
enum Name {
    /// Its whole path.
    OfFunction(fn() -> &'static str),
    Own(Arc<str>),
    #[cfg(feature = "far")]
    Far(Arc<FarName>),
}

/// Of a task of another node.
#[cfg(feature = "far")]
pub(crate) struct FarName {
    pub(crate) task: Arc<str>,
    pub(crate) node: Arc<str>,
}

impl Identity {
    pub(crate) fn new(id: TaskId, function: fn() -> &'static str, own: Option<Arc<str>>) -> Self {
        Self { id, name: own.map_or(Name::OfFunction(function), Name::Own) }
    }

    #[cfg(feature = "far")]
    pub(crate) fn far(id: TaskId, name: Arc<FarName>) -> Self {
        Self { id, name: Name::Far(name) }
    }

    /// The number.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// The name.
    pub fn name(&self) -> &str {
        match &self.name {
            Name::OfFunction(path) => short(path()),
            Name::Own(name) => name,
            #[cfg(feature = "far")]
            Name::Far(name) => &name.task,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name(), self.id.number())?;
        #[cfg(feature = "far")]
        if let Name::Far(name) = &self.name {
            write!(f, "@{}", name.node)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// The last part of a function's path; for a closure or an async block, the function around it.
pub(crate) fn short(path: &'static str) -> &'static str {
    let mut head = path;
    while !head.is_empty() {
        let (before, part) = split_last(head);
        let name = part.split('<').next().unwrap_or_default();
        if !name.is_empty() && !name.starts_with('{') {
            return name;
        }
        head = before;
    }
    path
}

/// A type as its user writes it: without the modules in front of each name.
pub(crate) fn plain_type(path: &str) -> String {
    let mut plain = String::new();
    for part in path.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_' && c != ':') {
        plain.push_str(part.rsplit("::").next().unwrap_or(part));
    }
    plain
}

/// Splits at the last `::` outside of all angle brackets.
fn split_last(path: &str) -> (&str, &str) {
    let mut depth = 0;
    for (index, byte) in path.bytes().enumerate().rev() {
        match byte {
            b'>' => depth += 1,
            b'<' => depth -= 1,
            b':' if depth == 0 && path[..index].ends_with(':') => {
                return (&path[..index - 1], &path[index + 1..]);
            }
            _ => (),
        }
    }
    ("", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_after_its_function() {
        assert_eq!(short("shop::stock::counter"), "counter");
        assert_eq!(short("shop::main::{{closure}}::{{closure}}"), "main");
        assert_eq!(short("shop::echo<alloc::string::String>::{{closure}}"), "echo");
        assert_eq!(short("<shop::Till as shop::Count>::run::{{closure}}"), "run");
        assert_eq!(short("<F as shop::{{closure}}>"), "<F as shop::{{closure}}>");
        assert_eq!(short("counter"), "counter");
    }

    #[test]
    fn a_type_is_shown_as_it_is_written() {
        let path = "pleiad_task::reference::TaskRef<(u64, alloc::string::String)>";
        assert_eq!(plain_type(path), "TaskRef<(u64, String)>");
        assert_eq!(plain_type("&[shop::Till]"), "&[Till]");
        assert_eq!(plain_type("u64"), "u64");
    }

    #[test]
    fn it_prints_name_and_number() {
        let identity = Identity::new(TaskId::next(), || "a::counter", None);
        assert_eq!(identity.to_string(), format!("counter/{}", identity.id().number()));
    }
}
