//! The bytes between agent, launcher and guards: one message a packet, descriptors beside it.
//!
//! Both ends are the same executable, so there are no versions. Still nothing is believed: each
//! length is checked before use, and what does not decode is [`Malformed`].

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use pleiad_types::ExitStatus;

use super::{Launch, ProcessLimits, Stage, StopHow, Usage};

/// A request's body up to this size travels in the packet, a larger one in a memory file. Well
/// below the usual socket buffer of 208 KiB.
pub(super) const INLINE_BYTES_MAX: usize = 60 << 10;

/// A packet: an inline body and its header.
pub(super) const PACKET_BYTES_MAX: usize = 64 << 10;

/// A request's body. The kernel takes at most 6 MiB of arguments and variables by default.
pub(super) const BODY_BYTES_MAX: usize = 64 << 20;

/// Descriptors beside one packet: the standard streams, an extra one, and a body.
pub(super) const DESCRIPTORS_MAX: usize = 5;

/// What did not decode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed message")
    }
}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed.to_string())
    }
}

/// What the launcher itself needs to know of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order<'a> {
    Launch { id: u64, grace: Duration, extra: bool, body: Body<'a> },
    Stop { id: u64, how: StopHow },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body<'a> {
    Inline(&'a [u8]),
    /// In the last descriptor, with this size.
    File(usize),
}

/// The body of a launch, for the guard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Request<'a> {
    pub(super) program: &'a CStr,
    pub(super) args: Vec<&'a CStr>,
    pub(super) arg0: Option<&'a CStr>,
    pub(super) env: Vec<EnvChange<'a>>,
    pub(super) env_clear: bool,
    pub(super) workdir: Option<&'a CStr>,
    pub(super) limits: ProcessLimits,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EnvChange<'a> {
    /// `NAME=value`
    Set(&'a CStr),
    /// `NAME`
    Unset(&'a CStr),
}

/// What the agent is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Report {
    Started { id: u64, pid: u32 },
    NotStarted { id: u64, stage: Stage, errno: i32 },
    Ended { id: u64, status: ExitStatus, usage: Usage },
    Lost { id: u64 },
}

const LAUNCH: u8 = 1;
const STOP: u8 = 2;

const WITH_EXTRA: u8 = 1;
const WITH_FILE: u8 = 2;

impl<'a> Order<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match *self {
            Self::Launch { id, grace, extra, body } => {
                out.u8(LAUNCH);
                out.u64(id);
                out.u64(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
                let extra = if extra { WITH_EXTRA } else { 0 };
                match body {
                    Body::Inline(bytes) => {
                        out.u8(extra);
                        out.0.extend_from_slice(bytes);
                    }
                    Body::File(size) => {
                        out.u8(extra | WITH_FILE);
                        out.u64(size as u64);
                    }
                }
            }
            Self::Stop { id, how } => {
                out.u8(STOP);
                out.u64(id);
                out.u8(match how {
                    StopHow::Polite => 0,
                    StopHow::Kill => 1,
                });
            }
        }
        out.0
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader(bytes);
        match from.u8()? {
            LAUNCH => {
                let id = from.u64()?;
                let grace = Duration::from_millis(from.u64()?);
                let flags = from.u8()?;
                if flags & !(WITH_EXTRA | WITH_FILE) != 0 {
                    return Err(Malformed);
                }
                let body = if flags & WITH_FILE == 0 {
                    Body::Inline(from.0)
                } else {
                    let size = usize::try_from(from.u64()?).map_err(|_| Malformed)?;
                    from.end()?;
                    if size > BODY_BYTES_MAX {
                        return Err(Malformed);
                    }
                    Body::File(size)
                };
                Ok(Self::Launch { id, grace, extra: flags & WITH_EXTRA != 0, body })
            }
            STOP => {
                let id = from.u64()?;
                let how = match from.u8()? {
                    0 => StopHow::Polite,
                    1 => StopHow::Kill,
                    _ => return Err(Malformed),
                };
                from.end()?;
                Ok(Self::Stop { id, how })
            }
            _ => Err(Malformed),
        }
    }

    /// The descriptors that belong beside this message.
    pub(super) fn descriptors(&self) -> usize {
        match self {
            Self::Launch { extra, body, .. } => {
                3 + usize::from(*extra) + usize::from(matches!(body, Body::File(_)))
            }
            Self::Stop { .. } => 0,
        }
    }
}

const WITH_ARG0: u8 = 1;
const WITH_WORKDIR: u8 = 2;
const WITH_ENV_CLEAR: u8 = 4;
const WITH_MEMORY: u8 = 8;
const WITH_CPU: u8 = 16;
const WITH_FILES: u8 = 32;

/// Encodes everything of a launch but its descriptors.
pub(super) fn encode_request(launch: &Launch) -> io::Result<Vec<u8>> {
    if launch.program.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the program has no name"));
    }
    let ProcessLimits { memory, cpu_seconds, files } = launch.limits;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let mut out = Writer::default();
    out.u8(flag(launch.arg0.is_some(), WITH_ARG0)
        | flag(launch.workdir.is_some(), WITH_WORKDIR)
        | flag(launch.env_clear, WITH_ENV_CLEAR)
        | flag(memory.is_some(), WITH_MEMORY)
        | flag(cpu_seconds.is_some(), WITH_CPU)
        | flag(files.is_some(), WITH_FILES));
    out.text(&[&launch.program])?;
    if let Some(arg0) = &launch.arg0 {
        out.text(&[arg0])?;
    }
    if let Some(workdir) = &launch.workdir {
        out.text(&[workdir.as_os_str()])?;
    }
    for limit in [memory, cpu_seconds, files].into_iter().flatten() {
        out.u64(limit);
    }
    out.count(launch.args.len())?;
    for arg in &launch.args {
        out.text(&[arg])?;
    }
    out.count(launch.env.len())?;
    for (name, value) in &launch.env {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            return Err(invalid("a variable's name is empty or has an equals sign"));
        }
        match value {
            Some(value) => {
                out.u8(1);
                out.text(&[name, OsStr::new("="), value])?;
            }
            None => {
                out.u8(0);
                out.text(&[name])?;
            }
        }
    }
    if out.0.len() > BODY_BYTES_MAX {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    Ok(out.0)
}

impl<'a> Request<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader(bytes);
        let flags = from.u8()?;
        let with = |flag: u8| flags & flag != 0;
        let program = from.text()?;
        let arg0 = if with(WITH_ARG0) { Some(from.text()?) } else { None };
        let workdir = if with(WITH_WORKDIR) { Some(from.text()?) } else { None };
        let mut limit =
            |flag: u8| -> Result<_, Malformed> { with(flag).then(|| from.u64()).transpose() };
        let limits = ProcessLimits {
            memory: limit(WITH_MEMORY)?,
            cpu_seconds: limit(WITH_CPU)?,
            files: limit(WITH_FILES)?,
        };
        let args = (0..from.count()?).map(|_| from.text()).collect::<Result<_, _>>()?;
        let env = (0..from.count()?).map(|_| from.env_change()).collect::<Result<_, _>>()?;
        from.end()?;
        Ok(Self { program, args, arg0, env, env_clear: with(WITH_ENV_CLEAR), workdir, limits })
    }
}

impl EnvChange<'_> {
    pub(super) fn name(&self) -> &[u8] {
        match self {
            Self::Set(pair) => variable_name(pair),
            Self::Unset(name) => name.to_bytes(),
        }
    }
}

/// The name in `NAME=value`.
pub(super) fn variable_name(pair: &CStr) -> &[u8] {
    let pair = pair.to_bytes();
    pair.split(|byte| *byte == b'=').next().unwrap_or(pair)
}

const STARTED: u8 = 1;
const NOT_STARTED: u8 = 2;
const ENDED: u8 = 3;
const LOST: u8 = 4;

const STAGES: [Stage; 6] =
    [Stage::Request, Stage::Process, Stage::Streams, Stage::Workdir, Stage::Limits, Stage::Program];

impl Report {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match *self {
            Self::Started { id, pid } => {
                out.u8(STARTED);
                out.u64(id);
                out.u32(pid);
            }
            Self::NotStarted { id, stage, errno } => {
                out.u8(NOT_STARTED);
                out.u64(id);
                out.u8(stage as u8);
                out.i32(errno);
            }
            Self::Ended { id, status, usage } => {
                out.u8(ENDED);
                out.u64(id);
                let (kind, number) = match status {
                    ExitStatus::Code(code) => (0, code),
                    ExitStatus::Signal(signal) => (1, signal),
                };
                out.u8(kind);
                out.i32(number);
                for time in [usage.user, usage.system] {
                    out.u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
                }
                out.u64(usage.memory_max);
            }
            Self::Lost { id } => {
                out.u8(LOST);
                out.u64(id);
            }
        }
        out.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader(bytes);
        let kind = from.u8()?;
        let id = from.u64()?;
        let report = match kind {
            STARTED => Self::Started { id, pid: from.u32()? },
            NOT_STARTED => {
                let stage = *STAGES.get(usize::from(from.u8()?)).ok_or(Malformed)?;
                Self::NotStarted { id, stage, errno: from.i32()? }
            }
            ENDED => {
                let kind = from.u8()?;
                let number = from.i32()?;
                let status = match kind {
                    0 => ExitStatus::Code(number),
                    1 => ExitStatus::Signal(number),
                    _ => return Err(Malformed),
                };
                let user = Duration::from_micros(from.u64()?);
                let system = Duration::from_micros(from.u64()?);
                let memory_max = from.u64()?;
                Self::Ended { id, status, usage: Usage { user, system, memory_max } }
            }
            LOST => Self::Lost { id },
            _ => return Err(Malformed),
        };
        from.end()?;
        Ok(report)
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn count(&mut self, count: usize) -> io::Result<()> {
        self.u32(u32::try_from(count).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?);
        Ok(())
    }

    /// A string in parts. Its zero byte goes with it, so that the guard need not copy it.
    fn text(&mut self, parts: &[&OsStr]) -> io::Result<()> {
        self.count(parts.iter().map(|part| part.len()).sum::<usize>() + 1)?;
        for part in parts {
            if part.as_bytes().contains(&0) {
                return Err(invalid("an argument, variable or path has a zero byte"));
            }
            self.0.extend_from_slice(part.as_bytes());
        }
        self.0.push(0);
        Ok(())
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, size: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(size).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes(N)?.try_into().map_err(|_| Malformed)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        // Each item takes at least a byte, so a forged count cannot reserve more than was sent.
        if count > self.0.len() { Err(Malformed) } else { Ok(count) }
    }

    fn text(&mut self) -> Result<&'a CStr, Malformed> {
        let size = self.count()?;
        CStr::from_bytes_with_nul(self.bytes(size)?).map_err(|_| Malformed)
    }

    fn env_change(&mut self) -> Result<EnvChange<'a>, Malformed> {
        match self.u8()? {
            0 => Ok(EnvChange::Unset(self.text()?)),
            1 => Ok(EnvChange::Set(self.text()?)),
            _ => Err(Malformed),
        }
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{CString, OsString};
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStringExt as _;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_request_arrives_as_it_was_sent(launch in launches()) {
            let bytes = encode_request(&launch).unwrap();
            let request = Request::decode(&bytes).unwrap();

            let c_string = |text: &OsStr| CString::new(text.as_bytes()).unwrap();
            prop_assert_eq!(request.program, &*c_string(&launch.program));
            let args: Vec<_> = launch.args.iter().map(|arg| c_string(arg)).collect();
            prop_assert_eq!(request.args, args.iter().map(|arg| &**arg).collect::<Vec<_>>());
            prop_assert_eq!(
                request.arg0.map(CStr::to_owned),
                launch.arg0.as_deref().map(c_string)
            );
            prop_assert_eq!(
                request.workdir.map(CStr::to_owned),
                launch.workdir.as_ref().map(|workdir| c_string(workdir.as_os_str()))
            );
            prop_assert_eq!(request.env_clear, launch.env_clear);
            prop_assert_eq!(request.limits, launch.limits);
            prop_assert_eq!(request.env.len(), launch.env.len());
            for (change, (name, value)) in request.env.iter().zip(&launch.env) {
                prop_assert_eq!(change.name(), name.as_bytes());
                let pair = match change {
                    EnvChange::Set(pair) => Some(pair.to_bytes()[name.len() + 1..].to_vec()),
                    EnvChange::Unset(_) => None,
                };
                prop_assert_eq!(pair, value.clone().map(OsString::into_vec));
            }
        }

        #[test]
        fn a_request_cut_short_is_malformed(launch in launches(), cut in any::<prop::sample::Index>()) {
            let bytes = encode_request(&launch).unwrap();
            let cut = cut.index(bytes.len());
            prop_assert_eq!(Request::decode(&bytes[..cut]), Err(Malformed));
        }

        #[test]
        fn a_changed_request_never_panics(
            launch in launches(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = encode_request(&launch).unwrap();
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            let _ = Request::decode(&bytes);
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = Order::decode(&bytes);
            let _ = Request::decode(&bytes);
            let _ = Report::decode(&bytes);
        }

        #[test]
        fn an_order_arrives_as_it_was_sent(
            id: u64, millis: u64, extra: bool, kill: bool,
            body in prop::collection::vec(any::<u8>(), 0..64), size in 0..=BODY_BYTES_MAX,
        ) {
            let grace = Duration::from_millis(millis);
            let how = if kill { StopHow::Kill } else { StopHow::Polite };
            for order in [
                Order::Launch { id, grace, extra, body: Body::Inline(&body) },
                Order::Launch { id, grace, extra, body: Body::File(size) },
                Order::Stop { id, how },
            ] {
                let bytes = order.encode();
                prop_assert_eq!(Order::decode(&bytes), Ok(order));
            }
        }

        #[test]
        fn a_report_arrives_as_it_was_sent(
            id: u64, pid: u32, errno: i32, stage in prop::sample::select(&STAGES[..]),
            number: i32, user: u32, system: u32, memory_max: u64,
        ) {
            let [user, system] = [user, system].map(|micros| Duration::from_micros(micros.into()));
            let usage = Usage { user, system, memory_max };
            for report in [
                Report::Started { id, pid },
                Report::NotStarted { id, stage, errno },
                Report::Ended { id, status: ExitStatus::Code(number), usage },
                Report::Ended { id, status: ExitStatus::Signal(number), usage },
                Report::Lost { id },
            ] {
                let bytes = report.encode();
                prop_assert_eq!(Report::decode(&bytes), Ok(report));
                prop_assert_eq!(Report::decode(&bytes[..bytes.len() - 1]), Err(Malformed));
            }
        }
    }

    #[test]
    fn a_body_over_the_limit_is_malformed() {
        let grace = Duration::ZERO;
        let body = Body::File(BODY_BYTES_MAX + 1);
        let order = Order::Launch { id: 1, grace, extra: false, body };
        assert_eq!(Order::decode(&order.encode()), Err(Malformed));
    }

    #[test]
    fn a_forged_count_reserves_nothing() {
        let mut bytes = vec![0];
        bytes.extend([2, 0, 0, 0, b'a', 0]);
        bytes.extend(u32::MAX.to_le_bytes());
        assert_eq!(Request::decode(&bytes), Err(Malformed));
    }

    #[test]
    fn variables_without_a_proper_name_are_refused() {
        for name in ["", "A=B", "A\0"] {
            let mut launch = launch("true".into(), Vec::new());
            launch.env.push((name.into(), Some("1".into())));
            let error = encode_request(&launch).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    fn launches() -> impl Strategy<Value = Launch> {
        let text =
            || prop::collection::vec(1..=u8::MAX, 1..24).prop_map(OsString::from_vec).boxed();
        let name = text().prop_filter("no equals sign", |name| !name.as_bytes().contains(&b'='));
        let texts = (text(), prop::option::of(text()), prop::option::of(text()));
        let args = prop::collection::vec(text(), 0..8);
        let env = prop::collection::vec((name, prop::option::of(text())), 0..8);
        let limits = any::<(Option<u64>, Option<u64>, Option<u64>)>();
        (texts, args, env, any::<bool>(), limits).prop_map(
            |((program, arg0, workdir), args, env, env_clear, limits)| {
                let (memory, cpu_seconds, files) = limits;
                Launch {
                    arg0,
                    env,
                    env_clear,
                    workdir: workdir.map(PathBuf::from),
                    limits: ProcessLimits { memory, cpu_seconds, files },
                    ..launch(program, args)
                }
            },
        )
    }

    fn launch(program: OsString, args: Vec<OsString>) -> Launch {
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        Launch {
            program,
            args,
            arg0: None,
            env: Vec::new(),
            env_clear: false,
            workdir: None,
            limits: ProcessLimits::default(),
            stdin: null(),
            stdout: null(),
            stderr: null(),
            extra: None,
            grace: Duration::ZERO,
        }
    }
}
